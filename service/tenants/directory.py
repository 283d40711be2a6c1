"""The one question that routes ask of the tenants; an application that keeps its own answers it without a database."""

from typing import Protocol


class TenantDirectory(Protocol):
    """The tenants that are configured, or have been seen."""

    async def knows(self, tenant_id: str) -> bool:
        """Return True if there is such a tenant, enabled or not, or calls of it are known.

        Args:
            tenant_id: any text without control characters.

        Raises:
            DirectoryUnavailableError: if that cannot be found out now.
        """
        ...


class DirectoryUnavailableError(Exception):
    """The tenants cannot be looked up now."""
