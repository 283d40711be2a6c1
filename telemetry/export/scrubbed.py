"""Spans and log records cleaned of personal data on their way out, by the thread that sends them."""

from collections.abc import Callable
from copy import copy
from typing import Generic, TypeVar, cast

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Status
from opentelemetry.util.types import AnyValue, Attributes

from telemetry.export.outcome import Outcome, Sender
from telemetry.scrub import scrub_attributes, scrub_text, scrub_value

Item = TypeVar("Item")


class ScrubbedSpan(ReadableSpan):
    """A span as it may leave: attributes and events cleaned, the status without its description.

    The description is an exception's message wherever instrumentations set one; ``error.type`` says what kind it was.
    """

    def __init__(self, span: ReadableSpan) -> None:
        super().__init__(
            name=scrub_text(span.name),
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=_attributes(span.attributes),
            events=[Event(e.name, _attributes(e.attributes), e.timestamp) for e in span.events],
            links=span.links,
            kind=span.kind,
            status=Status(span.status.status_code),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )
        self._original = span

    @property
    def dropped_attributes(self) -> int:
        """What the SDK left out of the span for want of room."""
        return self._original.dropped_attributes

    @property
    def dropped_events(self) -> int:
        """The same for its events."""
        return self._original.dropped_events

    @property
    def dropped_links(self) -> int:
        """The same for its links."""
        return self._original.dropped_links


class Scrubbing(Generic[Item]):
    """A sender that cleans what it hands on. What waits for another attempt is cleaned again then."""

    def __init__(self, sender: Sender[list[Item]], clean: Callable[[Item], Item]) -> None:
        self._sender = sender
        self._clean = clean

    def send(self, batch: list[Item]) -> Outcome:
        """Send the cleaned batch."""
        return self._sender.send([self._clean(item) for item in batch])

    def close(self) -> None:
        """Close the sender."""
        self._sender.close()


def scrubbed_record(record: ReadableLogRecord) -> ReadableLogRecord:
    """A log record as it may leave."""
    written = copy(record.log_record)
    written.body = cast("AnyValue", scrub_value(written.body))
    written.attributes = cast("dict[str, AnyValue]", scrub_attributes(written.attributes))
    return ReadableLogRecord(
        log_record=written,
        resource=record.resource,
        instrumentation_scope=record.instrumentation_scope,
        limits=record.limits,
    )


def _attributes(attributes: Attributes) -> Attributes:
    return cast("Attributes", scrub_attributes(attributes))
