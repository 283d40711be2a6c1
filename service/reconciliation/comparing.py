"""Where two ledgers cannot both be right."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from service.reconciliation.column import Column, Ledger
from service.reconciliation.figures import COUNTED, ZERO, Field, Figure, Row, Rows

UNDER_WAY = 1e-6
"""Less than this is what adding up in another order does to minutes."""


Key = tuple[str | None, str, tuple[Ledger, Ledger]]
"""Tenant, field and ledgers."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure on which two ledgers do not agree."""

    tenant_id: str | None
    """``None``: of all tenants together."""
    field: str
    """A :class:`service.reconciliation.figures.Field`, or an invariant that does not hold."""
    ledgers: tuple[Ledger, Ledger]
    figures: tuple[Figure, Figure]
    """What each says, in the same order."""

    @property
    def key(self) -> Key:
        """What makes it the same difference in another reading."""
        return self.tenant_id, self.field, self.ledgers


def differences(columns: Mapping[Ledger, Column], one: Ledger, other: Ledger) -> Iterator[Difference]:
    """Where these two disagree about what has been counted; nothing if they cannot be compared."""
    left, right = columns[one], columns[other]
    if not (left.comparable and right.comparable):
        return
    for tenant_id in sorted(left.rows.keys() | right.rows.keys()):
        yield from _of_tenant(tenant_id, (one, other), _row(left, tenant_id), _row(right, tenant_id))


def _row(column: Column, tenant_id: str) -> Row:
    return column.rows.get(tenant_id) or dict.fromkeys(COUNTED, column.unheard)


def _of_tenant(tenant_id: str, ledgers: tuple[Ledger, Ledger], left: Row, right: Row) -> Iterator[Difference]:
    for field in COUNTED:
        ours, theirs = left.get(field, ZERO), right.get(field, ZERO)
        if not _wider(ours).agrees(theirs):
            yield Difference(tenant_id, field, ledgers, (ours, theirs))


def _wider(figure: Figure) -> Figure:
    return Figure(figure.value, figure.low - UNDER_WAY, figure.high + UNDER_WAY)


def with_margins(rows: Rows, *, less: Rows, more: Rows) -> Rows:
    """The rows where so much may be counted too much, or be on its way; each row's most counts."""
    tenants = rows.keys() | more.keys()
    return {
        tenant: _with_margins(rows.get(tenant, {}), less.get(tenant, {}), more.get(tenant, {})) for tenant in tenants
    }


def _with_margins(row: Row, less: Row, more: Row) -> dict[Field, Figure]:
    return {
        field: Figure(
            figure.value,
            figure.low - max(0.0, less.get(field, ZERO).high),
            figure.high + max(0.0, more.get(field, ZERO).high),
        )
        for field, figure in ((field, row.get(field, ZERO)) for field in COUNTED)
    }
