"""How pages look in a real browser: nothing cut, nothing askew, in both themes, on a phone, and at 200 % zoom."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from service.simulator.script import AgentSpeaks, CallerSpeaks, CallScript
from service.timeline.svg import undirected
from tests.service.gateway.harness import GatewayHarness, running_harness
from tests.service.page.browser import WAIT_MS, Watched, opened, pages_of
from tests.service.page.browsing import TOKENS

pytestmark = pytest.mark.peers

OVERFLOW = """() => [...document.querySelectorAll('main *, header *')].filter((node) => {
  if (node.closest('.scroll, .hidden, svg, .skip, select') || !node.getClientRects().length) return false;
  const box = node.getBoundingClientRect();
  return box.right > document.documentElement.clientWidth + 1 || box.left < -1;
}).map((node) => node.outerHTML.slice(0, 120))"""
"""Elements that reach beyond the page, and do not scroll."""

ASKEW = """() => [...document.querySelectorAll('tbody tr')].flatMap((row) => {
  const lines = [...row.children].map((cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell.querySelector('a') || cell);
    const boxes = [...range.getClientRects()].filter((box) => box.width > 0);
    const middles = boxes.map((box) => box.top + box.height / 2);
    return boxes.length && Math.max(...middles) - Math.min(...middles) < 4 ? middles[0] : null;
  }).filter((middle) => middle !== null);
  return Math.max(...lines) - Math.min(...lines) > 1.5 ? [row.outerHTML.slice(0, 200)] : [];
})"""
"""Rows whose cells of one line do not stand on it."""


async def findings(watched: Watched) -> None:
    """Wait until the doctor has been."""
    await watched.go("/system")
    await expect(watched.page.locator("#doctor li")).to_have_count(3, timeout=WAIT_MS)


@pytest.mark.parametrize(("width", "scale"), [(1280, 1), (390, 1), (640, 2)], ids=["desk", "phone", "200 %"])
async def test_nothing_is_cut_or_askew(browser: Browser, harness: GatewayHarness, width: int, scale: int) -> None:
    """On every page, as on one of the service after the doctor has been, which has the longest words."""
    paths = await pages_of(harness)
    options = {"viewport": {"width": width, "height": 900 // scale}, "device_scale_factor": scale}
    async with opened(browser, harness, **options) as watched:
        await watched.sign_in()
        await findings(watched)
        for path in paths:
            await watched.go(path)
            assert await watched.page.evaluate(OVERFLOW) == [], path
            assert await watched.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
            assert await watched.page.evaluate(ASKEW) == [], path


async def test_fields_of_a_form_are_of_one_height(browser: Browser, harness: GatewayHarness) -> None:
    """Texts, choices and dates, so that their labels stand on a line."""
    async with opened(browser, harness) as watched:
        await watched.sign_in()
        await watched.go("/search")
        fields = "[...document.querySelectorAll('form.search input:not([type=radio]), form.search select')]"
        heights = await watched.page.evaluate(
            f"[...new Set({fields}.filter((one) => one.getClientRects().length).map((one) => one.offsetHeight))]"
        )
        assert len(heights) == 1


async def test_an_outage_is_plain_at_a_glance(browser: Browser, tmp_path: Path) -> None:
    """With the database's file gone and the Collector away: each trouble in a sentence, nothing well that is not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        async with running_harness(tmp_path, admin_token=",".join(TOKENS.values())) as harness:
            (tmp_path / "callscope.db").rename(tmp_path / "away.db")
            async with opened(browser, harness) as watched:
                page = watched.page
                await watched.sign_in()
                await findings(watched)
                await expect(page.locator("#doctor li.attention")).to_have_count(3)
                await expect(page.locator("#verdict-readiness-database")).to_contain_text("the file of the database")
                await expect(page.locator("#verdict-readiness")).to_have_count(0)
                await expect(page.locator("#checks .bad").first).to_be_visible()
                await watched.go("/search?where=records")
                await expect(page.locator("#wrong")).to_contain_text("The database does not answer now")
                watched.clean()
            (tmp_path / "away.db").rename(tmp_path / "callscope.db")


async def test_an_interruption_is_said_once(browser: Browser, harness: GatewayHarness) -> None:
    """A turn that ended by one is not interrupted twice."""
    script = CallScript(
        "interrupted",
        (
            CallerSpeaks("Well?"),
            AgentSpeaks("A long answer.", cut_after=0.5),
            CallerSpeaks("No!"),
            AgentSpeaks("Fine."),
        ),
    )
    report = await harness.call(script)
    async with opened(browser, harness) as watched:
        await watched.sign_in()
        await watched.go(f"/calls/{report.call_id}")
        said = await watched.page.inner_text("#call-turns")
    assert "interrupted" in said
    assert "interrupted, interrupted" not in said


async def test_a_name_turns_nothing_around(browser: Browser, harness: GatewayHarness) -> None:
    """What stands behind a name that overrides its direction is still to its right, as everywhere."""
    name = "\u202egnirts esrever"
    assert "\\u202e" in undirected(name)
    answer = await harness.client.patch(
        "/api/v1/tenants/tenant-001", json={"name": name, "enabled": False}, headers={"If-Match": "*"}
    )
    assert answer.status_code == 200
    async with opened(browser, harness) as watched:
        await watched.sign_in()
        await watched.go("/tenants/tenant-001")
        places = await watched.page.evaluate(
            """() => {
              const small = document.querySelector('#h-settings small');
              const after = document.createRange();
              after.selectNodeContents(small.lastChild);
              return [small.querySelector('bdi').getBoundingClientRect().right, after.getBoundingClientRect().left];
            }"""
        )
        assert await watched.page.inner_text("#h-settings small") == f"{name}, disabled: new calls are turned away"
    assert places[1] >= places[0] - 1
