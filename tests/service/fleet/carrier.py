"""When each call was watched, as the carrier saw it: the sidebands of one call after the other, and its end."""

import time
from dataclasses import dataclass, field

import pytest

from service.simulator.leg import CallLeg, Closing


@dataclass(slots=True)
class Watched:
    """One call that was started, on the monotonic clock."""

    sidebands: list[tuple[float, float]] = field(default_factory=list)
    """Each one's opening and end, in order."""
    opened: float | None = None
    """The opening of the one that is open now."""
    ended: float = 0.0

    @property
    def watched_to_the_end(self) -> bool:
        """True if somebody saw the end as it came."""
        return bool(self.sidebands) and self.sidebands[-1][1] == self.ended


class WatchedAtCarrier:
    """Notes when sidebands open and end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: dict[str, Watched] = {}
        attach, leave, close, detach = CallLeg.attach, CallLeg.leave, CallLeg.close, CallLeg.detach

        def attached(leg: CallLeg) -> bool:
            opened = attach(leg)
            if opened:
                self._of(leg).opened = time.monotonic()
            return opened

        def left(leg: CallLeg) -> None:
            self._ends(leg)
            leave(leg)

        def closed(leg: CallLeg) -> None:
            self._of(leg).ended = time.monotonic()
            self._ends(leg)
            close(leg)

        def detached(leg: CallLeg, closing: Closing) -> None:
            if not self._of(leg).ended:
                self._of(leg).ended = time.monotonic()
                self._ends(leg)
            detach(leg, closing)

        monkeypatch.setattr(CallLeg, "attach", attached)
        monkeypatch.setattr(CallLeg, "leave", left)
        monkeypatch.setattr(CallLeg, "close", closed)
        monkeypatch.setattr(CallLeg, "detach", detached)

    def _of(self, leg: CallLeg) -> Watched:
        return self.calls.setdefault(leg.record.dialled.call_id, Watched())

    def _ends(self, leg: CallLeg) -> None:
        call = self._of(leg)
        if call.opened is not None:
            call.sidebands.append((call.opened, call.ended or time.monotonic()))
            call.opened = None
