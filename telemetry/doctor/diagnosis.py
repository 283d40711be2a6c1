"""One finding per signal: the test item arrived, or why it did not, in plain words."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from time import monotonic
from uuid import uuid4

from opentelemetry.sdk.metrics.export import AggregationTemporality
from opentelemetry.sdk.resources import Resource

from telemetry.doctor.advice import advice
from telemetry.doctor.probe import a_log_record, a_point, a_span
from telemetry.export.destination import Destination
from telemetry.export.outcome import Outcome
from telemetry.export.plan import ExportPlan, Temporality, read_plan
from telemetry.export.quiet import EXPORTERS
from telemetry.export.resource import read_resource
from telemetry.export.senders import logs_to, metrics_to, spans_to
from telemetry.export.signals import Signal

MOST_PATIENCE = 5.0
"""Seconds that a test item may take, if the export timeout is not shorter: somebody is watching."""


class Verdict(StrEnum):
    """What became of a signal's test item."""

    ARRIVED = "arrived"
    """The server acknowledged it."""
    REJECTED = "rejected"
    """The server acknowledged the request and rejected the item."""
    FAILED = "failed"
    """Nothing arrived."""
    OFF = "off"
    """The signal is not exported, so nothing was sent."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one signal."""

    signal: Signal
    verdict: Verdict
    sentence: str
    """For people; names the endpoint without credentials."""
    endpoint: str | None = None

    @property
    def good(self) -> bool:
        """Whether all is as the variables want it."""
        return self.verdict in (Verdict.ARRIVED, Verdict.OFF)


def diagnose(environ: Mapping[str, str], resource_attributes: Mapping[str, str] | None = None) -> list[Finding]:
    """Send one test point, span and log record as the variables say, without retries, all at once.

    Raises:
        InvalidVariableError: a variable makes no sense; the service would not start with it either.
    """
    plan = read_plan(environ)
    resource = read_resource(environ, resource_attributes or {}, uuid4())
    with ThreadPoolExecutor(len(Signal)) as pool, EXPORTERS.held():
        return list(pool.map(lambda signal: _examine(signal, plan, resource), Signal))


def _examine(signal: Signal, plan: ExportPlan, resource: Resource) -> Finding:
    route = plan.routes[signal]
    if route.destination is None:
        return Finding(signal, Verdict.OFF, _why_off(plan, signal))
    patient = replace(route.destination, timeout=min(route.destination.timeout, MOST_PATIENCE))
    begin = monotonic()
    outcome = _SEND[signal](patient, plan, resource)
    verdict, told = _judge(outcome, patient, monotonic() - begin)
    return Finding(signal, verdict, f"{signal.capitalize()} {told}", route.address)


def _send_metrics(destination: Destination, plan: ExportPlan, resource: Resource) -> Outcome:
    delta = plan.metrics.temporality is not Temporality.CUMULATIVE
    temporality = AggregationTemporality.DELTA if delta else AggregationTemporality.CUMULATIVE
    return metrics_to(destination).send_once(a_point(resource, temporality))


def _send_span(destination: Destination, _: ExportPlan, resource: Resource) -> Outcome:
    return spans_to(destination).send_once(a_span(resource))


def _send_log_record(destination: Destination, _: ExportPlan, resource: Resource) -> Outcome:
    return logs_to(destination).send_once(a_log_record(resource))


_SEND: Mapping[Signal, Callable[[Destination, ExportPlan, Resource], Outcome]] = {
    Signal.METRICS: _send_metrics,
    Signal.TRACES: _send_span,
    Signal.LOGS: _send_log_record,
}


def _judge(outcome: Outcome, destination: Destination, seconds: float) -> tuple[Verdict, str]:
    if outcome.failure:
        return Verdict.FAILED, f"did not arrive: {advice(outcome.failure, destination)}"
    if outcome.rejected:
        return Verdict.REJECTED, f"arrived and were rejected by the server: {outcome.note or 'it does not say why'}."
    remark = f" The server remarks: {outcome.note}" if outcome.note else ""
    return Verdict.ARRIVED, f"arrived: the server acknowledged the test item after {seconds * 1000:.0f} ms.{remark}"


def _why_off(plan: ExportPlan, signal: Signal) -> str:
    name = signal.capitalize()
    if plan.disabled:
        return f"{name} are not exported: OTEL_SDK_DISABLED is true."
    if plan.routes[signal].console:
        return f"{name} are printed to the console and not sent anywhere: OTEL_{signal.upper()}_EXPORTER says so."
    return (
        f"{name} are not exported. Set OTEL_EXPORTER_OTLP_ENDPOINT, or OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT "
        f"for {signal} alone, and see that OTEL_{signal.upper()}_EXPORTER is not none."
    )
