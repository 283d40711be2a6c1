"""How exporting goes, as plain values to show, to measure and to decide by."""

from dataclasses import dataclass

from telemetry.export.signals import Protocol, Signal


@dataclass(frozen=True, slots=True)
class SignalHealth:
    """How the export of one signal goes, at one moment."""

    signal: Signal
    enabled: bool
    """Whether the signal is exported at all; if not, the rest says nothing."""
    protocol: Protocol | None
    endpoint: str | None
    """Where to, without credentials and query; none for the console."""
    last_success_seconds: float | None
    """Seconds since the server last acknowledged an export; none if it never did."""
    age_seconds: float
    """Seconds since nothing was overdue: since the last round of exporting that succeeded or had nothing to send."""
    consecutive_failures: int
    """Rounds that failed since the last that did not."""
    last_error: str | None
    """Why the latest failed round failed; it stays after a recovery."""
    dropped: int
    """Items lost on this side: the queue was full, the server refused the batch for good, or the process ended."""
    rejected: int
    """Items that the server acknowledged a batch without (partial success)."""
    thread_alive: bool
    """Whether the thread that exports is running."""

    @property
    def failing(self) -> bool:
        """Whether the latest round failed, or none can come."""
        return self.enabled and (self.consecutive_failures > 0 or not self.thread_alive)


@dataclass(frozen=True, slots=True)
class ExportHealth:
    """How the export of all three signals goes."""

    metrics: SignalHealth
    traces: SignalHealth
    logs: SignalHealth

    @property
    def signals(self) -> tuple[SignalHealth, SignalHealth, SignalHealth]:
        """All of them, in a fixed order."""
        return self.metrics, self.traces, self.logs

    @property
    def failing(self) -> bool:
        """Whether any signal that should be exported is not."""
        return any(signal.failing for signal in self.signals)
