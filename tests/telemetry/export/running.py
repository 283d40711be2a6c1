"""Pipelines for tests: built from variables, always ended."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry._logs import SeverityNumber

from telemetry.export import Pipelines, build_pipelines

FAST = {"OTEL_BSP_SCHEDULE_DELAY": "20", "OTEL_BLRP_SCHEDULE_DELAY": "20", "OTEL_METRIC_EXPORT_INTERVAL": "20"}
"""Intervals short enough for a test to see many of them."""


@contextmanager
def running(environ: Mapping[str, str], **options: Any) -> Iterator[Pipelines]:  # noqa: ANN401 - as build_pipelines has them
    """Pipelines that end with the context, quickly whatever the state of their server."""
    pipelines = build_pipelines(environ, **options)
    try:
        yield pipelines
    finally:
        pipelines.shutdown(0.5)


def to(endpoint: str, protocol: str, **variables: str) -> dict[str, str]:
    """The variables that send everything to one endpoint."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol} | variables


def say_something(pipelines: Pipelines) -> None:
    """One measurement, one span, one log record."""
    pipelines.meter_provider.get_meter("test").create_counter("test.calls").add(1, {"tenant.id": "acme"})
    with pipelines.tracer_provider.get_tracer("test").start_as_current_span("test.span"):
        log(pipelines, "said")


def log(pipelines: Pipelines, body: str) -> None:
    """One log record."""
    pipelines.logger_provider.get_logger("test").emit(body=body, severity_number=SeverityNumber.INFO)


def end_spans(pipelines: Pipelines, number: int) -> None:
    """So many spans, ended."""
    tracer = pipelines.tracer_provider.get_tracer("test")
    for _ in range(number):
        tracer.start_span("test.span").end()
