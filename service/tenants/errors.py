"""Errors about tenants. Each names the field and its problem, and nothing of a caller."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from service.e164 import Address


class TenantError(Exception):
    """A change or a question that cannot be answered as asked."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class TenantNotFoundError(TenantError):
    """No tenant has this id."""

    def __init__(self, tenant_id: str) -> None:
        super().__init__("tenant_id", f"there is no tenant {tenant_id!r}")


class TenantExistsError(TenantError):
    """A tenant was to be created and is there already."""

    def __init__(self, tenant_id: str) -> None:
        super().__init__("tenant_id", f"{tenant_id!r} exists already")


class InvalidFieldError(TenantError):
    """A value that no tenant may have."""


class NumberTakenError(TenantError):
    """Numbers that belong to another tenant; ``owners`` says to which."""

    def __init__(self, owners: Mapping[Address, str]) -> None:
        listed = ", ".join(f"{number} belongs to {owner!r}" for number, owner in sorted(owners.items()))
        super().__init__("numbers", listed)
        self.owners = MappingProxyType(dict(owners))


class NumberNotFoundError(TenantError):
    """A number was to be taken from a tenant that does not have it."""

    def __init__(self, tenant_id: str, number: str) -> None:
        super().__init__("numbers", f"{tenant_id!r} has no number {number}")


class StaleVersionError(TenantError):
    """The tenant changed since the version this change was based on."""

    def __init__(self, tenant_id: str, *, expected: int, actual: int) -> None:
        super().__init__("version", f"{tenant_id!r} is at version {actual}, not {expected}")
        self.expected = expected
        self.actual = actual


@dataclass(frozen=True, slots=True)
class ImportProblem:
    """One thing wrong with one entry of an import."""

    row: int
    """Position of the entry, counted from 1; 0 is the file as a whole."""
    field: str
    reason: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.field}: {self.reason}" if self.row else f"{self.field}: {self.reason}"


class ImportRefusedError(TenantError):
    """An import with problems; nothing of it was stored."""

    def __init__(self, problems: Sequence[ImportProblem]) -> None:
        super().__init__("import", "; ".join(map(str, problems)))
        self.problems = tuple(problems)


class TenantLookupError(TenantError):
    """The tenant cannot be looked up now: the database is down, or too slow."""

    def __init__(self, problem: str) -> None:
        super().__init__("tenant", problem)


class InstructionsUnavailableError(TenantError):
    """The tenant's instructions cannot be looked up now: the database is down, or too slow."""

    def __init__(self, problem: str) -> None:
        super().__init__("instructions", problem)
