"""The spans that are open, call by call: what hangs below what, and how all of them end."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, cast

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from telemetry.calls.events import CallRejected, Phase
from telemetry.clock import Instant
from telemetry.semconv import attributes as attr
from telemetry.semconv.attributes import CallId, MetricKey, TraceKey

Key = MetricKey | TraceKey
"""Spans take either kind."""

Described = dict[Key, str | int | float | bool]
"""What a span says."""

Plain = Mapping[str, str | int | float | bool]
"""The same for the SDK, whose signatures know no kinds of key."""

_Key = TypeVar("_Key")


class StartSpan(Protocol):
    """How a tracer opens a span: unlike the API's own signature, it takes only declared keys."""

    def __call__(
        self,
        name: str,
        context: Context,
        kind: SpanKind,
        attributes: Described,
        links: Sequence[Link],
        start_time: int,
    ) -> Span:
        """Open a span; ``start_time`` is in nanoseconds since 1970."""
        ...


@dataclass(slots=True)
class OpenSpan:
    """One open span and the context its children are made in."""

    span: Span
    context: Context
    began: Instant

    @classmethod
    def of(cls, span: Span, parent: Context, began: Instant) -> "OpenSpan":
        """A span that began at this moment in the context of its parent."""
        return cls(span, trace.set_span_in_context(span, parent), began)

    def say(self, key: Key, value: str | float | bool) -> None:
        """Say one more thing of it."""
        self.span.set_attribute(key, value)

    def describe(self, described: Mapping[Key, str | int | float | bool]) -> None:
        """Say more of it."""
        self.span.set_attributes(cast("Plain", described))

    def note(self, name: str, described: Described, at: Instant) -> None:
        """Say what happened within it."""
        self.span.add_event(name, cast("Plain", described), at.unix_nanos)

    def end(self, at: Instant, error_type: str | None = None) -> None:
        """End it, as failed if there is an ``error_type``."""
        if error_type is not None:
            self.span.set_attribute(attr.ERROR_TYPE, error_type)
            self.span.set_status(Status(StatusCode.ERROR))
        self.span.end(at.unix_nanos)


@dataclass(slots=True)
class CallSpans:
    """The open spans of one call."""

    root: OpenSpan
    received: bool = False
    """Whether the call is more than announced, so that its end will be reported."""
    content: bool = False
    """Whether the tenant allows on spans what is said."""
    session: OpenSpan | None = None
    phases: dict[Phase, OpenSpan] = field(default_factory=dict)
    turns: dict[int, OpenSpan] = field(default_factory=dict)
    tools: dict[str, OpenSpan] = field(default_factory=dict)
    tokens: dict[Key, int] = field(default_factory=dict)
    rejection: CallRejected | None = None
    """Counted already, while the carrier is still being told."""

    @property
    def body(self) -> OpenSpan:
        """Where turns and tools hang: the session once it runs."""
        return self.session or self.root

    @property
    def innermost(self) -> OpenSpan:
        """Where code that runs now hangs: the phase under way, if one is."""
        under_way = list(self.phases.values())
        return under_way[-1] if under_way else self.body

    def turn_at(self, moment: Instant) -> OpenSpan:
        """Where speech that began then hangs: the turn it belongs to, or the body for a greeting."""
        for turn in reversed(self.turns.values()):
            if turn.began <= moment:
                return turn
        return self.body

    def end(self, at: Instant, error_type: str | None = None) -> None:
        """End all of them, the root last."""
        for opened in self._inside_out():
            opened.end(at, error_type)

    def _inside_out(self) -> Iterator[OpenSpan]:
        yield from self.tools.values()
        yield from self.turns.values()
        yield from reversed(self.phases.values())
        if self.session is not None:
            yield self.session
        yield self.root


class OpenCalls(dict[CallId, CallSpans]):
    """The open spans of every call that has not ended. Of calls only announced it keeps so many and no more."""

    def __init__(self, max_announced: int) -> None:
        super().__init__()
        self._max_announced = max_announced
        self._announced: OrderedDict[CallId, None] = OrderedDict()

    def announce(self, call_id: CallId, spans: CallSpans, at: Instant) -> None:
        """Keep a call's spans, perhaps in the place of one announced long ago and never received."""
        self[call_id] = spans
        self._announced[call_id] = None
        while len(self._announced) > self._max_announced:
            forgotten, _ = self._announced.popitem(last=False)
            self.end(forgotten, at)

    def receive(self, call_id: CallId, spans: CallSpans) -> None:
        """Keep the call's spans until its end is reported."""
        self[call_id] = spans
        self._announced.pop(call_id, None)
        spans.received = True

    def end(self, call_id: CallId, at: Instant, error_type: str | None = None) -> None:
        """End every open span of the call and keep nothing of it."""
        self._announced.pop(call_id, None)
        spans = self.pop(call_id, None)
        if spans is not None:
            spans.end(at, error_type)


def replace(opened: dict[_Key, OpenSpan], key: _Key, by: OpenSpan, at: Instant) -> None:
    """Put a span where one may be open already, because its end was never reported; that one ends now."""
    former = opened.pop(key, None)
    if former is not None:
        former.end(at)
    opened[key] = by
