"""The table behind the live endpoints: one row a tenant, one for the total."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from opentelemetry.sdk.metrics.export import HistogramDataPoint, MetricsData, NumberDataPoint
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from telemetry.metrics.series import DEFAULT_SERIES, Projection, SeriesTable
from telemetry.semconv import catalogue
from telemetry.semconv.attributes import OTHER, TENANT_ID, UNKNOWN_TENANT
from telemetry.semconv.instrument import Live


@dataclass(frozen=True, slots=True)
class Example:
    """One measurement that fell into a bucket, and the trace it was made in."""

    value: float
    trace: int
    unix_nanos: int
    sampled: bool = True
    """False if head sampling left the trace out: no backend has it."""

    @property
    def trace_id(self) -> str:
        """Id of the trace, 32 hexadecimal digits."""
        return format(self.trace, "032x")


@dataclass(slots=True)
class Distribution:
    """Counts per bucket; bucket ``i`` holds values up to and including ``bounds[i]``, the last one all above."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0
    """The sum of all values."""
    examples: dict[int, Example] = field(default_factory=dict)
    """By bucket; the most recent one each."""

    def __post_init__(self) -> None:
        """Give an empty distribution a zero for each bucket."""
        if not self.counts:
            self.counts = [0] * (len(self.bounds) + 1)

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(self.counts)

    def copy(self) -> "Distribution":
        """Return the same values, independent of later ones."""
        return Distribution(self.bounds, list(self.counts), self.total, dict(self.examples))

    def fold(self, point: HistogramDataPoint) -> None:
        """Add what a delta data point counted."""
        for bucket, count in enumerate(point.bucket_counts):
            self.counts[bucket] += count
        self.total += point.sum
        for exemplar in point.exemplars:
            if exemplar.trace_id:
                bucket = bisect_left(self.bounds, exemplar.value)
                self.examples[bucket] = Example(exemplar.value, exemplar.trace_id, exemplar.time_unix_nano)

    def quantile(self, share: float) -> float | None:
        """Return the value below which ``share`` of all lie, interpolated in its bucket; ``None`` without values.

        Above the last bound nothing is known but that bound, as in PromQL's ``histogram_quantile``.
        """
        return quantile(share, self.bounds, self.counts)


class UnsampledExamples:
    """The latest measurement of each bucket made in a trace that head sampling left out, which no exemplar tells of.

    They lead to calls in memory or on record, as exemplars do; exported are only exemplars, which lead to a backend's
    traces. One label of a tenant has one entry a histogram, so that the bound on labels is theirs too.
    """

    __slots__ = ("_by_label",)

    def __init__(self) -> None:
        self._by_label: dict[tuple[str, str], dict[int, Example]] = {}

    def note(self, instrument: str, tenant: str, example: Example) -> None:
        """Keep a measurement of a summarised histogram; any thread may."""
        bucket = bisect_left(_BOUNDS[instrument], example.value)
        self._by_label.setdefault((tenant, instrument), {})[bucket] = example

    def add_to(self, distributions: Mapping[str, Distribution], tenant: str) -> None:
        """Put those of a tenant into its distributions where they are newer than what is there, or alone."""
        for name, distribution in distributions.items():
            for bucket, example in list(self._by_label.get((tenant, name), {}).items()):
                there = distribution.examples.get(bucket)
                if there is None or there.unix_nanos < example.unix_nanos:
                    distribution.examples[bucket] = example


def quantile(share: float, bounds: Sequence[float], counts: Sequence[int]) -> float | None:
    """Return what :meth:`Distribution.quantile` does, for bounds and counts apart."""
    total = sum(counts)
    if not total:
        return None
    rank, below = share * total, [*accumulate(counts)]
    bucket = bisect_left(below, rank) if rank else bisect_right(below, 0)
    if bucket >= len(bounds):
        return bounds[-1]
    lower, before = (bounds[bucket - 1], below[bucket - 1]) if bucket else (0.0, 0)
    return lower + (bounds[bucket] - lower) * (rank - before) / counts[bucket]


_GAUGES: Final = frozenset({"active_calls", "pending_calls"})
COUNTERS: Final = tuple(
    live.field for instrument in catalogue.INSTRUMENTS for live in instrument.live if live.field not in _GAUGES
)
"""Fields of the live view that only grow."""
BOUNDS: Final[Mapping[str, tuple[float, ...]]] = {i.name: i.boundaries for i in catalogue.INSTRUMENTS if i.summarised}
"""The distributions of the live view, with their bounds."""
TIME: Final = "minutes_processed"
MS_PER_SECOND: Final = 1000
"""Call time is kept in whole milliseconds: differences of it then add up exactly."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Numbers of a row: these counters, then the buckets of these distributions."""

    counters: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()
    peaks: bool = False
    """True if the peaks of slots held at once are wanted too."""
    limits: bool = False
    """True if the calls allowed at once are wanted too."""
    totals: bool = False
    """True if, behind everything else, the sum of each distribution's values is wanted too."""

    def columns(self) -> tuple[int, ...]:
        """Return their indices in a whole row."""
        return (*(_COLUMN[name] for name in self.counters), *_buckets(self.distributions))

    def in_whole_numbers(self, row: Sequence[float]) -> list[int]:
        """Return a row of them as recorded, with call time and totals in milliseconds."""
        numbers = list(map(int, row))
        if TIME in self.counters:
            slot = self.counters.index(TIME)
            numbers[slot] = round(row[slot] * MS_PER_SECOND)
        if self.totals:
            numbers[-len(self.distributions) :] = [
                round(total * MS_PER_SECOND) for total in row[-len(self.distributions) :]
            ]
        return numbers


NO_NUMBERS: Final = Selection()
EVERYTHING: Final = Selection(COUNTERS, tuple(BOUNDS), peaks=True, limits=True)
"""A whole row."""


def _first_buckets() -> dict[str, int]:
    first, slot = {}, len(COUNTERS)
    for name, bounds in BOUNDS.items():
        first[name] = slot
        slot += len(bounds) + 1
    return first


_COLUMN: Final = {name: slot for slot, name in enumerate(COUNTERS)}
_FIRST_BUCKET: Final = _first_buckets()


def _buckets(distributions: Iterable[str]) -> Iterable[int]:
    for name in distributions:
        first = _FIRST_BUCKET[name]
        yield from range(first, first + len(BOUNDS[name]) + 1)


ROW_WIDTH: Final = len(COUNTERS) + sum(len(bounds) + 1 for bounds in BOUNDS.values())
"""Numbers in a whole row."""
Numbers = dict[str, int | float]
"""Fields of the live view by name."""
_LIVE: dict[str, Live] = {live.field: live for instrument in catalogue.INSTRUMENTS for live in instrument.live}
_INDEX: dict[str, int] = {name: index for index, name in enumerate(_LIVE)}
_FIELDS_OF: dict[str, tuple[Live, ...]] = {i.name: i.live for i in catalogue.INSTRUMENTS if i.live}
_BOUNDS: dict[str, tuple[float, ...]] = {i.name: i.boundaries for i in catalogue.INSTRUMENTS if i.summarised}
_NO_COUNTS = {name: (0,) * (len(bounds) + 1) for name, bounds in _BOUNDS.items()}


class _Row:
    """A tenant's sums, in the order of ``_INDEX``, and its distributions once there are any."""

    __slots__ = ("changed", "distributions", "position", "sums", "tenant")

    def __init__(self, position: int, tenant: str | None) -> None:
        self.position = position
        self.tenant = tenant
        self.changed = False
        """True if something was added since somebody last took what changed."""
        self.sums: list[int | float] = [0] * len(_INDEX)
        self.distributions: dict[str, Distribution] = {}

    def distribution(self, instrument: str) -> Distribution:
        found = self.distributions.get(instrument)
        if found is None:
            found = self.distributions[instrument] = Distribution(_BOUNDS[instrument])
        return found

    def selected(self, indices: Sequence[int], selection: Selection) -> list[float]:
        numbers: list[float] = [self.sums[index] for index in indices]
        for name in selection.distributions:
            found = self.distributions.get(name)
            numbers += found.counts if found is not None else _NO_COUNTS[name]
        if selection.totals:
            known = map(self.distributions.get, selection.distributions)
            numbers += [0.0 if distribution is None else distribution.total for distribution in known]
        return numbers

    def numbers(self) -> Numbers:
        return {
            name: self.sums[index] / live.scale if live.scale != 1 else self.sums[index] for name, live, index in _READ
        }


_READ = tuple((name, live, _INDEX[name]) for name, live in _LIVE.items())


class _Cells:
    """The cells that a counter's series adds to: its fields, in its tenant's row and in the total."""

    __slots__ = ("_indices", "_row", "_sums", "_total")

    def __init__(self, indices: Sequence[int], row: _Row, total: _Row) -> None:
        self._indices, self._row, self._sums, self._total = indices, row, row.sums, total.sums

    def add(self, point: NumberDataPoint) -> None:
        """Add what was counted."""
        value = point.value
        for index in self._indices:
            self._sums[index] += value
            self._total[index] += value
        self._row.changed = True


class _Distributions:
    """The distributions that a histogram's series adds to: its tenant's, and that of all."""

    __slots__ = ("_distribution", "_row", "_total")

    def __init__(self, instrument: str, row: _Row, total: _Row) -> None:
        self._row = row
        self._distribution, self._total = row.distribution(instrument), total.distribution(instrument)

    def add(self, point: HistogramDataPoint) -> None:
        """Add what was measured."""
        self._distribution.fold(point)
        self._total.fold(point)
        self._row.changed = True


class _Counted:
    """Cells of the row that several share, which tells how often that happens."""

    __slots__ = ("_cells", "_count")

    def __init__(self, cells: Projection, count: Callable[[], None]) -> None:
        self._cells, self._count = cells, count

    def add(self, point: object) -> None:
        """Add, and count the data point."""
        self._count()
        self._cells.add(point)


@dataclass(frozen=True, slots=True)
class StoreSize:
    """Sizes of the table."""

    tenants: int
    folded_into_other: int
    """Data points of tenants past the bound, which count under ``_other``."""
    overflowed: int
    """Data points of series past their limit, which count under ``_other`` too."""


class LiveMetricsStore:
    """Counts since the process started, per tenant and in total: a view of the table of series. Safe for threads.

    Holds at most ``max_tenants`` tenants; what belongs to later ones counts under ``_other``: totals stay exact.
    """

    def __init__(self, max_tenants: int = 20_000, *, series: int = DEFAULT_SERIES) -> None:
        if max_tenants < 1:
            raise ValueError(f"max_tenants must be at least 1, not {max_tenants}")
        self._max_tenants = max_tenants
        self.series = SeriesTable(series, self._project)
        """Every series, of this view and of everybody else; at most ``series`` of one instrument apart."""
        self.unsampled = UnsampledExamples()
        """Examples of calls whose trace was not sampled."""
        self._lock = self.series.lock
        self._total = _Row(0, None)
        self._rows: dict[str, _Row] = {}
        self._in_order = [self._total]
        self._chosen: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._folded_into_other = 0
        self._overflowed = 0

    def live(self, tenant_id: str | None = None) -> Numbers | None:
        """Return the twelve fields, of all tenants together or of one; ``None`` for a tenant never seen.

        Counts are integers, ``minutes_processed`` a float.
        """
        numbers = self.numbers(tenant_id)
        return None if numbers is None else {name: numbers[name] for name in catalogue.LIVE_FIELDS}

    def numbers(self, tenant_id: str | None = None) -> Numbers | None:
        """Return every field of the live view, the twelve and those that only debugging and reconciliation show."""
        with self._lock:
            row = self._total if tenant_id is None else self._rows.get(tenant_id)
            return None if row is None else row.numbers()

    def distributions(self, tenant_id: str | None = None) -> dict[str, Distribution] | None:
        """Return copies of the distributions by instrument name; ``None`` for a tenant never seen."""
        with self._lock:
            row = self._total if tenant_id is None else self._rows.get(tenant_id)
            found = None if row is None else {name: d.copy() for name, d in row.distributions.items()}
        if found is not None and tenant_id is not None:
            self.unsampled.add_to(found, tenant_id)
        return found

    def tenants(self) -> list[str]:
        """Return every tenant seen, in order, `_unknown` and `_other` among them if they have counted anything."""
        with self._lock:
            return list(self._rows)

    def position(self, tenant_id: str | None = None) -> int | None:
        """Return the position of a tenant's row among :meth:`rows`; 0 is that of all; ``None`` for one never seen."""
        with self._lock:
            row = self._total if tenant_id is None else self._rows.get(tenant_id)
            return None if row is None else row.position

    def rows(self, selection: Selection, first: int, count: int) -> list[list[float]]:
        """Return a part of so many rows from a position on, all of one moment; amounts as recorded."""
        indices = [_INDEX[name] for name in selection.counters]
        with self._lock:
            return [row.selected(indices, selection) for row in self._in_order[first : first + count]]

    def row(self, selection: Selection, tenant_id: str | None = None) -> list[float] | None:
        """Return one row, amounts as recorded; ``None`` for a tenant never seen."""
        indices = [_INDEX[name] for name in selection.counters]
        with self._lock:
            row = self._total if tenant_id is None else self._rows.get(tenant_id)
            return None if row is None else row.selected(indices, selection)

    def take_changed(self) -> list[str]:
        """Return the tenants of which something was counted since the last time; for one taker."""
        with self._lock:
            changed = [row for row in self._in_order[1:] if row.changed]
            for row in changed:
                row.changed = False
        return [str(row.tenant) for row in changed]

    def by_tenant(self) -> dict[str, Numbers]:
        """Return every tenant's numbers, of one moment."""
        with self._lock:
            return {tenant_id: row.numbers() for tenant_id, row in self._rows.items()}

    def size(self) -> StoreSize:
        """Return how full the table is, and what did not fit."""
        with self._lock:
            return StoreSize(len(self._rows), self._folded_into_other, self._overflowed)

    def fold(self, data: MetricsData) -> None:
        """Take in a collection, in which counters, up-down counters and histograms are deltas."""
        self.series.fold(data)

    def _project(
        self, scope: InstrumentationScope, instrument: str, attributes: Mapping[str, object]
    ) -> Projection | None:
        """Return the cells of a series; ``None`` for one that the live view does not show."""
        if scope.name != catalogue.METER_NAME:
            return None
        fields, summarised = _FIELDS_OF.get(instrument, ()), instrument in _BOUNDS
        if not fields and not summarised:
            return None
        tenant = attributes.get(TENANT_ID)
        label = OTHER if tenant is None else str(tenant)
        row = self._row(label)
        if summarised:
            cells: Projection = _Distributions(instrument, row, self._total)
        else:
            chosen = tuple(_INDEX[live.field] for live in fields if live.key is None or _carries(attributes, live))
            # One object for the same fields of every tenant.
            cells = _Cells(self._chosen.setdefault(chosen, chosen), row, self._total)
        if tenant is None:
            return _Counted(cells, self._note_overflow)
        return cells if self._rows.get(label) is row else _Counted(cells, self._note_other)

    def _note_overflow(self) -> None:
        self._overflowed += 1

    def _note_other(self) -> None:
        self._folded_into_other += 1

    def _row(self, tenant: str) -> _Row:
        row = self._rows.get(tenant)
        return row if row is not None else self._new_row(tenant)

    def _new_row(self, tenant: str) -> _Row:
        reserved = tenant in (OTHER, UNKNOWN_TENANT)
        if not reserved and len(self._rows) >= self._max_tenants:
            tenant = OTHER
        row = self._rows.get(tenant)
        if row is None:
            row = self._rows[tenant] = _Row(len(self._in_order), tenant)
            self._in_order.append(row)
        return row


def _carries(attributes: Mapping[str, object], live: Live) -> bool:
    value = attributes.get(live.key or "")
    return value is not None and (live.value is None or value == live.value)
