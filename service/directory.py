"""Which tenants are configured, for those who only need to know whether one is."""

from service.api.metrics import DirectoryUnavailableError
from service.database import DATABASE_ERRORS
from service.tenants.repository import TenantRepository


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
