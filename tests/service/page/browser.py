"""What tests do with a real browser: Debian's Chromium, driven by Playwright."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, Page, Request, expect

from service.simulator.script import AgentGreets, AgentSpeaks, CallerSpeaks, CallerStaysSilent, CallScript
from telemetry.semconv.attributes import EndReason
from tests.service.gateway.harness import GatewayHarness
from tests.service.page.browsing import secret

TALK: Final = CallScript("talk", (AgentGreets(AgentSpeaks("Hello.")), CallerSpeaks("Well?"), AgentSpeaks("Fine.")))
LONG: Final = CallScript("long", (AgentGreets(AgentSpeaks("Hello.")), CallerStaysSilent(3_000)))
WAIT_MS: Final = 60_000
"""How long something may take to show on a busy machine."""


@dataclass
class Watched:
    """A browser's page, and everything it complained of or asked for."""

    page: Page
    base: str
    console: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    @classmethod
    async def of(cls, context: BrowserContext, base: str) -> "Watched":
        watched = cls(await context.new_page(), base)
        watched.page.set_default_timeout(WAIT_MS)
        watched.page.on("console", lambda message: watched._said(message.type, message.text))
        watched.page.on("pageerror", lambda error: watched.console.append(str(error)))
        watched.page.on("request", watched._asked)
        await context.expose_function("violated", watched._violated)
        await context.add_init_script(
            "addEventListener('securitypolicyviolation', (e) => window.violated(e.violatedDirective + e.blockedURI))"
        )
        return watched

    def _said(self, kind: str, text: str) -> None:
        # A status other than 200 is an error to the console, also where the test asks for it.
        if kind in {"error", "warning"} and "the server responded with a status of" not in text:
            self.console.append(text)

    def _violated(self, what: str) -> None:
        self.violations.append(what)

    def _asked(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.base).netloc:
            self.elsewhere.append(request.url)

    async def go(self, path: str) -> None:
        """Open a page of the service."""
        await self.page.goto(self.base + path)

    async def sign_in(self, role: str = "all") -> None:
        """Fill in the form."""
        await self.go("/sign-in")
        await self.page.fill("input[name=token]", secret(role))
        await self.page.press("input[name=token]", "Enter")
        await self.page.wait_for_url(lambda url: "/sign-in" not in url)

    def clean(self) -> None:
        """Fail if there was anything to complain of."""
        assert (self.console, self.violations, self.elsewhere) == ([], [], [])


@asynccontextmanager
async def opened(
    browser: Browser,
    harness: GatewayHarness,
    **options: Any,  # noqa: ANN401 -- what a context takes
) -> AsyncIterator[Watched]:
    """A page with a profile of its own."""
    context = await browser.new_context(timezone_id="Europe/Berlin", locale="en-GB", **options)
    yield await Watched.of(context, str(harness.client.base_url).rstrip("/"))
    await context.close()


async def live(watched: Watched) -> None:
    """Wait until a frame has come."""
    await expect(watched.page.locator("#state")).to_have_text("Live", timeout=WAIT_MS)
    await watched.page.wait_for_function("document.getElementById('state').className === 'state'")


async def pages_of(harness: GatewayHarness) -> list[str]:
    """Every page, with something on it."""
    report = await harness.call(TALK)
    tracker = harness.container.telemetry.tracker
    failed = tracker.received("rtc_failed", "tenant-001", caller="+14155550123", dialled="+18005550000")
    failed.accepted()
    failed.started()
    failed.finish(EndReason.ERROR, error_type="SessionLost")
    running = tracker.received("rtc_running", "tenant-001")
    running.accepted()
    running.started()
    call = f"/calls/{report.call_id}"
    return [
        "/", "/tenants/tenant-001", call, "/calls/rtc_running", "/calls/rtc_failed", "/search", "/system",
        "/calls/rtc_running/hang-up", "/tenants/tenant-001/limit", "/?sort=luck", "/sign-in",
    ]  # fmt: skip
