"""What is asked of a Prometheus-compatible backend, and why so.

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
from service.reconciliation.window import Asked, Scope
from telemetry import attributes as attr
from telemetry import catalog
from telemetry.attributes import MetricKey
from telemetry.catalog_docs import prometheus_name

LOOK_BACK_MS: Final = 3_600_000
"""How far before a moment a series' last sample is looked for: an hour without exports is too long to compare."""

STEP_MS: Final = 60_000
"""How far apart a subquery looks: less than the five minutes for which Prometheus shows a sample."""

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
DECIDED: Final = Counted(f"{prometheus_name(catalog.SETUP_DURATION)}_count")
REJECTED: Final = Counted(prometheus_name(catalog.REJECTED), by=REASON)
ENDED: Final = Counted(prometheus_name(catalog.ENDED), by=END)
COUNTERS: Final[Mapping[Field, Counted]] = {
    Field.RECEIVED: Counted(prometheus_name(catalog.RECEIVED)),
    Field.ACCEPTED: Counted(prometheus_name(catalog.ACCEPTED)),
    Field.STARTED: Counted(prometheus_name(catalog.STARTED)),
    Field.FAILED: Counted(prometheus_name(catalog.ENDED), f'{_ERROR}!=""'),
    Field.REFERRED: Counted(prometheus_name(catalog.REFERRED)),
    Field.MINUTES: Counted(prometheus_name(catalog.CALL_TIME)),
}
"""Counters with one sum a tenant."""

EXPORTS: Final = prometheus_name(catalog.EXPORT_AGE)
"""A series every process sends with each of its exports."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Whose series are meant: the service's, as its resource says."""

    job: str
    """``service.name``, or ``service.namespace/service.name``."""
    instance: str
    """The ``service.instance.id`` of the process that asks."""


def gained(counted: Counted, asked: Asked, speaker: Speaker) -> str:
    """How much the counter grew, per tenant: over the window, or since the process started."""
    selector = _selector(counted.metric, _matchers(asked, speaker), counted.only)
    grouping = ", ".join(filter(None, (TENANT, counted.by)))
    if asked.scope is Scope.PROCESS:
        return f"sum by ({grouping}) (last_over_time({selector}[{LOOK_BACK_MS}ms]))"
    window = asked.end_ms - asked.start_ms
    last = f"last_over_time({selector}[{window}ms])"
    before = f"last_over_time({selector}[{LOOK_BACK_MS}ms] offset {window}ms)"
    now, then = f"sum by ({grouping}) ({last})", f"sum by ({grouping}) ({before} and {last})"
    return f"{now} - ({then} or {now} * 0)"


def last_exports(asked: Asked, speaker: Speaker) -> Iterable[str]:
    """When each process's last export before the end of the window was, in seconds since 1970; the later of several."""
    window = LOOK_BACK_MS if asked.scope is Scope.PROCESS else asked.end_ms - asked.start_ms
    selector = _exports(asked, speaker)
    yield f"max by ({INSTANCE}) (timestamp({selector}))"
    yield f"max by ({INSTANCE}) (max_over_time(timestamp({selector})[{window}ms:{STEP_MS}ms]))"


def exports_before(asked: Asked, speaker: Speaker) -> Iterable[str]:
    """The same before its beginning."""
    offset = f"offset {asked.end_ms - asked.start_ms}ms"
    selector = _exports(asked, speaker)
    yield f"max by ({INSTANCE}) (timestamp({selector} {offset}))"
    yield f"max by ({INSTANCE}) (max_over_time(timestamp({selector})[{LOOK_BACK_MS}ms:{STEP_MS}ms] {offset}))"


def set_back(asked: Asked, speaker: Speaker) -> str:
    """Which processes' counters went down: several processes that say they are one."""
    selector = _selector(COUNTERS[Field.RECEIVED].metric, _matchers(asked, speaker))
    return f"sum by ({INSTANCE}) (resets({selector}[{asked.end_ms - asked.start_ms}ms])) > 0"


def _exports(asked: Asked, speaker: Speaker) -> str:
    return _selector(EXPORTS, _said_by(asked, speaker) | {_label(attr.SIGNAL): "metrics"})


def _matchers(asked: Asked, speaker: Speaker) -> dict[str, str]:
    return _said_by(asked, speaker) | ({} if asked.tenant_id is None else {TENANT: asked.tenant_id})


def _said_by(asked: Asked, speaker: Speaker) -> dict[str, str]:
    return {"job": speaker.job} | ({INSTANCE: speaker.instance} if asked.scope is Scope.PROCESS else {})


def _selector(metric: str, equal: Mapping[str, str], only: str = "") -> str:
    # PromQL quotes and escapes as JSON does.
    matchers = [f"{name}={json.dumps(text, ensure_ascii=False)}" for name, text in equal.items()]
    return f"{metric}{{{','.join([*matchers, *filter(None, [only])])}}}"
