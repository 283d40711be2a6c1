"""What can be asked about tenants and done to them, wherever they are kept."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from service.e164 import E164
from service.tenants.spec import TenantSpec
from service.tenants.tenant import (
    AuditPage,
    CallTenant,
    ImportResult,
    InstructionsPage,
    InstructionsVersion,
    Sought,
    SummaryPage,
    Tenant,
    TenantPage,
)
from telemetry.semconv.attributes import TenantId

NEW = 0
"""As ``expected_version``: the tenant must not exist yet."""

MAX_PAGE = 1_000
"""Entries a page may have."""


class CallTenants(Protocol):
    """What deciding about calls asks, for many calls at once; each answer is one small query."""

    async def revision(self) -> int:
        """A number that grows with every change of any tenant."""
        ...

    async def for_calls(self, numbers: Collection[str]) -> Mapping[str, CallTenant]:
        """The tenants the dialled numbers reach, enabled or not; a number that is nobody's is left out."""
        ...

    async def current_instructions(self, tenant_ids: Collection[str]) -> Mapping[str, str]:
        """The tenants' instructions; a tenant that has none is left out."""
        ...


class TenantRepository(CallTenants, Protocol):
    """All of it, for administration.

    Every change takes the ``actor`` it is made by. With an ``expected_version`` it is refused with
    :class:`StaleVersionError` unless the tenant is at just that version. A change that changes nothing leaves version,
    audit and revision as they are. Errors are those of :mod:`service.tenants.errors`.
    """

    async def by_id(self, tenant_id: str) -> Tenant | None:
        """The tenant with this id."""
        ...

    async def by_number(self, number: E164) -> Tenant | None:
        """The tenant this number belongs to."""
        ...

    async def page(self, *, after: str = "", limit: int = 100) -> TenantPage:
        """Tenants in the order of their ids, from the first one after ``after``."""
        ...

    async def find(self, sought: Sought, *, after: str = "", limit: int = 100) -> SummaryPage:
        """The tenants that are looked for, in the order of their ids, from the first one after ``after``."""
        ...

    async def own_limits(self) -> Mapping[TenantId, int]:
        """Calls at once of the tenants that have a limit of their own."""
        ...

    async def instructions_history(
        self, tenant_id: str, *, before: int | None = None, limit: int = 100
    ) -> InstructionsPage:
        """The instructions' versions, the newest first, from the first one before version ``before``."""
        ...

    async def instructions_at(self, tenant_id: str, version: int) -> InstructionsVersion | None:
        """One version of the instructions, with its text."""
        ...

    async def audit(self, tenant_id: str | None = None, *, before: int | None = None, limit: int = 100) -> AuditPage:
        """Changes of one tenant or of all, the latest first, from the first entry before ``before``."""
        ...

    async def import_all(self, specs: Sequence[TenantSpec], *, actor: str) -> ImportResult:
        """Create or change all of these tenants, or none: :class:`ImportRefusedError` lists every problem."""
        ...

    async def put(self, spec: TenantSpec, *, actor: str, expected_version: int | None = None) -> Tenant:
        """Create or change one; with ``expected_version`` :data:`NEW` only create (:class:`TenantExistsError`)."""
        ...

    async def change(self, spec: TenantSpec, *, actor: str, expected_version: int | None = None) -> Tenant:
        """Change what is stated of a tenant that exists (:class:`TenantNotFoundError`)."""
        ...

    async def set_enabled(
        self, tenant_id: str, enabled: bool, *, actor: str, expected_version: int | None = None
    ) -> Tenant:
        """Let new calls in, or none; calls that run go on."""
        ...

    async def set_limit(
        self, tenant_id: str, limit: int | None, *, actor: str, expected_version: int | None = None
    ) -> Tenant:
        """Calls at once, also below what runs now: running calls go on."""
        ...

    async def set_instructions(
        self, tenant_id: str, text: str | None, *, actor: str, expected_version: int | None = None
    ) -> Tenant:
        """A new version of the instructions; ``None`` withdraws them."""
        ...

    async def add_number(
        self, tenant_id: str, number: str, *, actor: str, expected_version: int | None = None
    ) -> Tenant:
        """Give the tenant a number that no other has (:class:`NumberTakenError`)."""
        ...

    async def remove_number(
        self, tenant_id: str, number: str, *, actor: str, expected_version: int | None = None
    ) -> Tenant:
        """Take a number from the tenant that has it (:class:`NumberNotFoundError`)."""
        ...

    async def delete(self, tenant_id: str, *, actor: str, expected_version: int | None = None) -> None:
        """Remove the tenant with its numbers and instructions; its audit stays."""
        ...
