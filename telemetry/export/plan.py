"""The ``OTEL_*`` variables as one frozen plan, read and checked once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import entry_points
from urllib.parse import unquote
from uuid import UUID

from opentelemetry.sdk._logs import LogRecordLimits
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    ExemplarFilter,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics.view import (
    Aggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
)
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanLimits, sampling
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)

from telemetry.export.destination import OtlpDestination, is_named, read_destination
from telemetry.export.environment import Environment, InvalidVariableError, Variable
from telemetry.export.signals import Protocol, Signal

_COUNT = 128
"""Most attributes, events and links of one span or record, unless set otherwise."""


def read_span_limits(environment: Environment) -> SpanLimits:
    """Return the limits on spans, their events and their links."""
    return SpanLimits(
        max_attributes=_count(environment, "OTEL_ATTRIBUTE_COUNT_LIMIT"),
        max_span_attributes=_count(environment, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"),
        max_event_attributes=_count(environment, "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"),
        max_link_attributes=_count(environment, "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"),
        max_events=_count(environment, "OTEL_SPAN_EVENT_COUNT_LIMIT"),
        max_links=_count(environment, "OTEL_SPAN_LINK_COUNT_LIMIT"),
        max_attribute_length=_length(environment, "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
        max_span_attribute_length=_length(
            environment, "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"
        ),
    )


def read_log_limits(environment: Environment) -> LogRecordLimits:
    """Return the limits on log records."""
    return LogRecordLimits(
        max_attributes=_count(environment, "OTEL_ATTRIBUTE_COUNT_LIMIT"),
        max_attribute_length=_length(environment, "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
        max_log_record_attributes=_count(
            environment, "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"
        ),
        max_log_record_attribute_length=_length(
            environment, "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"
        ),
    )


def _count(environment: Environment, *names: str) -> int:
    return environment.read(_zero_or_more, _COUNT, *names)


def _length(environment: Environment, *names: str) -> int:
    """Return a value's longest length in characters; without a limit, the SDK's constant for none."""
    return environment.read(_zero_or_more, SpanLimits.UNSET, *names)


def _zero_or_more(variable: Variable) -> int:
    return variable.whole(at_least=0)


_PLAIN: Mapping[str, Sampler] = {
    "always_on": ALWAYS_ON,
    "always_off": ALWAYS_OFF,
    "parentbased_always_on": DEFAULT_ON,
    "parentbased_always_off": DEFAULT_OFF,
}
_BY_SHARE: Mapping[str, type[TraceIdRatioBased | ParentBasedTraceIdRatio]] = {
    "traceidratio": TraceIdRatioBased,
    "parentbased_traceidratio": ParentBasedTraceIdRatio,
}


def read_sampler(environment: Environment) -> Sampler:
    """Return the sampler named: one of the specification's, or of a package's under the standard entry point."""

    def sampler(name: Variable) -> Sampler:
        known = name.text.lower()
        if known in _PLAIN:
            return _PLAIN[known]
        if known in _BY_SHARE:
            return _BY_SHARE[known](environment.read(_share, 1.0, "OTEL_TRACES_SAMPLER_ARG"))
        return _installed(name, environment.find("OTEL_TRACES_SAMPLER_ARG"))

    return environment.read(sampler, DEFAULT_ON, "OTEL_TRACES_SAMPLER")


def _share(argument: Variable) -> float:
    """Return the share of traces to keep, 0 to 1."""
    value = argument.number(above=-math.ulp(0.0))
    if value > 1:
        raise argument.wrong(f"{argument.text} is not a share between 0 and 1")
    return value


def _installed(name: Variable, argument: Variable | None) -> Sampler:
    for entry in entry_points(group="opentelemetry_traces_sampler", name=name.text):
        sampler = entry.load()(argument.text if argument else None)
        if isinstance(sampler, Sampler):
            return sampler
    raise name.wrong(f"no sampler is called {name.text!r}")


class Temporality(StrEnum):
    """Meaning of a point: the total so far, or what is new."""

    CUMULATIVE = "cumulative"
    DELTA = "delta"
    """New since the last export: counters and histograms; what goes up and down stays cumulative."""
    LOWMEMORY = "lowmemory"
    """As delta, but observable counters stay cumulative."""


@dataclass(frozen=True, slots=True)
class ScrapeAddress:
    """Address of the endpoint, as the variables say."""

    host: str
    port: int
    token: str | None = field(default=None, repr=False)
    """The bearer token that a scrape has to bring; ``None``: none."""


@dataclass(frozen=True, slots=True)
class Route:
    """One signal's way out: over OTLP, to the console, both or none; and for metrics, an endpoint to scrape."""

    signal: Signal
    destination: OtlpDestination | None = None
    console: bool = False
    scraped: ScrapeAddress | None = None
    """Address at which Prometheus may come and read; ``None``: it may not."""

    @property
    def pushed(self) -> bool:
        """True if anything is sent or printed."""
        return self.console or self.destination is not None

    @property
    def enabled(self) -> bool:
        """True if anything is exported, in whatever way."""
        return self.pushed or self.scraped is not None

    @property
    def protocol(self) -> Protocol | None:
        """The protocol whose health is reported."""
        if self.destination:
            return self.destination.protocol
        if self.console:
            return Protocol.CONSOLE
        return Protocol.PROMETHEUS if self.scraped else None

    @property
    def address(self) -> str | None:
        """The endpoint without credentials; ``None`` where nothing is sent."""
        return self.destination.address if self.destination else None


@dataclass(frozen=True, slots=True)
class Batching:
    """Sizes and delay of the batches of spans or log records."""

    capacity: int
    """Most items waiting; further ones are dropped and counted."""
    batch: int
    """Most items in one request."""
    delay: float
    """Seconds between two exports of a batch that is not full."""


@dataclass(frozen=True, slots=True)
class MetricsPlan:
    """Collection and export of metrics."""

    interval: float
    """Seconds between two collections."""
    timeout: float
    """Seconds that the observable instruments' callbacks may take together."""
    temporality: Temporality
    histograms: Aggregation
    """Aggregation of a histogram that no view says otherwise of."""
    exemplars: ExemplarFilter


@dataclass(frozen=True, slots=True)
class TracesPlan:
    """Sampling, limits and batches of spans."""

    sampler: sampling.Sampler
    limits: SpanLimits
    batching: Batching


@dataclass(frozen=True, slots=True)
class LogsPlan:
    """Limits and batches of log records."""

    limits: LogRecordLimits
    batching: Batching


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """Everything that the variables say about exporting."""

    disabled: bool
    """``OTEL_SDK_DISABLED``: nothing leaves the process and no span is made."""
    routes: Mapping[Signal, Route]
    metrics: MetricsPlan
    traces: TracesPlan
    logs: LogsPlan


def read_plan(variables: Mapping[str, str]) -> ExportPlan:
    """Interpret the standard variables; :class:`InvalidVariableError` names the one that cannot work."""
    environment = Environment(variables)
    disabled = environment.read(Variable.flag, False, "OTEL_SDK_DISABLED")
    return ExportPlan(
        disabled=disabled,
        routes={signal: Route(signal) if disabled else read_route(environment, signal) for signal in Signal},
        metrics=_metrics(environment),
        traces=TracesPlan(
            sampler=read_sampler(environment),
            limits=read_span_limits(environment),
            batching=_batching(environment, "BSP", delay=5000),
        ),
        logs=LogsPlan(limits=read_log_limits(environment), batching=_batching(environment, "BLRP", delay=1000)),
    )


def read_route(environment: Environment, signal: Signal) -> Route:
    """Return the route that ``OTEL_<SIGNAL>_EXPORTER`` and the endpoints ask for.

    The specification's default is ``otlp`` to this machine. Here that default holds only once an endpoint is
    configured or ``otlp`` is asked for by name, so that a process nobody configured does not knock on a closed port.
    """
    exporters = _exporters(environment, signal)
    if not exporters:
        return Route(signal, read_destination(environment, signal) if is_named(environment, signal) else None)
    destination = read_destination(environment, signal) if "otlp" in exporters else None
    scraped = read_scrape_address(environment) if "prometheus" in exporters else None
    return Route(signal, destination, console="console" in exporters, scraped=scraped)


def _exporters(environment: Environment, signal: Signal) -> set[str]:
    """Return the exporters named; unknown ones, and ``none`` beside others, are warned of and left out."""
    known = ("otlp", "console", "none", *(("prometheus",) if signal is Signal.METRICS else ()))
    variable = environment.find(f"OTEL_{signal.upper()}_EXPORTER")
    named: set[str] = set()
    for part in variable.parts() if variable else ():
        try:
            named.add(part.choice(known))
        except InvalidVariableError as error:
            environment.ignore(error)
    if variable and "none" in named and len(named) > 1:
        environment.ignore(variable.wrong("'none' cannot be combined with an exporter"))
        named.remove("none")
    return named


def read_scrape_address(environment: Environment) -> ScrapeAddress:
    """Return the address that ``OTEL_EXPORTER_PROMETHEUS_HOST``, ``_PORT`` and ``_TOKEN`` name."""
    host = environment.get("OTEL_EXPORTER_PROMETHEUS_HOST", "localhost")
    port = environment.read(_port, 9464, "OTEL_EXPORTER_PROMETHEUS_PORT")
    token = environment.find("OTEL_EXPORTER_PROMETHEUS_TOKEN")
    return ScrapeAddress(host.text, port, token.text if token else None)


def _port(variable: Variable) -> int:
    port = variable.whole(at_least=0)
    if port > 65_535:  # noqa: PLR2004 -- the highest port there is
        raise variable.wrong(f"{variable.text} is not a port")
    return port


def _metrics(environment: Environment) -> MetricsPlan:
    return MetricsPlan(
        interval=environment.read(Variable.number, 60_000, "OTEL_METRIC_EXPORT_INTERVAL") / 1000,
        timeout=environment.read(Variable.number, 30_000, "OTEL_METRIC_EXPORT_TIMEOUT") / 1000,
        temporality=environment.read(
            lambda variable: Temporality(variable.choice(tuple(Temporality))),
            Temporality.CUMULATIVE,
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        ),
        histograms=environment.read(
            lambda variable: _HISTOGRAMS[variable.choice(_HISTOGRAMS)],
            ExplicitBucketHistogramAggregation,
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        )(),
        exemplars=environment.read(
            lambda variable: _EXEMPLARS[variable.choice(_EXEMPLARS)],
            TraceBasedExemplarFilter,
            "OTEL_METRICS_EXEMPLAR_FILTER",
        )(),
    )


_HISTOGRAMS: Mapping[str, type[Aggregation]] = {
    "explicit_bucket_histogram": ExplicitBucketHistogramAggregation,
    "base2_exponential_bucket_histogram": ExponentialBucketHistogramAggregation,
}
_EXEMPLARS: Mapping[str, type[ExemplarFilter]] = {
    "always_on": AlwaysOnExemplarFilter,
    "always_off": AlwaysOffExemplarFilter,
    "trace_based": TraceBasedExemplarFilter,
}


def _batching(environment: Environment, prefix: str, *, delay: int) -> Batching:
    capacity = environment.read(Variable.whole, 2048, f"OTEL_{prefix}_MAX_QUEUE_SIZE")

    def fitting(variable: Variable) -> int:
        if (size := variable.whole()) > capacity:
            raise variable.wrong(f"{variable.text} is more than the queue holds, which is {capacity}")
        return size

    return Batching(
        capacity,
        environment.read(fitting, min(512, capacity), f"OTEL_{prefix}_MAX_EXPORT_BATCH_SIZE"),
        environment.read(Variable.number, delay, f"OTEL_{prefix}_SCHEDULE_DELAY") / 1000,
    )


DEFAULT_SERVICE_NAME = "callscope"


def read_resource(variables: Mapping[str, str], attributes: Mapping[str, str | int], instance: UUID) -> Resource:
    """Return the process's attributes: the SDK's, then the application's, then the variables'.

    What the operator says in the variables goes before what the application says of itself. ``instance`` tells this
    process from all others; setting ``service.instance.id`` for several workers at once would mix their numbers up.
    """
    environment = Environment(variables)
    chosen: dict[str, str | int] = {**attributes, **_pairs(environment, "OTEL_RESOURCE_ATTRIBUTES")}
    if named := environment.find("OTEL_SERVICE_NAME"):
        chosen[SERVICE_NAME] = named.text
    own = Resource({SERVICE_NAME: DEFAULT_SERVICE_NAME, SERVICE_INSTANCE_ID: str(instance)})
    return Resource.create().merge(own).merge(Resource(dict(chosen)))


def _pairs(environment: Environment, name: str) -> dict[str, str]:
    """Return comma-separated ``key=value`` pairs, their values URL-decoded.

    What is no pair is warned of and left out. The specification of resources would discard the others too; the SDK,
    which reads the process's variable besides, keeps them.
    """
    variable = environment.find(name)
    pairs: dict[str, str] = {}
    for part in variable.parts() if variable else ():
        key, separator, value = part.text.partition("=")
        if separator and key.strip():
            pairs[unquote(key.strip())] = unquote(value.strip())
        else:
            environment.ignore(part.wrong(f"{part.text!r} is not of the form key=value"))
    return pairs
