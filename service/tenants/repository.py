"""The operations on tenants, wherever they are kept."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from service.tenants.spec import TenantSpec
from service.tenants.tenant import (
    AuditPage,
    CallTenant,
    HangUpNote,
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
    """The questions of admission, for many calls at once; each is one small query."""

    async def revision(self) -> int:
        """Return a number that grows with every change of any tenant."""
        ...

    async def for_calls(self, numbers: Collection[str]) -> Mapping[str, CallTenant]:
        """Return the tenants the dialled numbers reach, enabled or not; a number without a tenant is left out."""
        ...

    async def current_instructions(self, tenant_ids: Collection[str]) -> Mapping[str, str]:
        """Return the tenants' instructions; a tenant that has none is left out."""
        ...


class TenantRepository(CallTenants, Protocol):
    """Everything administration needs.

    Every change takes the ``actor`` it is made by. With an ``expected_version`` it is refused with
    :class:`StaleVersionError` unless the tenant is at just that version. A change that changes nothing leaves version,
    audit and revision as they are. Errors are those of :mod:`service.tenants.errors`.
    """

    async def by_id(self, tenant_id: str) -> Tenant | None:
        """Return the tenant with this id, ``None`` if there is none."""
        ...

    async def page(self, *, after: str = "", limit: int = 100) -> TenantPage:
        """Return tenants in the order of their ids, from the first one after ``after``."""
        ...

    async def find(self, sought: Sought, *, after: str = "", limit: int = 100) -> SummaryPage:
        """Return the tenants sought, in the order of their ids, from the first one after ``after``."""
        ...

    async def own_limits(self) -> Mapping[TenantId, int]:
        """Return the calls at once of the tenants that have a limit of their own."""
        ...

    async def instructions_history(
        self, tenant_id: str, *, before: int | None = None, limit: int = 100
    ) -> InstructionsPage:
        """Return the instructions' versions, newest first, from the first one before version ``before``."""
        ...

    async def instructions_at(self, tenant_id: str, version: int) -> InstructionsVersion | None:
        """Return one version of the instructions with its text, ``None`` if there never was one."""
        ...

    async def audit(self, tenant_id: str | None = None, *, before: int | None = None, limit: int = 100) -> AuditPage:
        """Return changes of one tenant or of all, latest first, from the first entry before ``before``."""
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
        """Let new calls in, or none; running calls go on."""
        ...

    async def set_instructions(
        self, tenant_id: str, text: str | None, *, actor: str, expected_version: int | None = None
    ) -> Tenant:
        """Store a new version of the instructions; ``None`` withdraws them."""
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

    async def note_hang_up(self, tenant_id: str, call_id: str, *, actor: str) -> HangUpNote:
        """Put into the audit that an operator wants a call ended; the tenant itself stays as it is."""
        ...

    async def settle_hang_up(self, note: HangUpNote, *, error: str | None) -> None:
        """Give the entry its outcome: the call was hung up, or was not, for this ``error``."""
        ...

    async def delete(self, tenant_id: str, *, actor: str, expected_version: int | None = None) -> None:
        """Remove the tenant with its numbers and instructions; its audit stays."""
        ...
