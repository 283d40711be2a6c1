"""Readiness for calls: named checks, some of which only degrade, and what is worth knowing beside them."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from telemetry.calls.tracker import CallTracker
from telemetry.export.health import ExportHealth, SignalHealth

CHECK_SECONDS = 2.0
"""Seconds a check may take before it counts as failed; probes usually allow a few."""

REMEMBER_SECONDS = 1.0
"""Seconds the outcome of a check that costs something stands, however many ask."""

Check = Callable[[], Awaitable[str | None]]
"""Answers why this process is not ready, in words fit for the public, or ``None``. A check that raises has failed."""

Information = Callable[[], Mapping[str, object]]
"""Plain values fit for the public; they never make a process unready."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one check."""

    ok: bool
    reason: str | None
    """The cause of a failure; ``None`` if it passed."""


@dataclass(frozen=True, slots=True)
class ReadinessReport:
    """All that is known of the readiness at one moment."""

    checks: Mapping[str, Outcome]
    information: Mapping[str, Mapping[str, object]]
    degrading: Collection[str] = ()
    """Checks whose failure leaves the process ready."""

    @property
    def ready(self) -> bool:
        """True if calls can be sent."""
        return not self.failed

    @property
    def failed(self) -> list[str]:
        """The names of the failed checks without which no call can be served."""
        return [name for name, outcome in self.checks.items() if not outcome.ok and name not in self.degrading]

    def reasons(self, names: Collection[str]) -> tuple[str, ...]:
        """Return why these checks failed, each with its name."""
        return tuple(f"{name}: {self.checks[name].reason}" for name in names)

    @property
    def degraded(self) -> list[str]:
        """The names of the failed checks without which calls can be served."""
        return [name for name, outcome in self.checks.items() if not outcome.ok and name in self.degrading]


class Readiness:
    """Makes the checks, all at once, none for longer than ``check_seconds``.

    ``degrading`` returns the names of the checks whose failure, as things stand, only degrades.
    """

    def __init__(
        self,
        checks: Mapping[str, Check],
        information: Mapping[str, Information] | None = None,
        *,
        degrading: Callable[[], Collection[str]] = frozenset,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        self._checks = dict(checks)
        self._information = dict(information or {})
        self._degrading = degrading
        self._check_seconds = check_seconds

    async def report(self) -> ReadinessReport:
        """Check now."""
        outcomes = await asyncio.gather(*(self._outcome(check) for check in self._checks.values()))
        information = {name: _informed(source) for name, source in self._information.items()}
        return ReadinessReport(dict(zip(self._checks, outcomes, strict=True)), information, self._degrading())

    async def _outcome(self, check: Check) -> Outcome:
        try:
            reason = await asyncio.wait_for(check(), self._check_seconds)
        except TimeoutError:
            return Outcome(ok=False, reason=f"no answer within {self._check_seconds:g} s")
        except Exception as error:  # noqa: BLE001 -- whatever goes wrong in a check is its outcome
            return Outcome(ok=False, reason=_failure(error))
        return Outcome(ok=reason is None, reason=reason)


def _informed(source: Information) -> Mapping[str, object]:
    try:
        return source()
    except Exception as error:  # noqa: BLE001 -- information never makes a process unready
        return {"error": type(error).__name__}


class Remembered:
    """A check whose outcome stands for a while, so that a public probe cannot make it work without end."""

    def __init__(
        self, check: Check, seconds: float = REMEMBER_SECONDS, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._check = check
        self._seconds = seconds
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._until = float("-inf")
        self._reason: str | None = None

    async def __call__(self) -> str | None:
        """Return the last outcome, or a new one when that is too old."""
        async with self._lock:
            if self._monotonic() >= self._until:
                self._reason = await _reason(self._check)
                self._until = self._monotonic() + self._seconds
            return self._reason


async def _reason(check: Check) -> str | None:
    try:
        return await check()
    except Exception as error:  # noqa: BLE001 -- a failure is remembered like any outcome
        return _failure(error)


def _failure(error: Exception) -> str:
    # Its message may name hosts and users; this is public.
    return f"failed ({type(error).__name__})"


def not_draining(draining: Callable[[], bool]) -> Check:
    """Return a check that fails once the process has begun to stop: running calls end, new ones should go elsewhere."""

    async def check() -> str | None:
        return "the process is stopping: its calls go on, new ones belong elsewhere" if draining() else None

    return check


def nothing_missing(missing: Sequence[str]) -> Check:
    """Return a check that fails if settings are missing without which no call is taken."""

    async def check() -> str | None:
        return f"{', '.join(missing)} not set: no call is taken" if missing else None

    return check


def records_kept(spilling: Callable[[], bool], refusing: Callable[[], bool]) -> Check:
    """Return a check that fails while the database does not take the records of calls, and says where they wait."""

    async def check() -> str | None:
        if refusing():
            return "neither the database nor the local disk takes records: they wait in memory"
        return "the database does not take records: they wait on the local disk" if spilling() else None

    return check


def registry_has_room(tracker: CallTracker) -> Check:
    """Return a check that fails while the registry holds as many calls as it can: one more could not be tracked."""

    async def check() -> str | None:
        return None if tracker.has_room else "the registry of calls is full"

    return check


def export_information(health: Callable[[], ExportHealth]) -> Information:
    """Return how the export goes, without saying where to."""

    def information() -> Mapping[str, object]:
        now = health()
        return {"failing": now.failing} | {str(signal.signal.value): _signal(signal) for signal in now.signals}

    return information


def _signal(health: SignalHealth) -> Mapping[str, object]:
    return {
        "enabled": health.enabled,
        "failing": health.failing,
        "consecutive_failures": health.consecutive_failures,
        "last_success_seconds": health.last_success_seconds,
        "dropped": health.dropped,
        "rejected": health.rejected,
    }
