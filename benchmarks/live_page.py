"""Measure what a hundred viewers of the live page cost at 10,000 tenants, and how soon a browser paints it.

The service runs in this process with a call of each tenant counted, and some that run. Viewers read their streams, and
a client the live numbers, in a process of their own: first without viewers, then with a hundred on the first page.
"""

import asyncio
import gzip
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any

import httpx2
from playwright.async_api import async_playwright
from pydantic import SecretStr

from benchmarks import verdict
from service.app import app_of
from service.container import Container, build_container
from service.page.rendering import STATIC
from service.server import address_of, listen, server_for
from service.settings import load_settings
from telemetry.semconv.attributes import EndReason
from tests.peers.binaries import find

TENANTS = 10_000
RUNNING = 50
VIEWERS = 100
SECONDS = 20.0
READS_A_SECOND = 20
TOKEN = "token-of-the-benchmark"  # noqa: S105 -- of a service that lives for a minute

PAINT = """() => new Promise((painted) => new PerformanceObserver((list) => {
  const first = list.getEntriesByName('first-contentful-paint')[0];
  if (first) painted([first.startTime, performance.getEntriesByType('navigation')[0].responseStart]);
}).observe({type: 'paint', buffered: true}))"""
"""Answers the first paint and the first byte of the page's answer, in milliseconds from the request."""
ROUNDS = 3
"""Measurements without and with viewers, in turns: what else goes on meanwhile is then in both."""
VISITS = 9

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}

CORE_SHARE = 0.05
PAINT_MS = 200.0
ANSWER_MS = 100.0
READ_P99_RATIO = 1.5
SCRIPT_KB = 40.0
STYLE_KB = 10.0


async def main() -> None:
    """Measure and judge."""
    with tempfile.TemporaryDirectory() as folder, listen("127.0.0.1", 0) as listening:
        settings = load_settings(
            app_env="prod",
            admin_token=(SecretStr(TOKEN),),
            database_url=SecretStr(f"sqlite+aiosqlite:///{folder}/callscope.db"),
            openai_api_key=SecretStr("sk-" + "x" * 40),
            openai_webhook_secret=(SecretStr("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),),
            spill_folder=Path(folder) / "spill",
            max_concurrent_calls=1_000,
            log_level="ERROR",
        )
        container = build_container(settings)
        server = server_for(app_of(container), calls=1_000)
        server.has_process = True
        serving = asyncio.create_task(server.serve([listening]))
        await container.started.wait()
        try:
            await asyncio.to_thread(populate, container)
            await container.sampler.sample()
            await measure(address_of(listening))
        finally:
            server.should_exit = True
            await serving


def populate(container: Container) -> None:
    """Have a call of each tenant come and go, and some run."""
    tracker = container.telemetry.tracker
    for index in range(TENANTS + RUNNING):
        call = tracker.received(f"rtc_{index}", f"tenant-{index % TENANTS:05d}")
        call.accepted()
        call.started()
        if index < TENANTS:
            call.finish(EndReason.HANGUP)
        if not index % 50:
            time.sleep(0.005)  # the event loop writes their records


async def measure(base: str) -> None:
    """Print the figures and whether they are within bounds."""
    verdict.at_most("script, compressed", compressed("page.js", "theme.js"), SCRIPT_KB, " kB")
    verdict.at_most("style, compressed", compressed("page.css"), STYLE_KB, " kB")
    verdict.at_most("first page at 10,000 tenants, server's answer, p50", await answered(base), ANSWER_MS, " ms")
    await paint(base)
    shares: dict[int, list[float]] = {0: [], VIEWERS: []}
    reads: dict[int, list[float]] = {0: [], VIEWERS: []}
    for _ in range(ROUNDS):
        for viewers in (0, VIEWERS):
            share, took = await burdened(base, viewers)
            shares[viewers].append(share)
            reads[viewers] += took
    alone, viewed = fmean(shares[0]), fmean(shares[VIEWERS])
    verdict.figure("processor without viewers, share of a core", alone)
    verdict.figure(f"processor with {VIEWERS} viewers, share of a core", viewed)
    verdict.at_most(f"{VIEWERS} viewers at {TENANTS:,} tenants, share of a core", viewed - alone, CORE_SHARE)
    before, after = (quantiles(reads[viewers], n=100)[98] for viewers in (0, VIEWERS))
    for viewers in (0, VIEWERS):
        verdict.figure(f"live read with {viewers} viewers, p50", median(reads[viewers]), " ms")
        verdict.figure(f"live read with {viewers} viewers, p99", quantiles(reads[viewers], n=100)[98], " ms")
    verdict.at_most("live read p99 with viewers, of that without", after / before, READ_P99_RATIO)


async def paint(base: str) -> None:
    """Measure the first paint, where there is a browser."""
    if find("chromium") is None:
        print("no chromium: the first paint is not measured; `make peers` brings it")
        return
    painted, whole = await looked_at(base)
    verdict.at_most("first paint after the server's answer, p50", median(painted), PAINT_MS, " ms")
    verdict.figure("first paint after the server's answer, worst", max(painted), " ms")
    verdict.figure("first paint after the request, p50", median(whole), " ms")


def compressed(*names: str) -> float:
    """Return how many kilobytes files of the page take on the wire, as a proxy that compresses sends them."""
    return sum(len(gzip.compress((STATIC / name).read_bytes(), 9)) for name in names) / 1024


async def answered(base: str) -> float:
    """Return the median milliseconds of the first page's answer, each made anew."""
    took = []
    async with httpx2.AsyncClient(base_url=base, headers=SAME_ORIGIN, timeout=60, trust_env=False) as client:
        assert (await client.post("/sign-in", data={"token": TOKEN})).status_code == 303
        for _ in range(VISITS):
            await asyncio.sleep(1)  # what was made for one visitor stands for a moment
            began = time.perf_counter()
            assert (await client.get("/")).status_code == 200
            took.append((time.perf_counter() - began) * 1e3)
    return median(took)


async def burdened(base: str, viewers: int) -> tuple[float, list[float]]:
    """Return this process's share of a core while so many look at the first page, and live reads in milliseconds."""
    command = [sys.executable, "-m", "benchmarks.live_page", base, str(viewers)]
    client = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert client.stdout is not None
    await client.stdout.readline()  # all streams are open
    used, began = time.process_time(), time.monotonic()
    lines = (await client.stdout.read()).split()
    share = (time.process_time() - used) / (time.monotonic() - began)
    assert await client.wait() == 0
    return share, [float(line) for line in lines]


async def look(base: str, viewers: int) -> None:
    """Be the viewers, and read the live numbers meanwhile; print each read's milliseconds."""
    limits = httpx2.Limits(max_connections=viewers + 10)
    options: dict[str, Any] = {"limits": limits, "headers": SAME_ORIGIN, "timeout": 60, "trust_env": False}
    async with httpx2.AsyncClient(base_url=base, **options) as client:
        assert (await client.post("/sign-in", data={"token": TOKEN})).status_code == 303
        frames = [asyncio.Event() for _ in range(viewers)]
        streams = [asyncio.create_task(follow(client, begun)) for begun in frames]
        await asyncio.gather(*(begun.wait() for begun in frames))
        print("open", flush=True)
        took = []
        for _ in range(int(SECONDS * READS_A_SECOND)):
            began = time.perf_counter()
            answer = await client.get("/api/v1/metrics/live", headers={"X-Admin-Token": TOKEN})
            took.append((time.perf_counter() - began) * 1e3)
            assert answer.status_code == 200
            await asyncio.sleep(1 / READS_A_SECOND)
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
    print(*took, sep="\n")


async def follow(client: httpx2.AsyncClient, begun: asyncio.Event) -> None:
    """Read one stream to its end."""
    async with client.stream("GET", "/live") as answer:
        assert answer.status_code == 200
        async for chunk in answer.aiter_bytes():
            if b"event: patch" in chunk:
                begun.set()


async def looked_at(base: str) -> tuple[list[float], list[float]]:
    """Return the milliseconds to the first paint of each visit, from the answer's first byte and from the request.

    Paint Timing §3.1 counts from the start of the navigation; the first byte is Navigation Timing's ``responseStart``.
    """
    painted, whole = [], []
    async with async_playwright() as playwright:
        args = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = await playwright.chromium.launch(executable_path=str(find("chromium")), args=args)
        page = await browser.new_page()
        await page.goto(f"{base}/sign-in")
        await page.fill("input[name=token]", TOKEN)
        await page.press("input[name=token]", "Enter")
        await page.wait_for_url(f"{base}/")
        for _ in range(VISITS):
            await page.goto(base)
            first, begun = await page.evaluate(PAINT)
            painted.append(first - begun)
            whole.append(first)
        await browser.close()
    return painted, whole


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(look(sys.argv[1], int(sys.argv[2])))
    else:
        asyncio.run(main())
