"""Tenants as plain data: the part admission needs, the whole, summaries, versions and audit entries."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from service.e164 import Address
from telemetry.semconv.attributes import TenantId

Features = Mapping[str, bool | int | float | str | None]
"""Switches of a tenant by name, such as ``capture_content``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTenant:
    """The part of a tenant admission needs. Instructions are looked up apart, since a fault there has its own rule."""

    tenant_id: TenantId
    name: str
    enabled: bool
    max_concurrent_calls: int | None
    """Calls at once; ``None``: the general limit for tenants holds; 0: no new call."""
    transfer_targets: Mapping[str, str]
    """Destinations the agent may transfer a caller to: name → ``tel:``, ``sip:`` or ``sips:`` URI."""
    features: Features


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant(CallTenant):
    """A tenant, whole."""

    numbers: tuple[Address, ...]
    """The dialled numbers that reach it, sorted."""
    instructions: str | None
    """Text for the agent; ``None``: nothing, the fallback rule applies."""
    instructions_version: int
    """Grows by one with each change of the instructions; 0: there never were any."""
    version: int
    """Another after every change, also across deletion and re-creation: fit for an ETag. Its size means nothing."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class TenantPage:
    """Some tenants in the order of their ids."""

    tenants: tuple[Tenant, ...]
    next_after: TenantId | None
    """Id to give as ``after`` for the next page; ``None``: this was the last."""


@dataclass(frozen=True, slots=True)
class Sought:
    """Conditions of a search for tenants."""

    text: str = ""
    """Part of the id or of the name, in any case, or digits of a number; empty: any."""
    enabled: bool | None = None
    """``None``: either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSummary:
    """A tenant without what can be long: its numbers are counted, its instructions named by their version."""

    tenant_id: TenantId
    name: str
    enabled: bool
    max_concurrent_calls: int | None
    numbers: int
    """Number of dialled numbers."""
    instructions_version: int
    """0: there never were any."""
    features: Features
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class SummaryPage:
    """Some tenants in the order of their ids."""

    tenants: tuple[TenantSummary, ...]
    next_after: TenantId | None
    """Id to give as ``after`` for the next page; ``None``: this was the last."""


@dataclass(frozen=True, slots=True)
class InstructionsEntry:
    """That instructions were set once; what they said is asked for apart."""

    version: int
    characters: int | None
    """Length of the text; ``None``: the instructions were withdrawn."""
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class InstructionsPage:
    """Some versions, the newest first."""

    versions: tuple[InstructionsEntry, ...]
    next_before: int | None
    """Number to give as ``before`` for the next page; ``None``: this was the last."""


@dataclass(frozen=True, slots=True)
class InstructionsVersion:
    """Instructions as they were set once."""

    version: int
    text: str | None
    """``None``: the instructions were withdrawn."""
    created_at: datetime
    created_by: str


class AuditAction(StrEnum):
    """Kinds of change of a tenant."""

    CREATED = "created"
    CHANGED = "changed"
    DELETED = "deleted"
    HANGING_UP = "hanging_up"
    """An operator wants a call of the tenant ended, which is named in what is ``after``; the outcome is not known."""
    HUNG_UP = "hung_up"
    """An operator ended it."""
    HANG_UP_FAILED = "hang_up_failed"
    """The call could not be ended, or was over by then: ``after`` has the ``error`` as well."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change: the changed fields alone, as they were and as they are.

    Of numbers and features there are those that changed: ``before`` has the numbers given up, ``after`` those gained.
    Instructions are there by their version, transfer targets by their names.
    """

    entry_id: int
    at: datetime
    actor: str
    action: AuditAction
    tenant_id: TenantId
    before: Mapping[str, object]
    after: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class HangUpNote:
    """An audit entry of a hang-up whose outcome is to come."""

    entry_id: int
    call_id: str
    actor: str


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some changes, the latest first."""

    entries: tuple[AuditEntry, ...]
    next_before: int | None
    """Number to give as ``before`` for the next page; ``None``: this was the last."""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """Ids of an import's tenants, by what became of them."""

    created: tuple[TenantId, ...]
    changed: tuple[TenantId, ...]
    unchanged: tuple[TenantId, ...]
