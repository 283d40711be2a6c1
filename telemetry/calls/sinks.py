"""The protocol of a sink for events, and the fan-out at whose boundary a failing sink is caught."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Any, Final, Protocol, runtime_checkable

from opentelemetry.context import Context, create_key

from telemetry.calls.events import CallRef, Event

_logger = logging.getLogger(__name__)


class Sink(Protocol):
    """A consumer of events, called on the path of a call: it must not block."""

    def emit(self, event: Event) -> None:
        """Record one event."""
        ...


UNSAMPLED: Final = create_key("callscope-unsampled")
"""Key in the context of a call whose trace head sampling left out: no exemplar of the SDK leads to it."""


class Contexts(Protocol):
    """The span contexts of calls, so that exemplars and log lines lead to their traces."""

    def context(self, call: CallRef) -> Context | None:
        """Return the call's context, ``None`` if it has no trace."""
        ...


class NoContexts:
    """Calls without traces."""

    __slots__ = ()

    def context(self, call: CallRef) -> Context | None:  # noqa: ARG002 -- the protocol's signature
        """Return None."""
        return None


Handler = Callable[[Any], object]
"""A consumer of the events of one type."""


@runtime_checkable
class Selective(Protocol):
    """A sink with a handler for each type of event it records; it is not called with others."""

    @property
    def handlers(self) -> Mapping[type[Event], Handler]:
        """The handler of each type of event that the sink records."""
        ...


class Scopes(Protocol):
    """The span contexts of calls: what other instrumentations record inside one joins the call's trace."""

    def scope(self, call: CallRef) -> AbstractContextManager[object]:
        """Return a context manager in which the call's innermost open span is the current one."""
        ...


class NoopSink:
    """A sink that does nothing: telemetry switched off."""

    __slots__ = ()

    def emit(self, event: Event) -> None:
        """Do nothing."""


class NoopScopes:
    """Calls without traces."""

    __slots__ = ()

    def scope(self, call: CallRef) -> AbstractContextManager[object]:  # noqa: ARG002 -- the protocol's signature
        """Return a context manager that changes nothing."""
        return nullcontext()


class ForkedProcessError(RuntimeError):
    """A call was reported in a forked child of the process that started telemetry."""

    def __init__(self) -> None:
        super().__init__("this process was forked after start_telemetry() and records nothing; start it in the child")


class FanOut:
    """A sink that passes every event to several sinks, in order, and catches their failures.

    A failure is counted, logged once a kind, and affects neither the call nor the sinks that follow. ``strict``
    raises it instead, so that a test sees the bug.

    In a forked child no event is recorded, since the exporters' threads stayed in the parent and its locks may be held
    for ever: each event counts as a failure, and the first one logs an error.
    """

    __slots__ = ("__weakref__", "_failures", "_forked", "_lock", "_logged", "_routes", "_sinks", "_strict")

    def __init__(self, sinks: Sequence[Sink | Selective], *, strict: bool = False) -> None:
        self._sinks = tuple(sinks)
        self._strict = strict
        self._routes: dict[type[Event], tuple[tuple[Handler, Sink | Selective], ...]] = {}
        self._failures = 0
        self._forked = False
        self._logged: set[str] = set()
        self._lock = Lock()

    @property
    def failures(self) -> int:
        """Events that a sink failed on, or that a forked child reported, since the start."""
        return self._failures

    def emit(self, event: Event) -> None:
        """Pass the event to each sink; count a failure instead of raising it."""
        route = self._routes.get(type(event))
        for handle, sink in self._route(type(event)) if route is None else route:
            try:
                handle(event)
            except Exception as error:
                if self._strict:
                    raise
                self._note(sink, event, error)

    def after_fork(self) -> None:
        """Refuse every event from here on: this process is a forked child of the one that records."""
        self._forked = True
        self._failures = 0
        self._lock = Lock()
        # Routes are made on demand, so the check for a fork costs the path of an event nothing.
        self._routes = {}

    def _route(self, kind: type[Event]) -> tuple[tuple[Handler, Sink | Selective], ...]:
        if self._forked:
            return self._routes.setdefault(kind, ((_refuse, self),))
        found = ((_handler(sink, kind), sink) for sink in self._sinks)
        route = tuple((handle, sink) for handle, sink in found if handle is not None)
        return self._routes.setdefault(kind, route)

    def _note(self, sink: Sink | Selective, event: Event, error: Exception) -> None:
        forked = isinstance(error, ForkedProcessError)
        kind = str(error) if forked else f"{type(sink).__name__}/{type(event).__name__}/{type(error).__name__}"
        with self._lock:
            self._failures += 1
            first = kind not in self._logged
            self._logged.add(kind)
        if first and forked:
            _logger.error("no telemetry: %s", kind)
        elif first:
            # The message of any other error may quote what a caller said or dialled, so only its kind is logged.
            _logger.error("telemetry sink failed, further failures of this kind are only counted: %s", kind)


def _refuse(_event: Event) -> None:
    raise ForkedProcessError


def _handler(sink: Sink | Selective, kind: type[Event]) -> Handler | None:
    return sink.handlers.get(kind) if isinstance(sink, Selective) else sink.emit
