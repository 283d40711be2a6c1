"""The live page of an application: its routes, and what runs behind them."""

from collections.abc import Iterator

from fastapi import APIRouter, FastAPI

from service.api.hang_up import HangUps, hang_up_router
from service.api.tenants.changes import TenantChanges
from service.fleet.mail import Mailbox
from service.http.security import AdminAttempts, AdminCheck, AdminGate
from service.http.tokens import AdminTokens
from service.page.actions import actions_router
from service.page.attention import ATTENTION
from service.page.facts import PageFacts, PageParts
from service.page.live import LivePages
from service.page.overview import overview_router
from service.page.routes import pages_router, streams_router
from service.page.search_view import search_router
from service.page.sessions import PageSessions
from service.page.sign_in import sign_in_router
from service.page.system_view import SystemFacts
from service.page.tenant_view import TenantRecords
from service.page.viewing import View
from service.page.views import Pages
from service.records.directory import SeenTenants


class LivePage:
    """The page of one process."""

    def __init__(
        self,
        parts: PageParts,
        system: SystemFacts,
        changes: TenantChanges,
        hang_ups: HangUps,
        *,
        tokens: AdminTokens,
        attempts: AdminAttempts,
        sessions: PageSessions,
    ) -> None:
        self._changes = changes
        self._hang_ups = hang_ups
        self._gate = AdminGate(tokens, attempts)
        self._facts = PageFacts(parts)
        self._tenants = SeenTenants(parts.tenants, parts.pages)
        self.sessions = sessions
        self.pages = Pages(self._facts, TenantRecords(parts.tenants, parts.usage), system)
        self.live: LivePages[View] = LivePages(self.pages.fragments)

    def mount(self, app: FastAPI, admin: AdminCheck) -> None:
        """Add the page's routes to an application, and the overview that ``admin`` guards."""
        for router in self._routers(admin):
            app.include_router(router)

    def tell(self, mailbox: Mailbox) -> None:
        """Have other processes' pages told which calls of this one need attention."""
        mailbox.answer(ATTENTION, self._facts.tell_attention)

    async def stop(self) -> None:
        """End every stream."""
        await self.live.stop()

    def _routers(self, admin: AdminCheck) -> Iterator[APIRouter]:
        yield overview_router(facts=self._facts, tenants=self._tenants, admin=admin)
        yield sign_in_router(gate=self._gate, sessions=self.sessions)
        yield streams_router(pages=self.pages, live=self.live, sessions=self.sessions, tenants=self._tenants)
        yield hang_up_router(hang_ups=self._hang_ups, admin=admin)
        yield actions_router(pages=self.pages, sessions=self.sessions, changes=self._changes, hang_ups=self._hang_ups)
        yield search_router(pages=self.pages, sessions=self.sessions)
        yield pages_router(pages=self.pages, sessions=self.sessions, tenants=self._tenants)
