"""A signal's way out of the process: what gathers it, what sends it and how that goes, ended alike for all signals."""

from dataclasses import dataclass
from typing import Protocol

from telemetry.export.health import SignalHealth
from telemetry.export.record import HealthRecord
from telemetry.export.thread import ExportThread


class Source(Protocol):
    """Gathers one signal's items and hands them to a sender in the turns of its thread."""

    @property
    def thread(self) -> ExportThread:
        """The thread whose turns export."""
        ...

    def close(self) -> None:
        """Take in nothing more."""
        ...

    def unsent(self) -> int:
        """Items taken in and neither acknowledged nor given up."""
        ...


class Closable(Protocol):
    """A sender, as far as its end goes."""

    def close(self) -> None:
        """Break off what is in progress and release the connection."""
        ...


@dataclass(frozen=True, slots=True)
class Lane:
    """One signal's way out."""

    source: Source
    sender: Closable
    record: HealthRecord

    def start(self) -> None:
        """Begin exporting."""
        self.source.thread.start()

    def stop(self) -> None:
        """Take in nothing more and export what there is; does not wait."""
        self.source.close()
        self.source.thread.stop()

    def join(self, seconds: float) -> bool:
        """Wait for the end of what :meth:`stop` began; false if it takes longer."""
        return self.source.thread.join(seconds)

    def break_off(self) -> None:
        """End a send in progress, if there is one, and release the connection."""
        self.sender.close()

    def give_up(self) -> str:
        """Count what has not been sent as lost; what that is, in words, or nothing."""
        lost = self.source.unsent()
        self.record.end(lost)
        return f"{lost} {self.record.signal.items}" if lost else ""

    def health(self) -> SignalHealth:
        """How exporting goes."""
        return self.record.snapshot(thread_alive=self.source.thread.alive)
