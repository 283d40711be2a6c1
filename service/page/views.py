"""Every page by its name, each as the fragments it is made of: the same ones make the whole page and its changes."""

from collections.abc import Mapping

from service.page.call_view import call_fragments
from service.page.facts import PageFacts
from service.page.now_view import now_fragments
from service.page.rendering import render
from service.page.system_view import SystemFacts, system_fragments
from service.page.tenant_view import TenantRecords, tenant_fragments
from service.page.viewing import PageName, View


class Pages:
    """Makes pages."""

    def __init__(self, facts: PageFacts, records: TenantRecords, system: SystemFacts) -> None:
        self.facts = facts
        self.records = records
        self.system = system

    async def fragments(self, view: View) -> Mapping[str, str]:
        """Return the fragments of a page by the ids of their elements.

        Raises:
            ProblemError: if there is no such page for the view's access, or it cannot be made now.
        """
        return {"strip": await self.strip(view), **await self._own(view)}

    async def strip(self, view: View) -> str:
        """Return the strip of figures that stands on every page."""
        overview = await self.facts.overview(view.strip_tenant)
        return render(
            "strip.html", overview=overview, tenant_id=view.strip_tenant, of_tenant=view.page is PageName.TENANT
        )

    async def _own(self, view: View) -> dict[str, str]:
        match view.page:
            case PageName.NOW:
                return await now_fragments(self.facts, view)
            case PageName.TENANT:
                return await tenant_fragments(self.facts, self.records, view)
            case PageName.CALL:
                return await call_fragments(self.facts, view)
            case PageName.SYSTEM:
                return await system_fragments(self.facts, self.system, view)
            case PageName.SEARCH:
                return {}
