"""Context managers that time a phase of a call or a tool of the model."""

from abc import ABC, abstractmethod
from asyncio import CancelledError
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from types import TracebackType

from telemetry.calls.events import CallRef, Event, Phase, PhaseEnded, PhaseStarted, ToolEnded, ToolStarted
from telemetry.calls.sinks import Scopes
from telemetry.clock import Clock, Instant
from telemetry.semconv.attributes import CallId


class TypedError(Exception):
    """A failure that states its own ``error.type``, such as a carrier's status, where its class says less."""

    error_type: str
    """Low in cardinality: it becomes a metric attribute."""


@dataclass(slots=True)
class Timed(ABC):
    """A context manager that emits an event at its start and one at its end.

    An exception passes through unchanged; its type becomes the ``error.type`` of the second event.
    """

    call: CallRef
    emit: Callable[[Event], object]
    scopes: Scopes
    clock: Clock
    began: Instant = field(init=False)
    _scope: AbstractContextManager[object] = field(init=False)

    def __enter__(self) -> None:
        self.began = self.clock.now()
        self.emit(self._start_event())
        self._scope = self.scopes.scope(self.call)
        self._scope.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._scope.__exit__(kind, error, traceback)
        finally:
            self.emit(self._end_event(self.clock.now(), None if kind is None else _error_type(kind, error)))

    @abstractmethod
    def _start_event(self) -> Event:
        """Return the event of the start, at ``began``."""

    @abstractmethod
    def _end_event(self, at: Instant, error_type: str | None) -> Event:
        """Return the event of the end; ``error_type`` is None if no exception passed."""


_asking: ContextVar[tuple[CallId, str] | None] = ContextVar("callscope-asking-tool", default=None)
# The call and the tool call whose tool runs: what it has done is its doing, whatever other tools run beside it.


@dataclass(slots=True)
class TimedPhase(Timed):
    """The timer of one phase of a call."""

    phase: Phase
    target: str | None = None
    """The configured name of a transfer's destination."""
    resends: int = 0
    """Tries of the same before this one."""
    _asked_by: str | None = field(init=False, default=None)

    def _start_event(self) -> Event:
        asking = _asking.get()
        if asking is not None and asking[0] == self.call.call_id:
            self._asked_by = asking[1]
        return PhaseStarted(self.began, self.call, self.phase, self.target, self._asked_by, self.resends)

    def _end_event(self, at: Instant, error_type: str | None) -> Event:
        what = (self.phase, self.began, error_type, self.target, self._asked_by, self.resends)
        return PhaseEnded(at, self.call, *what)


@dataclass(slots=True)
class TimedTool(Timed):
    """The timer of one tool call of the model."""

    tool: str
    tool_call_id: str
    _token: Token[tuple[CallId, str] | None] = field(init=False)

    def __enter__(self) -> None:
        super(TimedTool, self).__enter__()
        self._token = _asking.set((self.call.call_id, self.tool_call_id))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _asking.reset(self._token)
        super(TimedTool, self).__exit__(kind, error, traceback)

    def _start_event(self) -> Event:
        return ToolStarted(self.began, self.call, self.tool, self.tool_call_id)

    def _end_event(self, at: Instant, error_type: str | None) -> Event:
        # A tool is cancelled where its session is over: that says nothing about the tool.
        cut_off = error_type == CancelledError.__name__
        error_type = None if cut_off else error_type
        return ToolEnded(at, self.call, self.tool, self.tool_call_id, self.began, error_type, cut_off)


def _error_type(kind: type[BaseException], error: BaseException | None) -> str:
    return error.error_type if isinstance(error, TypedError) else kind.__name__
