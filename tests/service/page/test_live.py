"""Live pages: one rendering for all, only what changed, nobody waits for a slow viewer."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import httpx2
import pytest

from service.page import live as module
from service.page.live import LivePages, TooManyViewersError
from service.simulator.script import CallScript
from tests.service.gateway.harness import GatewayHarness, running_harness
from tests.service.page.browsing import SignedIn, frames, signed_in
from tests.support.patience import PATIENT_SECONDS
from tests.support.server import TIMEOUT_SECONDS, TLS

NEVER = 3600.0


class Renderer:
    """Makes pages of fragments that a test sets."""

    def __init__(self) -> None:
        self.fragments: dict[str, str] = {"a": "<p id=a>1</p>", "b": "<p id=b>1</p>"}
        self.made: list[str] = []
        self.fails = False

    async def __call__(self, view: str) -> dict[str, str]:
        self.made.append(view)
        if self.fails:
            raise RuntimeError("cannot")
        return dict(self.fragments)


@pytest.fixture
def renderer() -> Renderer:
    """Two fragments."""
    return Renderer()


@pytest.fixture
async def live(renderer: Renderer) -> AsyncIterator[LivePages[str]]:
    """Pages that tick when a test says so."""
    pages: LivePages[str] = LivePages(renderer, every_seconds=NEVER)
    yield pages
    await pages.stop()


async def tick(live: LivePages[str]) -> None:
    """One tick, as the clock would make it."""
    await live._tick()


def content(frame: bytes) -> dict[str, str]:
    """What a frame brings."""
    (line,) = [line for line in frame.decode().splitlines() if line.startswith("data: ")]
    found: dict[str, str] = json.loads(line.removeprefix("data: "))
    return found


async def always() -> bool:
    """A session that holds."""
    return True


async def begun(live: LivePages[str], view: str = "now") -> AsyncIterator[bytes]:
    """A stream past its first words."""
    stream = live.watch(view, always)
    assert await anext(stream) == b"retry: 1000\n\n"
    return stream


async def test_the_first_frame_is_whole_and_the_next_ones_are_not(live: LivePages[str], renderer: Renderer) -> None:
    """A part that did not change is not sent again."""
    stream = await begun(live)
    assert content(await anext(stream)) == renderer.fragments
    renderer.fragments["b"] = "<p id=b>2</p>"
    await tick(live)
    assert content(await anext(stream)) == {"b": "<p id=b>2</p>"}


async def test_one_rendering_serves_all_who_look_at_the_same(live: LivePages[str], renderer: Renderer) -> None:
    """A hundred viewers of one page and one of another are two renderings a tick."""
    streams = [await begun(live) for _ in range(100)] + [await begun(live, "system")]
    await asyncio.gather(*(anext(stream) for stream in streams))
    renderer.made.clear()
    await tick(live)
    assert sorted(renderer.made) == ["now", "system"]
    assert live.viewers == 101


async def test_viewers_are_woken_a_few_at_a_time(live: LivePages[str], renderer: Renderer) -> None:
    """Requests are answered in between: of many viewers only some have a frame before anybody else had a turn."""
    streams = [await begun(live) for _ in range(4 * module.GROUP)]
    await asyncio.gather(*(anext(stream) for stream in streams))
    renderer.fragments["a"] = "<p id=a>2</p>"
    waiting = [asyncio.ensure_future(anext(stream)) for stream in streams]
    await asyncio.sleep(0)
    ticking = asyncio.create_task(tick(live))
    while not any(frame.done() for frame in waiting):  # noqa: ASYNC110 -- every turn of the loop counts
        await asyncio.sleep(0)
    assert sum(frame.done() for frame in waiting) <= module.GROUP
    await ticking
    frames_ = await asyncio.gather(*waiting)
    assert all(content(frame) == {"a": "<p id=a>2</p>"} for frame in frames_)


async def test_a_page_that_stays_the_same_is_not_silent(live: LivePages[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks that change nothing keep no comment back: without one, a proxy takes the stream for dead."""
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.05)
    stream = await begun(live)
    await anext(stream)
    comment = asyncio.ensure_future(anext(stream))
    async with asyncio.timeout(PATIENT_SECONDS):
        while not comment.done():
            await tick(live)
            await asyncio.sleep(0.01)
    assert comment.result() == b": nothing has changed\n\n"


async def test_a_slow_viewer_skips_frames(live: LivePages[str], renderer: Renderer) -> None:
    """Whoever reads after five ticks is sent once what changed in all of them, and holds up nobody."""
    slow, quick = await begun(live), await begun(live)
    await anext(slow)
    await anext(quick)
    for count in range(2, 7):
        renderer.fragments["a"] = f"<p id=a>{count}</p>"
        await tick(live)
        assert content(await anext(quick)) == {"a": f"<p id=a>{count}</p>"}
    assert content(await anext(slow)) == {"a": "<p id=a>6</p>"}


async def test_a_page_without_viewers_is_not_made(live: LivePages[str], renderer: Renderer) -> None:
    """The last one to leave puts out the light."""
    stream = await begun(live)
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined] # it is a generator
    renderer.made.clear()
    await tick(live)
    assert (renderer.made, live.viewers) == ([], 0)


async def test_a_page_that_cannot_be_made_stays_as_it_was(live: LivePages[str], renderer: Renderer) -> None:
    """The failure is counted; the page goes on when it can be made again."""
    stream = await begun(live)
    await anext(stream)
    renderer.fails = True
    await tick(live)
    renderer.fails, renderer.fragments["a"] = False, "<p id=a>2</p>"
    await tick(live)
    assert content(await anext(stream)) == {"a": "<p id=a>2</p>"}
    assert live.failures == 1


async def test_a_stream_ends_with_its_session(live: LivePages[str]) -> None:
    """Signing out ends what another tab still shows."""
    holds = [True]

    async def still() -> bool:
        return holds[0]

    stream = live.watch("now", still)
    await anext(stream)
    await anext(stream)
    holds[0] = False
    await tick(live)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_a_stop_ends_every_stream_at_once(live: LivePages[str]) -> None:
    """Also one in which nothing happens; none begins afterwards."""
    stopping = asyncio.Event()
    live.end_with(stopping)
    stream = await begun(live)
    await anext(stream)
    waiting = asyncio.ensure_future(anext(stream, b"over"))
    await asyncio.sleep(0)
    stopping.set()
    assert await waiting == b"over"
    with pytest.raises(TooManyViewersError):
        live.admit("now")


async def test_there_are_bounds(live: LivePages[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One stream too many is refused, and one page too many."""
    monkeypatch.setattr(module, "MAX_VIEWERS", 3)
    monkeypatch.setattr(module, "MAX_PAGES", 2)
    kept = [await begun(live, "a"), await begun(live, "b")]
    with pytest.raises(TooManyViewersError):
        live.admit("c")
    kept.append(await begun(live, "a"))
    with pytest.raises(TooManyViewersError):
        live.admit("a")
    assert len(kept) == 3


async def test_one_session_does_not_take_the_room_of_all(live: LivePages[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its streams are counted together, and one that ends makes room for another."""
    monkeypatch.setattr(module, "MAX_STREAMS", 1)
    stream = live.watch("now", always, of="ada")
    await anext(stream)
    with pytest.raises(TooManyViewersError):
        live.admit("system", "ada")
    live.admit("system", "grace")
    await stream.aclose()  # type: ignore[attr-defined]
    live.admit("system", "ada")


async def test_a_stream_of_what_there_is_not_is_refused(person: httpx2.AsyncClient) -> None:
    """Neither an unknown tenant nor a cursor that nobody gave out takes a place among the pages that live."""
    for path, status in (("/live/tenants/nobody", 404), ("/live?cursor=0", 422)):
        assert (await person.get(path)).status_code == status, path


async def test_a_stream_over_http_brings_the_page(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """Every part of the page by its id; the next frame brings what a call has changed, and no more."""
    async with aclosing(frames(person, "/live")) as stream:
        first = await anext(stream)
        await harness.call(CallScript("short"))
        second = await anext(stream)
    assert set(first) == {"strip", "verdicts", "running", "attention", "tenants", "counts"}
    assert all(html.lstrip().startswith("<") and f'id="{name}"' in html for name, html in first.items())
    assert set(second) < set(first)
    await harness.until(lambda: not [t for t in asyncio.all_tasks() if "watch" in repr(t)], "streams to end")


async def test_a_signed_out_stream_is_refused(harness: GatewayHarness, visit: SignedIn) -> None:
    """The browser learns from the status that it has to ask for a token again."""
    async with httpx2.AsyncClient(verify=TLS, base_url=harness.client.base_url, timeout=TIMEOUT_SECONDS) as anyone:
        assert (await anyone.get("/live")).status_code == 401
    async with visit("all") as client:
        assert (await client.get("/live/calls/rtc_0")).status_code == 404


async def test_a_stop_of_the_service_waits_for_no_viewer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An open stream ends by itself when the server stops, in good order, and before its patience is over."""
    begun = asyncio.Event()

    async def look(client: httpx2.AsyncClient) -> None:
        async with client.stream("GET", "/live") as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    begun.set()

    async with AsyncExitStack() as afterwards:
        async with running_harness(tmp_path) as harness:
            client = await afterwards.enter_async_context(signed_in(harness, "all"))
            viewer = asyncio.create_task(look(client))
            await begun.wait()
        await viewer  # the server has stopped, and the stream has come to its end
    assert not [record for record in caplog.records if "graceful shutdown exceeded" in record.getMessage()]
