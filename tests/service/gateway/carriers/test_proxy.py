"""Requests to the carrier and the sideband take one way: both through the proxy, or both around it."""

import gc
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib.parse import quote
from urllib.request import getproxies

import pytest
from openai import AsyncOpenAI

from service.gateway.carriers.carrier import CarrierError
from service.gateway.carriers.openai_realtime import CarrierTimeouts, OpenAIRealtimeCarrier
from service.gateway.carriers.proxy import http_client, proxy_for
from service.settings import load_settings
from service.simulator.script import AgentGreets, AgentSpeaks, CallerSpeaks, CallScript
from service.simulator.simulator import CarrierOptions, Simulator
from telemetry.semconv.attributes import CallId
from tests.service.gateway.harness import running_harness
from tests.support.socks import SocksProxy, socks_proxy

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
API = "https://api.carrier.example/v1"
PROXY = "http://proxy.example:3128"
LOCAL = {"carrier.example": "127.0.0.1"}
"""A name that only the proxy resolves."""


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment without proxies of the machine's own, to be given others."""
    for name in ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(CarrierOptions(SECRET)) as carrier:
        yield carrier


@pytest.fixture
async def socks() -> AsyncIterator[SocksProxy]:
    async with socks_proxy(LOCAL) as proxy:
        yield proxy


async def _ask_for_an_unknown_call(base_url: str) -> list[int | None]:
    """Return the statuses of a request and of a sideband about a call there is not."""
    proxy = proxy_for(base_url, getproxies())
    http = http_client(proxy)
    client = AsyncOpenAI(api_key="sk-test", base_url=base_url, http_client=http)
    carrier = OpenAIRealtimeCarrier(client, http, "gpt-realtime", CarrierTimeouts(30, 30), proxy=proxy)
    call_id = CallId("rtc_missing")
    try:
        with pytest.raises(CarrierError) as request:
            await carrier.hangup(call_id)
        with pytest.raises(CarrierError) as acceptance:
            await carrier.accept(call_id, "You answer.", ())
        assert acceptance.value.status == request.value.status
        with pytest.raises(CarrierError) as sideband:
            async with carrier.session(call_id, fresh=False):
                pass
    finally:
        await carrier.close()
    return [request.value.status, sideband.value.status]


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_both_go_through_a_socks_proxy(
    scheme: str, proxies: pytest.MonkeyPatch, simulator: Simulator, socks: SocksProxy
) -> None:
    """The carrier answers both, under a name that the proxy alone resolves."""
    proxies.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:{socks.port}")
    load_settings()
    base_url = simulator.base_url.replace("127.0.0.1", "carrier.example")
    assert await _ask_for_an_unknown_call(base_url) == [404, 404]
    assert len(socks.asked) >= 2
    assert {asked.partition(":")[0] for asked in socks.asked} == {"carrier.example"}


USER, PASSWORD = "callscope", "p@ss:w/rd %"


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_both_give_a_socks_proxy_the_credentials_of_its_address(
    scheme: str, proxies: pytest.MonkeyPatch, simulator: Simulator
) -> None:
    """User and password as the address has them, percent-encoded; the carrier answers both."""
    async with socks_proxy(LOCAL, (USER, PASSWORD)) as proxy:
        proxies.setenv("ALL_PROXY", f"{scheme}://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{proxy.port}")
        load_settings()
        base_url = simulator.base_url.replace("127.0.0.1", "carrier.example")
        assert await _ask_for_an_unknown_call(base_url) == [404, 404]
        assert (len(proxy.asked), proxy.refused) == (2, 0)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("credentials", ["", f"{USER}:wrong@"], ids=["none", "wrong"])
async def test_a_socks_proxy_that_knows_nobody_is_a_connection_that_fails(
    credentials: str, proxies: pytest.MonkeyPatch, simulator: Simulator
) -> None:
    """Both say so alike, without the password, and nothing takes another way."""
    async with socks_proxy(LOCAL, (USER, PASSWORD)) as proxy:
        proxies.setenv("ALL_PROXY", f"socks5://{credentials}127.0.0.1:{proxy.port}")
        assert await _ask_for_an_unknown_call(simulator.base_url) == [None, None]
        assert proxy.asked == []
        assert proxy.refused >= 2
    # The HTTP client leaves a connection that a proxy does not let in to the garbage collector.
    gc.collect()


async def test_a_whole_call_goes_through_it(tmp_path: Path, proxies: pytest.MonkeyPatch, socks: SocksProxy) -> None:
    """The service takes a call whose accept and sideband reach the carrier through the proxy."""
    proxies.setenv("ALL_PROXY", f"socks5://127.0.0.1:{socks.port}")
    async with running_harness(tmp_path) as harness:
        carrier = harness.carrier.base_url.removeprefix("http://").removesuffix("/v1")
        report = await harness.call(CallScript("hello", (AgentGreets(AgentSpeaks("Hello")), CallerSpeaks("Hi"))))
        assert (report.started, report.failed) == (True, False)
        assert socks.asked.count(carrier) >= 2


@pytest.mark.parametrize("direct", ["127.0.0.0/8", "127.0.0.1", "10.0.0.0/8, 127.0.0.0/24", "*"])
async def test_both_go_around_it(
    direct: str, proxies: pytest.MonkeyPatch, simulator: Simulator, socks: SocksProxy
) -> None:
    """``NO_PROXY`` counts for the sideband as it does for requests, networks included."""
    proxies.setenv("ALL_PROXY", f"socks5://127.0.0.1:{socks.port}")
    proxies.setenv("HTTP_PROXY", f"http://127.0.0.1:{socks.port}")
    proxies.setenv("NO_PROXY", direct)
    assert await _ask_for_an_unknown_call(simulator.base_url) == [404, 404]
    assert socks.asked == []


async def test_a_network_that_holds_another_address_leaves_both_on_the_proxy(
    proxies: pytest.MonkeyPatch, simulator: Simulator, socks: SocksProxy
) -> None:
    """Neither goes around the proxy for the sake of an entry that does not cover the carrier."""
    proxies.setenv("ALL_PROXY", f"socks5://127.0.0.1:{socks.port}")
    proxies.setenv("NO_PROXY", "10.0.0.0/8,127.0.0.1/33,carrier.example")
    assert await _ask_for_an_unknown_call(simulator.base_url) == [404, 404]
    assert [asked.partition(":")[0] for asked in socks.asked] == ["127.0.0.1", "127.0.0.1"]


@pytest.mark.parametrize(
    ("url", "proxies", "expected"),
    [
        (API, {}, None),
        (API, {"https": PROXY}, PROXY),
        (API, {"http": PROXY}, None),
        (API, {"all": PROXY}, PROXY),
        (API, {"https": PROXY, "all": "socks5://other:1080"}, PROXY),
        (API, {"all": "proxy.example:3128"}, PROXY),
        (API, {"all": "SOCKS5://u:p@proxy.example:1080"}, "socks5h://u:p@proxy.example:1080"),
        ("http://carrier.example", {"https": PROXY}, None),
        ("http://carrier.example", {"http": PROXY}, PROXY),
    ],
)
def test_the_proxy_is_that_of_the_scheme_or_of_all(url: str, proxies: Mapping[str, str], expected: str | None) -> None:
    """The scheme's own goes first; one without a scheme is an HTTP proxy; SOCKS resolves names at the proxy."""
    assert proxy_for(url, proxies) == expected


@pytest.mark.parametrize(
    ("entry", "url", "direct"),
    [
        ("*", API, True),
        ("carrier.example", API, True),
        ("api.carrier.example", API, True),
        (".carrier.example", API, True),
        ("*.carrier.example", API, True),
        ("CARRIER.example", API, True),
        ("api.carrier.example:443", API, True),
        ("api.carrier.example:8443", API, False),
        (".api.carrier.example", API, False),
        ("rrier.example", API, False),
        ("other.example", API, False),
        ("other.example carrier.example", API, True),
        ("10.0.0.0/8", "https://10.1.2.3/v1", True),
        ("10.0.0.7/8", "https://10.1.2.3/v1", True),
        ("10.0.0.0/16", "https://10.1.2.3/v1", False),
        ("10.0.0.0/8", API, False),
        ("10.1.2.3", "https://10.1.2.3/v1", True),
        ("10.1.2.3:8443", "https://10.1.2.3:8443/v1", True),
        ("10.1.2.3:8443", "https://10.1.2.3/v1", False),
        ("2.3", "https://10.1.2.3/v1", False),
        ("::1", "http://[::1]:8080/v1", True),
        ("[::1]:8080", "http://[::1]:8080/v1", True),
        ("0:0::1", "http://[::1]/v1", True),
        ("fd00::/8", "https://[fd12::1]/v1", True),
        ("[fd00::]/8", "https://[fd12::1]/v1", True),
        ("fd00::/8", "https://10.1.2.3/v1", False),
        ("10.0.0.0/99", "https://10.1.2.3/v1", False),
        ("/", API, False),
        (".", API, False),
        ("*.", API, False),
        (",", API, False),
    ],
)
def test_no_proxy_is_read_once_for_both(entry: str, url: str, direct: bool) -> None:
    """Networks hold addresses and no names; a name holds its subdomains; what makes no sense covers nothing."""
    assert (proxy_for(url, {"all": PROXY, "no": entry}) is None) is direct
