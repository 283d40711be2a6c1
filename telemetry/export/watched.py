"""An SDK exporter with a watch on its transport: success or failure from the one, the reason from the other."""

from collections.abc import Callable
from enum import Enum
from typing import Generic, Protocol

from telemetry.export.outcome import Batch_contra, Failure, Fault, Outcome


class Exporter(Protocol[Batch_contra]):
    """What all of the SDK's exporters have in common."""

    def export(self, batch: Batch_contra, /) -> Enum:
        """Send a batch, with retries; the result is called ``SUCCESS`` or ``FAILURE``."""
        ...

    def shutdown(self) -> None:
        """Break off a retry in progress and release the connection."""
        ...


class Watch:
    """Sees every request an exporter makes."""

    def __init__(self) -> None:
        self.last: Outcome | None = None
        """What became of the latest request; none if there was none."""
        self._give_up: Callable[[], None] | None = None
        self._given_up = False

    def give_up_with(self, end: Callable[[], None]) -> None:
        """Call ``end`` after the first request that fails, and look at none that comes after it."""
        self._give_up = end

    def saw(self, outcome: Outcome) -> None:
        """A request is over."""
        if self._given_up:
            return
        self.last = outcome
        if outcome.failure and self._give_up:
            self._given_up = True
            self._give_up()


class WatchedSender(Generic[Batch_contra]):
    """One of the SDK's exporters, with the outcome told in full."""

    def __init__(self, exporter: Exporter[Batch_contra], watch: Watch) -> None:
        self._exporter = exporter
        self._watch = watch
        self._closed = False

    def send(self, batch: Batch_contra) -> Outcome:
        """Send one batch; the exporter retries within its timeout."""
        self._watch.last = None
        try:
            succeeded = self._exporter.export(batch).name == "SUCCESS"
        except Exception as error:  # noqa: BLE001 - whatever an exporter raises, the batch did not arrive
            return self._told(self._unsent(type(error).__name__))
        return self._told(Outcome() if succeeded else self._unsent())

    def _told(self, otherwise: Outcome) -> Outcome:
        """What the watch saw, unless it saw nothing or the exporter found fault with what the watch let pass."""
        seen = self._watch.last
        return seen if seen and (seen.failure or otherwise.delivered) else otherwise

    def _unsent(self, detail: str = "") -> Outcome:
        return Outcome(Failure(Fault.CLOSED if self._closed else Fault.UNSENDABLE, detail))

    def close(self) -> None:
        """Break off a retry in progress; what is sent from here on fails."""
        if not self._closed:
            self._closed = True
            self._exporter.shutdown()

    def send_once(self, batch: Batch_contra) -> Outcome:
        """Send one batch without retries, then close."""
        self._watch.give_up_with(self.close)
        outcome = self.send(batch)
        self.close()
        return outcome
