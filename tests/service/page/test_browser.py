"""The page in a real browser: Debian's Chromium, driven by Playwright."""

import asyncio

import pytest
from playwright.async_api import Browser, Page, expect

from service.page.rendering import number
from tests.peers.binaries import folder, require
from tests.service.gateway.harness import GatewayHarness
from tests.service.page.browser import LONG, TALK, WAIT_MS, live, opened, pages_of
from tests.service.page.browsing import secret

pytestmark = pytest.mark.peers


async def test_signing_in_and_out(browser: Browser, harness: GatewayHarness) -> None:
    """A wrong token is refused in words, the right one opens what was asked for, and signing out closes it."""
    async with opened(browser, harness) as watched:
        page = watched.page
        await watched.go("/system")
        await page.fill("input[name=token]", "wrong")
        await page.press("input[name=token]", "Enter")
        await expect(page.locator("[role=alert]")).to_contain_text("not taken")
        await page.fill("input[name=token]", secret("all"))
        await page.press("input[name=token]", "Enter")
        await page.wait_for_url("**/system")
        cookies = await page.context.cookies()
        assert [(one["httpOnly"], one["sameSite"]) for one in cookies] == [(True, "Strict")]
        assert await page.evaluate("document.cookie") == ""
        await page.click("text=Sign out")
        await page.wait_for_url("**/sign-in")
        await watched.go("/")
        assert "/sign-in" in page.url
        watched.clean()


async def test_numbers_on_the_page_follow_the_calls(browser: Browser, harness: GatewayHarness) -> None:
    """Without a reload, the page comes to what the API says, and a running call comes and goes."""
    async with opened(browser, harness) as watched:
        page = watched.page
        await watched.sign_in()
        await live(watched)
        await page.evaluate("window.still_here = true")
        call = asyncio.create_task(harness.place(LONG))
        await expect(page.locator("#running tbody tr")).to_have_count(1, timeout=WAIT_MS)
        (running,) = (await harness.get("/api/v1/calls"))["calls"]
        await harness.client.post(f"/api/v1/calls/{running['call_id']}/hang-up")
        await call
        for _ in range(3):
            await harness.call(TALK)
        for name, value in (await harness.get("/api/v1/metrics/live")).items():
            await expect(page.locator(f"[data-field={name}]")).to_have_text(str(number(value)), timeout=WAIT_MS)
        await expect(page.locator("#running .empty")).to_be_visible(timeout=WAIT_MS)
        assert await page.evaluate("window.still_here") is True
        watched.clean()


async def test_pause_holds_still_what_is_read(browser: Browser, harness: GatewayHarness) -> None:
    """Nothing moves while calls go on; the address says so, a reload stays still, and going on catches up."""
    async with opened(browser, harness) as watched:
        page = watched.page
        await watched.sign_in()
        await live(watched)
        await page.click("#pause")
        await expect(page.locator("#state")).to_contain_text("Paused")
        assert "paused=1" in page.url
        before = await page.inner_html("main")
        await harness.call(TALK)
        await harness.container.telemetry.live.refreshed()
        await asyncio.sleep(2.5)  # two ticks, in which a page that is not still would change
        assert await page.inner_html("main") == before
        await page.reload()
        await expect(page.locator("#state")).to_contain_text("Paused")
        await page.click("#pause")
        await expect(page.locator("[data-field=ended_calls]")).to_have_text("1", timeout=WAIT_MS)
        assert "paused" not in page.url
        watched.clean()


async def test_focus_and_open_details_survive_the_ticks(browser: Browser, harness: GatewayHarness) -> None:
    """What somebody holds with the keyboard, or has opened, is still so after the page has renewed itself."""
    await harness.call(TALK)
    async with opened(browser, harness) as watched:
        page = watched.page
        await watched.sign_in()
        await watched.go("/tenants/tenant-001")
        await live(watched)
        await page.locator("summary").first.click()
        await page.locator("#running").evaluate("node => node.dataset.mark = 1")
        await page.locator("figure[data-chart]").first.focus()
        await page.keyboard.press("ArrowLeft")
        reading = page.locator("figure[data-chart] .reading").first
        await expect(reading).to_be_visible()
        await asyncio.sleep(2.5)  # two ticks
        assert await page.locator("details[open]").count() == 1
        assert await page.evaluate("document.activeElement.tagName") == "FIGURE"
        await expect(reading).to_contain_text("on average")
        watched.clean()


async def test_a_page_comes_back_after_a_break(browser: Browser, harness: GatewayHarness) -> None:
    """A stream that breaks off is opened again, and its first frame brings everything."""
    async with opened(browser, harness) as watched:
        page = watched.page
        await watched.sign_in()
        await live(watched)
        await page.context.set_offline(True)
        await page.evaluate("source.close(); source.dispatchEvent(new Event('error'))")
        await expect(page.locator("#state")).to_have_text("Not connected", timeout=WAIT_MS)
        await page.context.set_offline(False)
        await harness.call(TALK)
        await expect(page.locator("[data-field=ended_calls]")).to_have_text("1", timeout=WAIT_MS)
        assert (watched.violations, watched.elsewhere) == ([], [])


async def test_a_call_is_hung_up_by_keyboard_alone(browser: Browser, harness: GatewayHarness) -> None:
    """From the form to the call's end without a pointer: every step is reached with Tab and shows where it is."""
    async with opened(browser, harness) as watched:
        page = watched.page
        call = asyncio.create_task(harness.place(LONG))
        tracker = harness.container.telemetry.tracker
        await harness.until(lambda: bool(tracker.usage().active), "the call to run")
        await watched.go("/")
        await page.keyboard.type(secret("all"))
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#running tbody a")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "skip"
        await _tab_to(page, "#running tbody a.id")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/calls/**")
        await _tab_to(page, "a.danger")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/hang-up")
        await _tab_to(page, "button.danger")
        await page.keyboard.press("Enter")
        await page.wait_for_url(lambda url: "hang-up" not in url)
        await call
        await expect(page.locator("#call-head .says")).to_contain_text("an operator hung up", timeout=WAIT_MS)
        watched.clean()


async def _tab_to(page: Page, selector: str) -> None:
    for _ in range(80):
        await page.keyboard.press("Tab")
        if await page.evaluate("selector => document.activeElement.matches(selector)", selector):
            outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"{selector} does not show its focus"
            return
    raise AssertionError(f"Tab does not reach {selector}")


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_finds_nothing(browser: Browser, harness: GatewayHarness, theme: str) -> None:
    """On every page, in both themes, at a desk's width and a phone's: no rule of WCAG 2.2 AA is broken."""
    axe = folder() / "share" / "axe.min.js"
    if not axe.is_file():
        require("axe.min.js")
    source = axe.read_text()
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = {}
    paths = await pages_of(harness)
    for width in (1280, 390):
        viewport = {"width": width, "height": 900}
        async with opened(browser, harness, color_scheme=theme, viewport=viewport, bypass_csp=True) as watched:
            await watched.sign_in()
            for path in paths:
                await watched.go(path)
                await watched.page.evaluate(source)
                result = await watched.page.evaluate(
                    "tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", tags
                )
                for violation in result["violations"]:
                    nodes = [node["html"][:150] for node in violation["nodes"][:3]]
                    found[f"{width} {path} {violation['id']}"] = (violation["help"], nodes)
                overflow = await watched.page.evaluate("document.documentElement.scrollWidth - innerWidth")
                assert overflow <= 0, f"{path} is wider than {width} pixels"
    assert not found, "\n".join(f"{where}: {what}" for where, what in found.items())


async def test_no_page_breaks_the_policy(browser: Browser, harness: GatewayHarness) -> None:
    """Every page as the service sends it: no error in the console, no violation, nothing asked of another origin."""
    async with opened(browser, harness) as watched:
        await watched.sign_in()
        for path in await pages_of(harness):
            await watched.go(path)
        watched.clean()


async def test_without_script_the_page_reloads(browser: Browser, harness: GatewayHarness) -> None:
    """Everything is there, and comes anew by itself, unless it is paused."""
    async with opened(browser, harness, java_script_enabled=False) as watched:
        await watched.sign_in()
        page = watched.page
        assert await page.locator("#verdicts li").count() >= 5
        assert await page.locator('noscript meta[http-equiv="refresh"]').count() == 1
        await page.click("#pause")
        assert "paused=1" in page.url
        assert await page.locator('meta[http-equiv="refresh"]').count() == 0
        watched.clean()
