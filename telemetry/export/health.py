"""Health of the exports, as plain values to show, to measure and to decide by."""

import logging
from dataclasses import dataclass
from threading import Lock

from telemetry.clock import Clock, Instant
from telemetry.export.outcome import ExportFault, ExportOutcome, Failure
from telemetry.export.plan import Route
from telemetry.export.signals import Protocol, Signal


@dataclass(frozen=True, slots=True)
class SignalHealth:
    """Health of one signal's export, at one moment."""

    signal: Signal
    enabled: bool
    """True if the signal is exported at all; if not, the rest says nothing."""
    protocol: Protocol | None
    endpoint: str | None
    """Endpoint without credentials and query; ``None`` for the console."""
    last_success_seconds: float | None
    """Seconds since the server last acknowledged an export; none if it never did."""
    age_seconds: float
    """Seconds since nothing was overdue: since the last round of exporting that succeeded or had nothing to send."""
    consecutive_failures: int
    """Rounds that failed since the last that did not."""
    last_error: str | None
    """Reason of the latest failed round; it stays after a recovery."""
    dropped: int
    """Items lost on this side: the queue was full, the server refused the batch for good, or the process ended."""
    rejected: int
    """Items that the server acknowledged a batch without (partial success)."""
    thread_alive: bool
    """True if the thread that exports is running."""
    last_error_seconds: float | None = None
    """Seconds since the failed round that :attr:`last_error` tells of; None if there was none."""

    @property
    def failing(self) -> bool:
        """True if the latest round failed, or none can come."""
        return self.enabled and (self.consecutive_failures > 0 or not self.thread_alive)


@dataclass(frozen=True, slots=True)
class ExportHealth:
    """Health of the export of all three signals."""

    metrics: SignalHealth
    traces: SignalHealth
    logs: SignalHealth

    @property
    def signals(self) -> tuple[SignalHealth, SignalHealth, SignalHealth]:
        """All of them, in a fixed order."""
        return self.metrics, self.traces, self.logs

    @property
    def failing(self) -> bool:
        """True if any signal that should be exported is not."""
        return any(signal.failing for signal in self.signals)


_logger = logging.getLogger("telemetry.export")


class HealthRecord:
    """Counts what became of a signal's items. Safe from any thread; holds its lock only to add and to copy.

    The log hears of three things, each once until it has passed: exporting fails, the server rejects part of what it
    accepts, items are dropped because too many wait.
    """

    def __init__(self, route: Route, clock: Clock) -> None:
        self._route = route
        self._clock = clock
        self._lock = Lock()
        self._current_at = clock.now()
        self._succeeded_at: Instant | None = None
        self._failures = 0
        self._error: str | None = None
        self._failed_at: Instant | None = None
        self._dropped = self._dropped_before = 0
        self._rejected = 0
        self._dropping = False
        self._rejecting = False
        self._ended = False

    @property
    def signal(self) -> Signal:
        """The signal that the record is about."""
        return self._route.signal

    def exported(self, outcome: ExportOutcome) -> None:
        """Take note of the outcome of one round of exporting."""
        if self._ended:
            return
        if outcome.failure:
            self._failed(outcome.failure)
        else:
            self._succeeded()
        self._answered(outcome)

    def broken(self, error: Exception) -> None:
        """Take note of a round of exporting that ended in an unexpected exception."""
        _logger.debug("Export of %s to %s broke off.", *self._where, exc_info=error)
        self.exported(ExportOutcome(Failure(ExportFault.UNKNOWN, type(error).__name__)))

    def idle(self) -> None:
        """Take note of a round that found nothing to export."""
        with self._lock:
            if not self._failures:
                self._current_at = self._clock.now()

    def crowded_out(self, items: int) -> None:
        """Count items dropped because too many wait already."""
        with self._lock:
            self._dropped += items
            begins, self._dropping = not self._dropping, True
        if begins:
            _logger.warning("Dropping %s: more wait to be exported than the queue holds.", self._route.signal.items)

    def lost(self, items: int) -> None:
        """Count items given up: the server refused them for good, or they came after the end had begun."""
        with self._lock:
            self._dropped += items

    def end(self, items: int) -> None:
        """End the record, with items given up. What a thread left behind reports later is no news any more."""
        with self._lock:
            self._dropped += items
            self._ended = True

    def _failed(self, failure: Failure) -> None:
        with self._lock:
            self._failures += 1
            if failure.fault is not ExportFault.CLOSED or not self._error:
                self._error, self._failed_at = str(failure), self._clock.now()
            begins = self._failures == 1
        if begins:
            _logger.warning("Export of %s to %s fails: %s. Calls are not affected.", *self._where, failure)

    def _succeeded(self) -> None:
        with self._lock:
            now = self._clock.now()
            failures, self._failures = self._failures, 0
            outage = now.since(self._current_at)
            self._succeeded_at = self._current_at = now
            self._dropping = self._dropping and not failures and self._dropped > self._dropped_before
            self._dropped_before = self._dropped
        if failures:
            summary = f"{failures} failed attempt{'s' * (failures > 1)} in {outage:.0f} s"
            _logger.warning("Export of %s to %s works again, after %s.", *self._where, summary)

    def _answered(self, outcome: ExportOutcome) -> None:
        """Note partial success; a failed round says nothing about it."""
        with self._lock:
            self._rejected += outcome.rejected
            begins = outcome.rejected > 0 and not self._rejecting
            if outcome.delivered:
                self._rejecting = outcome.rejected > 0
        if begins:
            signal, address = self._where
            why = outcome.note or f"{outcome.rejected} {self._route.signal.items}"
            _logger.warning("The server at %s rejects part of the %s it accepts: %s", address, signal, why)

    @property
    def _where(self) -> tuple[str, str]:
        return self._route.signal, self._route.address or "the console"

    def snapshot(self, *, thread_alive: bool) -> SignalHealth:
        """Return the health as of now."""
        with self._lock:
            now = self._clock.now()
            return SignalHealth(
                signal=self._route.signal,
                enabled=self._route.enabled,
                protocol=self._route.protocol,
                endpoint=self._route.address,
                last_success_seconds=now.since(self._succeeded_at) if self._succeeded_at else None,
                age_seconds=now.since(self._current_at) if self._route.enabled else 0.0,
                consecutive_failures=self._failures,
                last_error=self._error,
                dropped=self._dropped,
                rejected=self._rejected,
                thread_alive=thread_alive,
                last_error_seconds=now.since(self._failed_at) if self._failed_at else None,
            )
