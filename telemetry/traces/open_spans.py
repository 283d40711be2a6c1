"""The open spans of each call: their hierarchy, and their end."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, cast

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from telemetry.calls.events import CallRejected, Phase, PhaseEnded, PhaseStarted
from telemetry.clock import Instant
from telemetry.semconv import attributes as attr
from telemetry.semconv.attributes import CallId, MetricKey, TraceKey

Key = MetricKey | TraceKey
"""The key of a span's attribute, of either kind."""

Described = dict[Key, str | int | float | bool]
"""A span's attributes."""

Plain = Mapping[str, str | int | float | bool]
"""The same in the types of the SDK's signatures."""

_Key = TypeVar("_Key")


class StartSpan(Protocol):
    """A tracer's ``start_span``, restricted to declared keys."""

    def __call__(
        self,
        name: str,
        context: Context,
        kind: SpanKind,
        attributes: Described,
        links: Sequence[Link],
        start_time: int,
    ) -> Span:
        """Open a span; ``start_time`` is in nanoseconds since 1970 UTC."""
        ...


@dataclass(slots=True)
class OpenSpan:
    """One open span and the context of its children."""

    span: Span
    context: Context
    began: Instant
    silent_since: Instant | None = None
    """Of a turn, the moment the caller fell silent; None before."""
    answered: bool = False
    """Of a turn, whether the answer's first audio came."""

    @classmethod
    def of(cls, span: Span, parent: Context, began: Instant) -> "OpenSpan":
        """Return the open span that began at this moment in the context of its parent."""
        return cls(span, trace.set_span_in_context(span, parent), began)

    def say(self, key: Key, value: str | float | bool) -> None:
        """Set one attribute."""
        self.span.set_attribute(key, value)

    def describe(self, described: Mapping[Key, str | int | float | bool]) -> None:
        """Set several attributes."""
        self.span.set_attributes(cast("Plain", described))

    def note(self, name: str, described: Described, at: Instant) -> None:
        """Add a span event."""
        self.span.add_event(name, cast("Plain", described), at.unix_nanos)

    def end(self, at: Instant, error_type: str | None = None) -> None:
        """End the span, with error status if there is an ``error_type``."""
        if error_type is not None:
            self.span.set_attribute(attr.ERROR_TYPE, error_type)
            self.span.set_status(Status(StatusCode.ERROR))
        self.span.end(at.unix_nanos)


@dataclass(slots=True)
class CallSpans:
    """The open spans of one call."""

    root: OpenSpan
    received: bool = False
    """True once the call was received, so that its end will be reported; False while it is only announced."""
    content: bool = False
    """True if the tenant allows content on spans."""
    session: OpenSpan | None = None
    phases: dict[Phase, OpenSpan] = field(default_factory=dict)
    turns: dict[int, OpenSpan] = field(default_factory=dict)
    tools: dict[str, OpenSpan] = field(default_factory=dict)
    tokens: dict[Key, int] = field(default_factory=dict)
    rejection: CallRejected | None = None
    """The rejection, counted already, while the carrier is still being told."""

    @property
    def body(self) -> OpenSpan:
        """The parent of turns and tools: the session once it runs, the root before."""
        return self.session or self.root

    @property
    def tool(self) -> OpenSpan | None:
        """The tool that began last of those that run."""
        return next(reversed(self.tools.values()), None)

    def parent_of(self, event: PhaseStarted | PhaseEnded) -> OpenSpan:
        """Return the parent of a phase: the tool that asked for it, the phase it is a try of, or the body."""
        if event.tool_call_id is not None and event.tool_call_id in self.tools:
            return self.tools[event.tool_call_id]
        if event.phase is Phase.ATTACH and Phase.CONNECT in self.phases:
            return self.phases[Phase.CONNECT]
        return self.body

    @property
    def innermost(self) -> OpenSpan:
        """The parent of code that runs now: the current phase, else the tool that runs."""
        return next(reversed(self.phases.values()), self.tool or self.body)

    def turn_at(self, moment: Instant) -> OpenSpan:
        """Return the parent of speech that began then: its turn, or the body for a greeting."""
        for turn in reversed(self.turns.values()):
            if turn.began <= moment:
                return turn
        return self.body

    def end(self, at: Instant, error_type: str | None = None) -> None:
        """End all of the call's spans, the root last."""
        for opened in self._inside_out():
            opened.end(at, error_type)

    def _inside_out(self) -> Iterator[OpenSpan]:
        yield from reversed(self.phases.values())
        yield from self.tools.values()
        yield from self.turns.values()
        if self.session is not None:
            yield self.session
        yield self.root


class OpenCalls(dict[CallId, CallSpans]):
    """The open spans of every call that has not ended, with a bound on calls that are only announced."""

    def __init__(self, max_announced: int) -> None:
        super().__init__()
        self._max_announced = max_announced
        self._announced: OrderedDict[CallId, None] = OrderedDict()

    def announce(self, call_id: CallId, spans: CallSpans, at: Instant) -> None:
        """Keep an announced call's spans; past the bound, the oldest call that was never received is ended."""
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
        """End every open span of the call and forget it."""
        self._announced.pop(call_id, None)
        spans = self.pop(call_id, None)
        if spans is not None:
            spans.end(at, error_type)


def replace(opened: dict[_Key, OpenSpan], key: _Key, by: OpenSpan, at: Instant) -> None:
    """Put a span in place of one whose end was never reported; that one ends now."""
    former = opened.pop(key, None)
    if former is not None:
        former.end(at)
    opened[key] = by
