"""Queries to a Prometheus-compatible backend, with their reasons.

``increase()`` extrapolates: over a window it answers what might have been counted, in fractions of calls. Counters are
therefore read as they were sent: each series' last value in the window, less its last value before it. Every process is
a series of its own (``instance`` is its ``service.instance.id``), so that no restart sets a series back; one that began
in the window began at zero.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from service.reconciliation.figures import Field
from service.reconciliation.query import ReconcileQuery, Scope
from telemetry.semconv import attributes as attr
from telemetry.semconv import catalogue
from telemetry.semconv.attributes import MetricKey
from telemetry.semconv.documentation import prometheus_name

LOOK_BACK_MS: Final = 3_600_000
"""Look-back for a series' last sample before a moment: an hour without exports is too long to compare."""
STEP_MS: Final = 60_000
"""Step of a subquery: less than the five minutes for which Prometheus shows a sample."""
TENANT: Final = "tenant_id"
INSTANCE: Final = "instance"


@dataclass(frozen=True, slots=True)
class Counted:
    """A counter, the series of it that matter, and what its sums are told apart by besides the tenant."""

    metric: str
    only: str = ""
    """A matcher of its own."""
    by: str | None = None


def _label(key: MetricKey) -> str:
    return key.replace(".", "_")


REASON: Final = _label(attr.REJECTION_REASON)
END: Final = _label(attr.END_REASON)
_ERROR: Final = _label(attr.ERROR_TYPE)
DECIDED: Final = Counted(f"{prometheus_name(catalogue.SETUP_DURATION)}_count")
REJECTED: Final = Counted(prometheus_name(catalogue.REJECTED), by=REASON)
ENDED: Final = Counted(prometheus_name(catalogue.ENDED), by=END)
COUNTERS: Final[Mapping[Field, Counted]] = {
    Field.RECEIVED: Counted(prometheus_name(catalogue.RECEIVED)),
    Field.ACCEPTED: Counted(prometheus_name(catalogue.ACCEPTED)),
    Field.STARTED: Counted(prometheus_name(catalogue.STARTED)),
    Field.FAILED: Counted(prometheus_name(catalogue.ENDED), f'{_ERROR}!=""'),
    Field.REFERRED: Counted(prometheus_name(catalogue.REFERRED)),
    Field.MINUTES: Counted(prometheus_name(catalogue.CALL_TIME)),
}
"""Counters with one sum a tenant."""
EXPORTS: Final = prometheus_name(catalogue.EXPORT_AGE)
"""A series every process sends with each of its exports."""


@dataclass(frozen=True, slots=True)
class ServiceSelector:
    """The service whose series are meant, as its resource names it."""

    job: str
    """``service.name``, or ``service.namespace/service.name``."""
    instance: str
    """The ``service.instance.id`` of the process that asks."""


def gained(counted: Counted, query: ReconcileQuery, speaker: ServiceSelector) -> str:
    """Return the query for the growth of a counter per tenant: over the window, or since the process started."""
    selector = _selector(counted.metric, _matchers(query, speaker), counted.only)
    grouping = ", ".join(filter(None, (TENANT, counted.by)))
    if query.scope is Scope.PROCESS:
        return f"sum by ({grouping}) (last_over_time({selector}[{LOOK_BACK_MS}ms]))"
    window = query.end_ms - query.start_ms
    last = f"last_over_time({selector}[{window}ms])"
    before = f"last_over_time({selector}[{LOOK_BACK_MS}ms] offset {window}ms)"
    now, then = f"sum by ({grouping}) ({last})", f"sum by ({grouping}) ({before} and {last})"
    return f"{now} - ({then} or {now} * 0)"


def last_exports(query: ReconcileQuery, speaker: ServiceSelector) -> Iterable[str]:
    """When each process's last export before the end of the window was, in seconds since 1970; the later of several."""
    window = LOOK_BACK_MS if query.scope is Scope.PROCESS else query.end_ms - query.start_ms
    selector = _exports(query, speaker)
    yield f"max by ({INSTANCE}) (timestamp({selector}))"
    yield f"max by ({INSTANCE}) (max_over_time(timestamp({selector})[{window}ms:{STEP_MS}ms]))"


def exports_before(query: ReconcileQuery, speaker: ServiceSelector) -> Iterable[str]:
    """The same before its beginning."""
    offset = f"offset {query.end_ms - query.start_ms}ms"
    selector = _exports(query, speaker)
    yield f"max by ({INSTANCE}) (timestamp({selector} {offset}))"
    yield f"max by ({INSTANCE}) (max_over_time(timestamp({selector})[{LOOK_BACK_MS}ms:{STEP_MS}ms] {offset}))"


def set_back(query: ReconcileQuery, speaker: ServiceSelector) -> str:
    """Return the query for processes whose counters went down: several that name themselves alike."""
    selector = _selector(COUNTERS[Field.RECEIVED].metric, _matchers(query, speaker))
    return f"sum by ({INSTANCE}) (resets({selector}[{query.end_ms - query.start_ms}ms])) > 0"


def _exports(query: ReconcileQuery, speaker: ServiceSelector) -> str:
    return _selector(EXPORTS, _said_by(query, speaker) | {_label(attr.SIGNAL): "metrics"})


def _matchers(query: ReconcileQuery, speaker: ServiceSelector) -> dict[str, str]:
    return _said_by(query, speaker) | ({} if query.tenant_id is None else {TENANT: query.tenant_id})


def _said_by(query: ReconcileQuery, speaker: ServiceSelector) -> dict[str, str]:
    return {"job": speaker.job} | ({INSTANCE: speaker.instance} if query.scope is Scope.PROCESS else {})


def _selector(metric: str, equal: Mapping[str, str], only: str = "") -> str:
    # PromQL quotes and escapes as JSON does.
    matchers = [f"{name}={json.dumps(text, ensure_ascii=False)}" for name, text in equal.items()]
    return f"{metric}{{{','.join([*matchers, *filter(None, [only])])}}}"
