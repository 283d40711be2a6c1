"""Sinks behind one protocol, and the one boundary where a failing one is caught."""

import logging

import pytest

from telemetry.calls.events import CallRef, Event, FallbackUsed, WebhookReceived
from telemetry.calls.sinks import FanOut, Handler, NoopScopes, NoopSink, Sink
from telemetry.clock import Instant
from telemetry.semconv.attributes import CallId, TenantId, WebhookOutcome
from telemetry.testing import EventLog

NOW = Instant(1, 1)
REF = CallRef(CallId("rtc_1"), TenantId("acme"))
WEBHOOK = WebhookReceived(NOW, WebhookOutcome.ACCEPTED)


class Faulty:
    """A sink that fails on everything."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def emit(self, event: Event) -> None:  # noqa: ARG002 -- the protocol's signature
        raise self.error


def test_a_fan_out_hands_every_event_to_all_in_order() -> None:
    """Each sink has every event, the first one first."""
    order: list[str] = []

    class Named(EventLog):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def emit(self, event: Event) -> None:
            order.append(self.name)
            super().emit(event)

    sinks = [Named("first"), Named("second")]
    fan_out = FanOut(sinks)
    fan_out.emit(WEBHOOK)
    fan_out.emit(FallbackUsed(NOW, REF))
    assert order == ["first", "second"] * 2
    assert sinks[0].events == sinks[1].events == [WEBHOOK, FallbackUsed(NOW, REF)]


def test_a_sink_that_takes_only_some_events_is_spared_the_others() -> None:
    """A selective sink has the events of the types it handles, in its place among the others."""

    class Webhooks:
        def __init__(self) -> None:
            self.taken: list[Event] = []
            self.handlers: dict[type[Event], Handler] = {WebhookReceived: self.taken.append}

    everything, webhooks = EventLog(), Webhooks()
    fan_out = FanOut([webhooks, everything])
    for event in (WEBHOOK, FallbackUsed(NOW, REF), WEBHOOK):
        fan_out.emit(event)
    assert webhooks.taken == [WEBHOOK, WEBHOOK]
    assert len(everything.events) == 3


def test_a_failing_sink_is_felt_by_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """A failure is counted and logged once a kind, without what it quoted; the next sink still has the event."""
    after = EventLog()
    fan_out = FanOut([Faulty(ValueError("+4915112345678")), after])
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            fan_out.emit(WEBHOOK)
        fan_out.emit(FallbackUsed(NOW, REF))
    assert fan_out.failures == 4
    assert len(after.events) == 4
    messages = [record.getMessage() for record in caplog.records]
    assert [message.rpartition(" ")[2] for message in messages] == [
        "Faulty/WebhookReceived/ValueError",
        "Faulty/FallbackUsed/ValueError",
    ]
    assert "+49" not in caplog.text


def test_under_test_a_failing_sink_is_seen() -> None:
    """A strict fan-out raises what the sink raised."""
    sinks: list[Sink] = [NoopSink(), Faulty(LookupError("a bug"))]
    with pytest.raises(LookupError, match="a bug"):
        FanOut(sinks, strict=True).emit(WEBHOOK)


def test_what_passes_is_no_failure() -> None:
    """Sinks that work are not counted."""
    fan_out = FanOut([NoopSink()])
    fan_out.emit(WEBHOOK)
    assert fan_out.failures == 0


def test_without_traces_a_scope_changes_nothing() -> None:
    """The scope that is none lets code run as it is."""
    with NoopScopes().scope(REF) as inside:
        assert inside is None
