"""The tenants that there are: configured, or seen by any process that keeps its records in the same database."""

from service.records.store import CallPages
from service.storage.database import DATABASE_ERRORS
from service.tenants.directory import DirectoryUnavailableError
from service.tenants.repository import TenantRepository


class SeenTenants:
    """The :class:`service.tenants.directory.TenantDirectory` of a repository and of the calls on record."""

    __slots__ = ("_pages", "_tenants")

    def __init__(self, tenants: TenantRepository, pages: CallPages) -> None:
        self._tenants, self._pages = tenants, pages

    async def knows(self, tenant_id: str) -> bool:
        """Return True if the tenant is configured or has a call on record; raise :class:`DirectoryUnavailableError`."""
        try:
            return await self._tenants.by_id(tenant_id) is not None or await self._pages.any_of(tenant_id)
        except DATABASE_ERRORS as error:
            raise DirectoryUnavailableError from error
