"""Where events go: one narrow protocol, the fan-out, and the one boundary at which a failing sink is caught."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Protocol

from telemetry.events import CallRef, Event

_logger = logging.getLogger(__name__)


class Sink(Protocol):
    """Turns events into telemetry. Called on the path of a call: it must not block."""

    def emit(self, event: Event) -> None:
        """Take one event."""
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
    """Hands every event to several sinks, in order."""

    __slots__ = ("_sinks",)

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)

    def emit(self, event: Event) -> None:
        """Hand the event on."""
        for sink in self._sinks:
            sink.emit(event)


class Boundary:
    """The one place where a failing sink is caught: counted, logged once per kind of failure, never felt by a call.

    ``strict`` re-raises instead, so that a test sees the bug.
    """

    __slots__ = ("_failures", "_lock", "_logged", "_sink", "_strict")

    def __init__(self, sink: Sink, *, strict: bool = False) -> None:
        self._sink = sink
        self._strict = strict
        self._failures = 0
        self._logged: set[str] = set()
        self._lock = Lock()

    @property
    def failures(self) -> int:
        """Events the sink failed on, since the start."""
        return self._failures

    def emit(self, event: Event) -> None:
        """Hand the event on; a failure stays here."""
        try:
            self._sink.emit(event)
        except Exception as error:
            if self._strict:
                raise
            self._note(event, error)

    def _note(self, event: Event, error: Exception) -> None:
        kind = f"{type(self._sink).__name__}/{type(event).__name__}/{type(error).__name__}"
        with self._lock:
            self._failures += 1
            first = kind not in self._logged
            self._logged.add(kind)
        if first:
            # The message of the error may quote what a caller said or dialled; its kind says enough to look further.
            _logger.error("telemetry sink failed, further failures of this kind are only counted: %s", kind)
