"""What takes its time within a call: told of when it begins and when it is over, with the call's trace around it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class Timed(ABC):
    """A context manager that tells of its beginning and its end. An exception passes through and marks it failed."""

    call: CallRef
    emit: Emit
    scopes: Scopes
    clock: Clock
    began: Instant = field(init=False)
    _scope: AbstractContextManager[object] = field(init=False)

    def __enter__(self) -> None:
        self.began = self.clock.now()
        self.emit(self._begun())
        self._scope = self.scopes.scope(self.call)
        self._scope.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._scope.__exit__(kind, error, traceback)
        finally:
            self.emit(self._over(self.clock.now(), None if kind is None else _type_of(kind, error)))

    @abstractmethod
    def _begun(self) -> Event:
        """The event of its beginning."""

    @abstractmethod
    def _over(self, at: Instant, error_type: str | None) -> Event:
        """The event of its end."""


@dataclass(slots=True)
class TimedPhase(Timed):
    """A stretch of the call's path."""

    phase: Phase

    def _begun(self) -> Event:
        return PhaseStarted(self.began, self.call, self.phase)

    def _over(self, at: Instant, error_type: str | None) -> Event:
        return PhaseEnded(at, self.call, self.phase, self.began, error_type)


@dataclass(slots=True)
class TimedTool(Timed):
    """A tool the model asked for."""

    tool: str
    tool_call_id: str

    def _begun(self) -> Event:
        return ToolStarted(self.began, self.call, self.tool, self.tool_call_id)

    def _over(self, at: Instant, error_type: str | None) -> Event:
        return ToolEnded(at, self.call, self.tool, self.tool_call_id, self.began, error_type)


def _type_of(kind: type[BaseException], error: BaseException | None) -> str:
    return error.error_type if isinstance(error, TypedError) else kind.__name__
