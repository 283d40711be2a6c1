"""What takes its time within a call: told of when it begins and when it is over, with the call's trace around it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

from telemetry.clock import Clock, Instant
from telemetry.events import CallRef, Event, Phase, PhaseEnded, PhaseStarted, ToolEnded, ToolStarted
from telemetry.sinks import Scopes

Emit = Callable[[Event], object]
"""Where an event goes."""


class TypedError(Exception):
    """A failure that says its own ``error.type``, such as the status a carrier answered, where its class says less."""

    error_type: str
    """Low in cardinality: it becomes a metric's label."""


class Timed(ABC):
    """A context manager that tells of its beginning and its end. An exception passes through and marks it failed."""

    __slots__ = ("_began", "_call", "_clock", "_emit", "_scope", "_scopes")

    _began: Instant
    _scope: AbstractContextManager[object]

    def __init__(self, call: CallRef, *, emit: Emit, scopes: Scopes, clock: Clock) -> None:
        self._call = call
        self._emit = emit
        self._scopes = scopes
        self._clock = clock

    def __enter__(self) -> None:
        self._began = self._clock.now()
        self._emit(self._begun())
        self._scope = self._scopes.scope(self._call)
        self._scope.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._scope.__exit__(kind, error, traceback)
        finally:
            self._emit(self._over(self._clock.now(), None if kind is None else _type_of(kind, error)))

    @abstractmethod
    def _begun(self) -> Event:
        """The event of its beginning."""

    @abstractmethod
    def _over(self, at: Instant, error_type: str | None) -> Event:
        """The event of its end."""


class TimedPhase(Timed):
    """A stretch of the call's path."""

    __slots__ = ("_phase",)

    def __init__(self, call: CallRef, phase: Phase, *, emit: Emit, scopes: Scopes, clock: Clock) -> None:
        super().__init__(call, emit=emit, scopes=scopes, clock=clock)
        self._phase = phase

    def _begun(self) -> Event:
        return PhaseStarted(self._began, self._call, self._phase)

    def _over(self, at: Instant, error_type: str | None) -> Event:
        return PhaseEnded(at, self._call, self._phase, self._began, error_type)


class TimedTool(Timed):
    """A tool the model asked for."""

    __slots__ = ("_tool", "_tool_call_id")

    def __init__(
        self, call: CallRef, tool: str, tool_call_id: str, *, emit: Emit, scopes: Scopes, clock: Clock
    ) -> None:
        super().__init__(call, emit=emit, scopes=scopes, clock=clock)
        self._tool = tool
        self._tool_call_id = tool_call_id

    def _begun(self) -> Event:
        return ToolStarted(self._began, self._call, self._tool, self._tool_call_id)

    def _over(self, at: Instant, error_type: str | None) -> Event:
        return ToolEnded(at, self._call, self._tool, self._tool_call_id, self._began, error_type)


def _type_of(kind: type[BaseException], error: BaseException | None) -> str:
    return error.error_type if isinstance(error, TypedError) else kind.__name__
