"""Cardinality as a budget: which values may become metric labels."""

from threading import Lock

from telemetry.attributes import OTHER, UNKNOWN_TENANT, Label, TenantId


class TenantLabels:
    """Admits the first ``max_tenants`` tenants as labels; later ones count together under ``_other``.

    A tenant's label never changes while the process runs, so what goes up under a label comes down under it.
    """

    __slots__ = ("_admitted", "_lock", "_max_tenants", "_refused")

    def __init__(self, max_tenants: int) -> None:
        if max_tenants < 1:
            raise ValueError(f"max_tenants must be at least 1, not {max_tenants}")
        self._max_tenants = max_tenants
        self._admitted: dict[str, Label] = {UNKNOWN_TENANT: Label(UNKNOWN_TENANT), OTHER: OTHER}
        self._refused = 0
        self._lock = Lock()

    @property
    def max_tenants(self) -> int:
        """The budget."""
        return self._max_tenants

    @property
    def refused(self) -> int:
        """Lookups that ended at ``_other`` because the budget was spent."""
        return self._refused

    def label(self, tenant_id: TenantId) -> Label:
        """The tenant's label, or ``_other`` once the budget is spent."""
        label = self._admitted.get(tenant_id)
        return label if label is not None else self._admit(tenant_id)

    def _admit(self, tenant_id: TenantId) -> Label:
        with self._lock:
            if len(self._admitted) - 2 >= self._max_tenants and tenant_id not in self._admitted:
                self._refused += 1
                return OTHER
            return self._admitted.setdefault(tenant_id, Label(tenant_id))
