"""The page somebody looks at, as the key by which one rendering serves all who look at the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from service.api.ranking import Order
from service.http.tokens import Access
from telemetry.metrics.past import WindowName


class PageName(StrEnum):
    """The pages that live."""

    NOW = "now"
    TENANT = "tenant"
    CALL = "call"
    SEARCH = "search"
    SYSTEM = "system"


DEFAULT_SORT: Final = "received"


@dataclass(frozen=True, slots=True)
class View:
    """A page, whose it is, and how it is put."""

    page: PageName
    access: Access
    subject: str | None = None
    """The tenant or the call it is about."""
    sort: str = DEFAULT_SORT
    order: str = Order.DESCENDING.value
    window: str = WindowName.HOUR.value
    cursor: str | None = None

    @property
    def query(self) -> Mapping[str, str | None]:
        """The query of the page's address, without what is as it is by default."""
        return {
            "sort": None if self.sort == DEFAULT_SORT else self.sort,
            "order": None if self.order == Order.DESCENDING else self.order,
            "window": None if self.window == WindowName.HOUR else self.window,
            "cursor": self.cursor,
        }

    @property
    def strip_tenant(self) -> str | None:
        """The tenant whose figures stand at the top; None for those of all together."""
        bound = self.access.tenants
        if bound is None:
            return None
        if self.page is PageName.TENANT and self.subject in bound:
            return self.subject
        return min(bound)
