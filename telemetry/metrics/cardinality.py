"""Cardinality as a budget: which values may become metric labels."""

from threading import Lock

from telemetry.semconv.attributes import (
    DIRECT_SOURCE,
    OTHER,
    TENANT_ID,
    UNKNOWN_TENANT,
    Label,
    MetricAttributes,
    TenantId,
)
from telemetry.semconv.catalogue import MAX_ERROR_TYPES, MAX_MODELS, MAX_SOURCES


class _Budget:
    """Admits the first ``most`` values as labels, besides those reserved; later ones count under ``_other``.

    A value's label never changes while the process runs, so what goes up under a label comes down under it.
    """

    __slots__ = ("_admitted", "_lock", "_most", "_refused")

    def __init__(self, most: int, reserved: tuple[str, ...]) -> None:
        self._admitted = {value: Label(value) for value in reserved}
        self._most = most + len(reserved)
        self._refused = 0
        self._lock = Lock()

    @property
    def refused(self) -> int:
        """Lookups that ended at ``_other`` because the budget was spent."""
        return self._refused

    def _label(self, value: str) -> Label:
        label = self._admitted.get(value)
        return label if label is not None else self._admit(value)

    def _admit(self, value: str) -> Label:
        with self._lock:
            if len(self._admitted) >= self._most and value not in self._admitted:
                self._refused += 1
                return OTHER
            return self._admitted.setdefault(value, Label(value))


class TenantLabels(_Budget):
    """Admits the first ``max_tenants`` tenants as labels; later ones count together under ``_other``."""

    __slots__ = ("_attributes", "_max_tenants")

    def __init__(self, max_tenants: int) -> None:
        if max_tenants < 1:
            raise ValueError(f"max_tenants must be at least 1, not {max_tenants}")
        super().__init__(max_tenants, (UNKNOWN_TENANT, OTHER))
        self._max_tenants = max_tenants
        self._attributes: dict[str, MetricAttributes] = {}

    @property
    def max_tenants(self) -> int:
        """Tenants that count apart."""
        return self._max_tenants

    def label(self, tenant_id: TenantId) -> Label:
        """Return the tenant's label, or ``_other`` once the budget is spent."""
        return self._label(tenant_id)

    def attributes(self, tenant_id: TenantId) -> MetricAttributes:
        """Return the attributes of the tenant's measurements, made once for each label."""
        known = self._attributes.get(tenant_id)
        if known is not None:
            return known
        label = self._label(tenant_id)
        return self._attributes.setdefault(label, {TENANT_ID: label})


class ErrorLabels(_Budget):
    """Admits the first :data:`MAX_ERROR_TYPES` kinds of failure as labels; a text by mistake cannot make a series."""

    __slots__ = ()

    def __init__(self, most: int = MAX_ERROR_TYPES) -> None:
        super().__init__(most, (OTHER,))

    def label(self, error_type: str) -> Label:
        """Return the kind's label, or ``_other`` once the budget is spent."""
        return self._label(error_type)


class ModelLabels(_Budget):
    """Admits the first :data:`MAX_MODELS` models as labels."""

    __slots__ = ()

    def __init__(self, most: int = MAX_MODELS) -> None:
        super().__init__(most, (OTHER,))

    def label(self, model: str) -> Label:
        """Return the model's label, or ``_other`` once the budget is spent."""
        return self._label(model)


class SourceLabels(_Budget):
    """Admits the first :data:`MAX_SOURCES` sources as labels, besides ``direct``."""

    __slots__ = ()

    def __init__(self, most: int = MAX_SOURCES) -> None:
        super().__init__(most, (DIRECT_SOURCE, OTHER))

    def label(self, source: str) -> Label:
        """Return the source's label, or ``_other`` once the budget is spent."""
        return self._label(source)
