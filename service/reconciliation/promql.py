"""Queries to a Prometheus-compatible backend, with their reasons.

``increase()`` extrapolates: over a window it answers what might have been counted, in fractions of calls. Counters are
therefore read as they were sent: each series' last value in the window, less its last value before it. Every process is
a series of its own (``instance`` is its ``service.instance.id``), so that no restart sets a series back; one that began
in the window began at zero.
"""

import asyncio
import json
import math
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Protocol

import httpx2

from service.reconciliation.figures import Field, ReconcileQuery, Scope
from service.reconciliation.ledgers import State
from telemetry.semconv import attributes as attr
from telemetry.semconv import catalogue, own_health
from telemetry.semconv.attributes import MetricKey
from telemetry.semconv.documentation import prometheus_name

TIMEOUT_SECONDS: Final = 10.0
"""Seconds that one query may take, from connecting to the last byte."""
MAX_BYTES: Final = 32 * 2**20
"""The longest answer that is read: a hundred thousand series or more."""
MAX_ERROR_CHARACTERS: Final = 200
"""Characters of a backend's complaint that are passed on."""


class BackendError(Exception):
    """A backend that cannot be compared with; ``state`` says in which way, the message why."""

    def __init__(self, state: State, detail: str) -> None:
        super().__init__(detail)
        self.state = state


@dataclass(frozen=True, slots=True)
class Sample:
    """One series at one moment."""

    labels: Mapping[str, str]
    value: float


class Backend(Protocol):
    """Answers PromQL."""

    async def query(self, expression: str, at_ms: int) -> list[Sample]:
        """Return the instant vector an expression has at a moment.

        Raises:
            BackendError: if there is no answer, or none that can be used.
        """
        ...


class PrometheusBackend:
    """The HTTP API of Prometheus, which others speak too.

    ``url`` is what ``/api/v1/query`` is appended to and may hold a user and a password; ``token`` is sent as a bearer
    token.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self._url = url.rstrip("/") + "/api/v1/query"
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    async def query(self, expression: str, at_ms: int) -> list[Sample]:
        """Return the instant vector an expression has at a moment; raises :class:`BackendError`."""
        parameters = {"query": expression, "time": f"{at_ms / 1000:.3f}", "timeout": f"{TIMEOUT_SECONDS:g}s"}
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status, body = await self._get(parameters)
        except TimeoutError:
            raise BackendError(State.UNREACHABLE, f"no answer within {TIMEOUT_SECONDS:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            # Its message may repeat the URL, and with it a password.
            raise BackendError(State.UNREACHABLE, f"cannot be reached: {type(error).__name__}") from None
        return _samples(status, body)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """One for all queries: to read the trusted certificates takes 25 ms, in which the loop stands still."""
        return httpx2.create_ssl_context()

    async def _get(self, parameters: Mapping[str, str]) -> tuple[int, bytes]:
        body = bytearray()
        async with (
            httpx2.AsyncClient(verify=self._tls, timeout=TIMEOUT_SECONDS, headers=self._headers) as client,
            client.stream("GET", self._url, params=parameters) as response,
        ):
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > MAX_BYTES:
                    raise BackendError(State.TOO_LARGE, f"an answer is longer than {MAX_BYTES // 2**20} MiB")
            return response.status_code, bytes(body)


def _samples(status: int, body: bytes) -> list[Sample]:
    try:
        answer = json.loads(body)
        if answer["status"] != "success":
            raise BackendError(State.REFUSED, f"{status}: {str(answer.get('error', ''))[:MAX_ERROR_CHARACTERS]}")
        return [_sample(series) for series in answer["data"]["result"]]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise BackendError(State.REFUSED, f"{status}: not an answer of Prometheus' query API") from None


def _sample(series: Mapping[str, Any]) -> Sample:
    value = float(series["value"][1])
    if not math.isfinite(value):
        raise ValueError("a counter is a number")
    return Sample({str(name): str(text) for name, text in series["metric"].items()}, value)


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
UNANSWERED_REASON: Final = _label(attr.UNANSWERED_REASON)
STATE: Final = _label(attr.CALL_STATE)
REJECTED: Final = Counted(prometheus_name(catalogue.REJECTED), by=REASON)
UNANSWERED: Final = Counted(prometheus_name(catalogue.UNANSWERED), by=UNANSWERED_REASON)
TAKEN_OVER: Final = Counted(prometheus_name(catalogue.TAKEN_OVER), by=STATE)
ENDED: Final = Counted(prometheus_name(catalogue.ENDED), by=END)
COUNTERS: Final[Mapping[Field, Counted]] = {
    Field.RECEIVED: Counted(prometheus_name(catalogue.RECEIVED)),
    Field.ACCEPTED: Counted(prometheus_name(catalogue.ACCEPTED)),
    Field.STARTED: Counted(prometheus_name(catalogue.STARTED)),
    Field.FAILED: Counted(prometheus_name(catalogue.ENDED), f'{_ERROR}!=""'),
    Field.REFERRED: Counted(prometheus_name(catalogue.REFERRED)),
    Field.HANDED_OVER: Counted(prometheus_name(catalogue.HANDED_OVER)),
    Field.MINUTES: Counted(prometheus_name(catalogue.CALL_TIME)),
}
"""Counters with one sum a tenant."""
EXPORTS: Final = prometheus_name(own_health.EXPORT_AGE)
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
    """Yield queries for each process's last export before the window's end, in seconds since 1970; the later counts."""
    window = LOOK_BACK_MS if query.scope is Scope.PROCESS else query.end_ms - query.start_ms
    selector = _exports(query, speaker)
    yield f"max by ({INSTANCE}) (timestamp({selector}))"
    yield f"max by ({INSTANCE}) (max_over_time(timestamp({selector})[{window}ms:{STEP_MS}ms]))"


def exports_before(query: ReconcileQuery, speaker: ServiceSelector) -> Iterable[str]:
    """Yield the same queries for the last export before the window's beginning."""
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
