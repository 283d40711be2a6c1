"""What is built: providers that work for those handed in, and nothing global, whatever is exported."""

import gc
import json
import os
import sys
from collections.abc import Iterator
from threading import active_count

import pytest
from opentelemetry import _logs, context, metrics, trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk._logs import LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import DropAggregation, View
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from telemetry.export import Pipelines
from telemetry.export.batches import BatchedItems, LogQueueing
from tests.telemetry.export.running import end_spans, running, say_something, to
from tests.telemetry.otlp_receiver import Receiver


class Spans(SpanProcessor):
    def __init__(self) -> None:
        self.ended: list[str] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span.name)


class Logs(LogRecordProcessor):
    def __init__(self) -> None:
        self.bodies: list[object] = []

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        self.bodies.append(log_record.log_record.body)

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return timeout_millis > 0


def _counts(reader: InMemoryMetricReader) -> list[str]:
    data = reader.get_metrics_data()
    return [m.name for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics] if data else []


def test_with_nothing_configured_nothing_is_exported_and_everything_seen(caplog: pytest.LogCaptureFixture) -> None:
    """No thread, no line in the log; the reader and processors handed in get measurements, spans and logs."""
    reader, spans, logs, threads = InMemoryMetricReader(), Spans(), Logs(), active_count()
    with running({}, metric_readers=[reader], span_processors=[spans], log_processors=[logs]) as pipelines:
        say_something(pipelines)
        assert active_count() <= threads  # another test may have left one that ends meanwhile
        assert pipelines.flush()
        assert not pipelines.health().failing
        assert _counts(reader) == ["test.calls"]
        assert (spans.ended, logs.bodies) == (["test.span"], ["said"])
    assert caplog.records == []


def test_a_disabled_sdk_still_counts_for_the_readers_handed_in(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver, protocol: str
) -> None:
    """With OTEL_SDK_DISABLED there are no spans, logs or exports; what the service answers from goes on."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    reader, spans, logs = InMemoryMetricReader(), Spans(), Logs()
    environ = to(receiver.endpoint, protocol, OTEL_SDK_DISABLED="true")
    with running(environ, metric_readers=[reader], span_processors=[spans], log_processors=[logs]) as pipelines:
        say_something(pipelines)
        assert pipelines.flush()
        assert _counts(reader) == ["test.calls"]
        assert (spans.ended, logs.bodies) == ([], [])
    assert receiver.attempts == 0


def test_nothing_global_is_set(receiver: Receiver, protocol: str) -> None:
    """The API's global providers are the same before and after, and not ours."""
    before = (metrics.get_meter_provider(), trace.get_tracer_provider(), _logs.get_logger_provider())
    with running(to(receiver.endpoint, protocol)) as pipelines:
        ours = {pipelines.meter_provider, pipelines.tracer_provider, pipelines.logger_provider}
        after = (metrics.get_meter_provider(), trace.get_tracer_provider(), _logs.get_logger_provider())
    assert after == before
    assert not ours & set(after)


def test_views_apply_to_what_is_exported(receiver: Receiver, protocol: str) -> None:
    """An instrument that a view drops does not leave."""
    views = [View(instrument_name="test.calls", aggregation=DropAggregation())]
    with running(to(receiver.endpoint, protocol), views=views) as pipelines:
        say_something(pipelines)
        assert pipelines.flush()
    assert receiver.metrics == []


def test_spans_not_sampled_are_not_taken_in(receiver: Receiver, protocol: str) -> None:
    """A recorded span without the sampled flag stays here."""
    with running(to(receiver.endpoint, protocol, OTEL_TRACES_SAMPLER="parentbased_always_off")) as pipelines:
        end_spans(pipelines, 1)
        assert pipelines.flush()
    assert receiver.spans == []


def test_the_console_prints_all_signals_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """OTEL_*_EXPORTER=console shows a developer what would be sent, and counts as healthy."""
    environ = {f"OTEL_{signal}_EXPORTER": "console" for signal in ("METRICS", "TRACES", "LOGS")}
    with running(environ) as pipelines:
        say_something(pipelines)
        assert pipelines.flush()
        health = pipelines.health()
        assert {signal.protocol for signal in health.signals} == {"console"}
        assert not health.failing
    printed = capsys.readouterr().out
    decoder, shown = json.JSONDecoder(), list[dict[str, object]]()
    while printed := printed.strip():
        value, end = decoder.raw_decode(printed)
        shown.append(value)
        printed = printed[end:]
    assert {key for value in shown for key in value} >= {"resource_metrics", "body", "name"}


def test_the_console_may_look_on(receiver: Receiver, protocol: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With otlp,console a span is both sent and printed."""
    with running(to(receiver.endpoint, protocol, OTEL_TRACES_EXPORTER="otlp,console")) as pipelines:
        end_spans(pipelines, 1)
        assert pipelines.flush()
        assert pipelines.health().traces.protocol == protocol
    assert len(receiver.spans) == 1
    assert '"name": "test.span"' in capsys.readouterr().out


def test_providers_flush_through_the_pipelines(receiver: Receiver, protocol: str) -> None:
    """Who calls a provider's own force_flush gets an export, and the truth about it for spans and logs."""
    with running(to(receiver.endpoint, protocol)) as pipelines:
        say_something(pipelines)
        assert _flushed(pipelines) == [True, True, True]
        assert receiver.spans and receiver.log_records and receiver.metrics  # noqa: PT018 - all arrived


def _flushed(pipelines: Pipelines) -> list[bool]:
    """Only the SDK's providers can flush; these are."""
    providers = (pipelines.meter_provider, pipelines.tracer_provider, pipelines.logger_provider)
    return [bool(getattr(provider, "force_flush")(30_000)) for provider in providers]  # noqa: B009 - not in the API


def test_a_log_record_is_kept_without_its_context() -> None:
    """What waits in the queue does not hold on to the objects of the call it came from."""
    kept: list[object] = []

    class Keep(BatchedItems[object]):
        def __init__(self) -> None: ...

        def add(self, item: object) -> None:
            kept.append(item)

    with running({}, log_processors=[LogQueueing(Keep())]) as pipelines:  # type: ignore[arg-type]  # of anything
        token = context.attach(context.set_value("large", object()))
        pipelines.logger_provider.get_logger("t").emit(body="said", severity_number=SeverityNumber.INFO)
        context.detach(token)
    assert len(kept) == 1
    assert dict(kept[0].log_record.context) == {}  # type: ignore[attr-defined]  # a readable log record


def test_exporting_leaves_the_process_as_it_is(
    receiver: Receiver, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the switch interval nor garbage collection nor the environment is the library's to change."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    before, seen = _process_state(), list[object]()

    def observe(_: CallbackOptions) -> Iterator[Observation]:
        seen.append(_process_state())
        yield Observation(1)

    with running(to(receiver.endpoint, protocol)) as pipelines:
        pipelines.meter_provider.get_meter("test").create_observable_gauge("test.gauge", [observe])
        assert pipelines.flush()
    assert seen
    assert all(one == before for one in [*seen, _process_state()])


def _process_state() -> object:
    return sys.getswitchinterval(), gc.isenabled(), gc.get_freeze_count() > 0, dict(os.environ)
