"""Which tenants are configured, for those who only need to know whether one is."""

from typing import Protocol

from service.storage.database import DATABASE_ERRORS
from service.tenants.repository import TenantRepository


class TenantDirectory(Protocol):
    """Knows which tenants are configured."""

    async def knows(self, tenant_id: str) -> bool:
        """Whether there is such a tenant, enabled or not; ``tenant_id`` is any text without control characters.

        Raises:
            DirectoryUnavailableError: if that cannot be found out now.
        """
        ...


class DirectoryUnavailableError(Exception):
    """The tenants that are configured cannot be looked up now."""


class ConfiguredTenants:
    """The tenants of the database, as a :class:`service.api.metrics.TenantDirectory`."""

    __slots__ = ("_tenants",)

    def __init__(self, tenants: TenantRepository) -> None:
        self._tenants = tenants

    async def knows(self, tenant_id: str) -> bool:
        """Whether there is such a tenant, enabled or not.

        Raises:
            DirectoryUnavailableError: if the database does not answer.
        """
        try:
            return await self._tenants.by_id(tenant_id) is not None
        except DATABASE_ERRORS as error:
            raise DirectoryUnavailableError from error
