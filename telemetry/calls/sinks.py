"""Where events go: one narrow protocol, and the fan-out at whose boundary a failing sink is caught."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Any, Protocol, runtime_checkable

from opentelemetry.context import Context

from telemetry.calls.events import CallRef, Event

_logger = logging.getLogger(__name__)


class Sink(Protocol):
    """Turns events into telemetry. Called on the path of a call: it must not block."""

    def emit(self, event: Event) -> None:
        """Take one event."""
        ...


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
"""Takes the events of one type."""


@runtime_checkable
class Selective(Protocol):
    """A sink with a handler for each type of event it does anything with; it is spared the others."""

    @property
    def handlers(self) -> Mapping[type[Event], Handler]:
        """What takes the events of which type."""
        ...


class Scopes(Protocol):
    """Lets code run as part of a call, so that what other instrumentations record joins the call's trace."""

    def scope(self, call: CallRef) -> AbstractContextManager[object]:
        """Within it, the call's innermost open span is the current one."""
        ...


class NoopSink:
    """Takes every event and does nothing: telemetry switched off."""

    __slots__ = ()

    def emit(self, event: Event) -> None:
        """Do nothing."""


class NoopScopes:
    """No trace to join."""

    __slots__ = ()

    def scope(self, call: CallRef) -> AbstractContextManager[object]:  # noqa: ARG002 -- the protocol's signature
        """Change nothing."""
        return nullcontext()


class FanOut:
    """Hands every event to several sinks, in order, and is the one boundary at which a failing sink is caught.

    A failure is counted, logged once a kind, and felt neither by the call nor by the sinks that follow. ``strict``
    raises it instead, so that a test sees the bug.
    """

    __slots__ = ("_failures", "_lock", "_logged", "_routes", "_sinks", "_strict")

    def __init__(self, sinks: Sequence[Sink | Selective], *, strict: bool = False) -> None:
        self._sinks = tuple(sinks)
        self._strict = strict
        self._routes: dict[type[Event], tuple[tuple[Handler, Sink | Selective], ...]] = {}
        self._failures = 0
        self._logged: set[str] = set()
        self._lock = Lock()

    @property
    def failures(self) -> int:
        """Events that a sink failed on, since the start."""
        return self._failures

    def emit(self, event: Event) -> None:
        """Hand the event on; a failure stays here."""
        route = self._routes.get(type(event))
        for handle, sink in self._route(type(event)) if route is None else route:
            try:
                handle(event)
            except Exception as error:
                if self._strict:
                    raise
                self._note(sink, event, error)

    def _route(self, kind: type[Event]) -> tuple[tuple[Handler, Sink | Selective], ...]:
        found = ((_handler(sink, kind), sink) for sink in self._sinks)
        route = tuple((handle, sink) for handle, sink in found if handle is not None)
        return self._routes.setdefault(kind, route)

    def _note(self, sink: Sink | Selective, event: Event, error: Exception) -> None:
        kind = f"{type(sink).__name__}/{type(event).__name__}/{type(error).__name__}"
        with self._lock:
            self._failures += 1
            first = kind not in self._logged
            self._logged.add(kind)
        if first:
            # The message of the error may quote what a caller said or dialled; its kind says enough to look further.
            _logger.error("telemetry sink failed, further failures of this kind are only counted: %s", kind)


def _handler(sink: Sink | Selective, kind: type[Event]) -> Handler | None:
    return sink.handlers.get(kind) if isinstance(sink, Selective) else sink.emit
