"""Signing in and out, and what stands around every page."""

import re
from collections.abc import AsyncIterator
from functools import partial

import httpx2
import pytest
import pytest_asyncio
from starlette.requests import Request

from service.http.security import BURST
from service.page.guard import HEADERS, cookie_name, local_path
from service.page.sign_in import FILES, MAX_FIELDS
from tests.service.gateway.harness import GatewayHarness
from tests.service.page.browsing import SAME, Page, SignedIn, secret, shown, signed_in
from tests.support.server import TIMEOUT_SECONDS, TLS

PAGES = ("/", "/tenants/tenant-001", "/search", "/system")


@pytest_asyncio.fixture(loop_scope="module")
async def anyone(module_harness: GatewayHarness) -> AsyncIterator[httpx2.AsyncClient]:
    """Somebody without a session."""
    async with stranger_to(module_harness) as client:
        yield client


@pytest.fixture
def visit(module_harness: GatewayHarness) -> SignedIn:
    """Signs somebody in with a token of a kind."""
    return partial(signed_in, module_harness)


def stranger_to(harness: GatewayHarness) -> httpx2.AsyncClient:
    """A client without a session."""
    return httpx2.AsyncClient(verify=TLS, base_url=harness.client.base_url, headers=SAME, timeout=TIMEOUT_SECONDS)


async def test_a_token_opens_a_session(anyone: httpx2.AsyncClient) -> None:
    """The cookie is a random name that scripts and other sites cannot read; the token goes nowhere."""
    answer = await anyone.post("/sign-in", data={"token": secret("all"), "next": "/system"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/system")
    cookie = answer.headers["set-cookie"]
    assert re.fullmatch(r"callscope=[\w-]{43}; HttpOnly; Path=/; SameSite=strict", cookie)
    assert secret("all") not in cookie
    assert (await anyone.get("/system")).status_code == 200


@pytest.mark.parametrize("token", ["", "wrong", "token-of-the-test", "token-that-reads;read"])
async def test_a_wrong_token_opens_nothing(anyone: httpx2.AsyncClient, token: str) -> None:
    """The form comes again and says so, without the token; there is no cookie."""
    answer = await anyone.post("/sign-in", data={"token": token})
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert "set-cookie" not in answer.headers
    assert not token or f'value="{token}"' not in answer.text


async def test_guesses_are_braked(harness: GatewayHarness) -> None:
    """It is the brake of the API: guesses at one door hold up those at the other."""
    async with stranger_to(harness) as anyone:
        for _ in range(BURST):
            assert (await anyone.post("/sign-in", data={"token": "guess"})).status_code == 401
        answer = await anyone.post("/sign-in", data={"token": "guess"})
    assert (answer.status_code, "retry-after" in answer.headers) == (429, True)
    over_there = await harness.client.get("/api/v1/calls", headers={"X-Admin-Token": "guess"})
    assert over_there.status_code == 429


async def test_signing_out_ends_the_session_on_this_side(
    reader: httpx2.AsyncClient, anyone: httpx2.AsyncClient
) -> None:
    """Whoever has kept the cookie has nothing."""
    anyone.cookies = reader.cookies
    assert (await anyone.get("/")).status_code == 200
    answer = await reader.post("/sign-out")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert (await anyone.get("/")).status_code == 303


@pytest.mark.parametrize("path", PAGES)
async def test_without_a_session_the_way_leads_to_the_form_and_back(anyone: httpx2.AsyncClient, path: str) -> None:
    """The form knows where to go on to."""
    answer = await anyone.get(f"{path}?paused=1")
    form = await anyone.get(answer.headers["location"])
    assert (answer.status_code, form.status_code) == (303, 200)
    assert f'name="next" value="{path}?paused=1"' in form.text


@pytest.mark.parametrize(
    "stated", ["https://evil.example/", "//evil.example", "/\\evil.example", "evil", "", "/a\nb", "/sign-in", "/a b"]
)
def test_nobody_is_sent_elsewhere(stated: str) -> None:
    """What is no path of this origin is the first page."""
    assert local_path(stated) == "/"


async def test_a_link_from_elsewhere_asks_again_by_itself(anyone: httpx2.AsyncClient) -> None:
    """Such a request comes without the cookie (SameSite=Strict): the page that asks again is of this site."""
    headers = {"Sec-Fetch-Site": "cross-site"}
    answer = await anyone.get("/calls/rtc_1", headers=headers)
    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0; url=/calls/rtc_1">' in answer.text


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://{host}"}, False),
        ({"Origin": "http://{host}"}, True),
        ({"Origin": "HTTP://{host}"}, True),
        ({"Origin": "https://{host}"}, False),
        ({"Origin": "ftp://{host}"}, False),
        ({"Origin": "//{host}"}, False),
        ({"Origin": "http://{host}/path"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({}, False),
    ],
)
async def test_a_form_of_another_site_changes_nothing(
    module_harness: GatewayHarness, reader: httpx2.AsyncClient, headers: dict[str, str], allowed: bool
) -> None:
    """By what browsers say of where a request comes from; one that says nothing is refused."""
    address = module_harness.client.base_url
    host = address.netloc.decode()
    async with httpx2.AsyncClient(
        verify=TLS, base_url=address, cookies=dict(reader.cookies), timeout=TIMEOUT_SECONDS
    ) as client:
        sent = {name: value.format(host=host) for name, value in headers.items()}
        answers = [
            await client.post("/tenants/tenant-001/limit", data={"limit": "x"}, headers=sent),
            await client.post("/calls/rtc_0/hang-up", headers=sent),
            await client.post("/sign-in", data={"token": secret("all")}, headers=sent),
            await client.post("/sign-out", headers=sent),
        ]
    assert [answer.status_code for answer in answers] == ([422, 404, 303, 303] if allowed else [403] * 4)


@pytest.mark.parametrize("path", [*PAGES, "/sign-in", "/nowhere/at/all", "/calls/rtc_0", "/static/page.css", "/live"])
async def test_every_answer_has_the_headers(reader: httpx2.AsyncClient, path: str) -> None:
    """A policy without inline code or styles, no framing, no caching, whatever the answer."""
    async with reader.stream("GET", path) as answer:
        if path == "/nowhere/at/all":
            assert answer.headers["content-type"] == "application/problem+json"
            return
        expected = dict(HEADERS) | ({"Cache-Control": "no-cache"} if path.startswith("/static") else {})
        assert {name: answer.headers.get(name) for name in expected} == expected
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize("path", [*PAGES, "/sign-in"])
async def test_a_page_has_no_code_and_no_style_of_its_own(reader: httpx2.AsyncClient, path: str) -> None:
    """The policy would refuse them; and nothing is asked of another origin."""
    page = await shown(reader, path)
    for tag, attributes in page.elements:
        assert tag != "style"
        assert tag != "script" or (attributes.get("src") or "").startswith("/static/")
        assert not [name for name in attributes if name == "style" or name.startswith("on")], (tag, attributes)
        for name in ("src", "href", "action", "data-stream"):
            assert (attributes.get(name) or "/").startswith(("/", "#")), (tag, attributes)


async def test_a_form_of_too_many_fields_is_refused(anyone: httpx2.AsyncClient) -> None:
    """It says why, with the headers of every page, and is no fault of the service."""
    fields = {f"field{number}": "x" for number in range(MAX_FIELDS + 1)}
    refused = await anyone.post("/sign-in", data=fields)
    assert refused.status_code == 400
    assert "content-security-policy" in refused.headers
    assert f"more than {MAX_FIELDS} fields" in refused.text


@pytest.mark.parametrize(("scheme", "name"), [("http", "callscope"), ("https", "__Host-callscope")])
def test_over_tls_the_cookie_is_of_this_host_alone(scheme: str, name: str) -> None:
    """Browsers take a name with this prefix only with Secure, for the whole path, and from this very host."""
    scope = {
        "type": "http",
        "scheme": scheme,
        "path": "/",
        "headers": [(b"host", b"calls.example")],
        "query_string": b"",
    }
    assert cookie_name(Request(scope)) == name


async def test_a_browser_keeps_the_files_of_a_page(anyone: httpx2.AsyncClient) -> None:
    """By the address that pages have, which changes with the content; by any other it asks again."""
    page = await shown(anyone, "/sign-in")
    named = [attributes.get("src") or attributes.get("href") or "" for _, attributes in page.elements]
    addresses = {name for name in named if name.startswith("/static/")}
    assert {name.partition("?")[0].removeprefix("/static/") for name in addresses} == set(FILES)
    for address in addresses:
        for path, kept in ((address, "public, max-age=31536000, immutable"), (address[:-1], "no-cache")):
            answer = await anyone.get(path)
            assert (answer.status_code, answer.headers["cache-control"]) == (200, kept), path


async def test_files_are_those_of_the_list(anyone: httpx2.AsyncClient) -> None:
    """Each with its type; nothing else of the folder or outside of it."""
    for name, media_type in FILES.items():
        answer = await anyone.get(f"/static/{name}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    for name in ("..%2f__init__.py", "page.css.map", "%2e%2e/sessions.py"):
        assert (await anyone.get(f"/static/{name}")).status_code == 404


async def test_empty_fields_of_a_form_leave_the_address(reader: httpx2.AsyncClient) -> None:
    """Browsers send every field; the address that can be kept has what was filled in."""
    answer = await reader.get("/search?tenant_id=&outcome=failed&reason=&where=memory")
    assert (answer.status_code, answer.headers["location"]) == (303, "/search?outcome=failed&where=memory")


@pytest.mark.parametrize(
    ("path", "name", "problem", "without"),
    [
        ("/?sort=luck&window=5m", "sort", "must be one of received, minutes", "/?window=5m"),
        ("/?order=up", "order", "should be 'desc' or 'asc'", "/"),
        ("/?window=2h&paused=1", "window", "should be 'since_start', '5m', '1h' or '24h'", "/?paused=1"),
        ("/?cursor=0", "cursor", "", "/"),
        ("/?tenant=acme", "tenant", "is no parameter of this page", "/"),
        ("/?order=asc&order=desc", "order", "is there more than once", "/"),
        ("/tenants/tenant-001?window=luck", "window", "should be", "/tenants/tenant-001"),
        ("/tenants/tenant-001/limit?x=1", "x", "is no parameter of this page", "/tenants/tenant-001/limit"),
        ("/calls/rtc_1?x=1", "x", "is no parameter of this page", "/calls/rtc_1"),
        ("/system?x=1", "x", "is no parameter of this page", "/system"),
        ("/live?sort=luck", "sort", "must be one of", "/live"),
        ("/?<b>=1", "<b>", "is no parameter of this page", "/"),
    ],
)
async def test_a_wrong_parameter_is_named(
    reader: httpx2.AsyncClient, path: str, name: str, problem: str, without: str
) -> None:
    """A page of its own names the parameter and the problem, and leads to the same page without it."""
    answer = await reader.get(path)
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("text/html")
    page = Page.of(answer.text)
    assert "This address is not right" in page.text(class_="card")
    said = page.text(class_="plain faults")
    assert f"Parameter {name}: " in said
    assert problem in said
    assert without in page.links()


async def test_a_wrong_path_is_named(reader: httpx2.AsyncClient) -> None:
    """A tenant's id that cannot be one; there is no page without it to lead to."""
    answer = await reader.get("/tenants/" + "x" * 500)
    assert (answer.status_code, "In the path" in answer.text) == (422, True)
    assert Page.of(answer.text).links() == ["/"]


@pytest.mark.parametrize(
    ("role", "statuses"),
    [
        ("all", (200, 200, 200, 200, 200)),
        ("reads all", (200, 200, 200, 200, 200)),
        ("one", (303, 200, 403, 303, 403)),
        ("reads one", (303, 200, 403, 303, 403)),
        ("both", (200, 200, 200, 303, 403)),
    ],
)
async def test_pages_open_for_what_the_token_is_for(visit: SignedIn, role: str, statuses: tuple[int, ...]) -> None:
    """First page, own tenant, other tenant, search, system; a search narrows itself down to the token's tenant."""
    paths = ("/", "/tenants/tenant-001", "/tenants/tenant-002", "/search", "/system")
    async with visit(role) as client:
        answers = [await client.get(path) for path in paths]
        assert tuple(answer.status_code for answer in answers) == statuses
        streams = ("/live", "/live/tenants/tenant-001", "/live/tenants/tenant-002", "/live/system")
        for path, page in zip(streams, (0, 1, 2, 4), strict=True):
            async with client.stream("GET", path) as answer:
                open_ = statuses[page] == 200 and not (role == "both" and path == "/live")
                assert answer.status_code == (200 if open_ else 403), path


async def test_a_bound_token_sees_figures_of_its_tenant_alone(visit: SignedIn) -> None:
    """The strip is its tenant's, and no page names the other one."""
    async with visit("one") as client:
        for path in ("/tenants/tenant-001", "/search?tenant_id=tenant-001"):
            page = await client.get(path)
            assert page.status_code == 200
            assert "tenant-002" not in page.text
            assert "Running, <bdi>tenant-001</bdi>" in page.text
        assert (await client.get("/search?tenant_id=tenant-002")).status_code == 403
