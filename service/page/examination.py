"""The findings of ``callscope doctor`` for the page: looked for beside everything else, once for all who look."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

from telemetry.doctor import ExportFinding
from telemetry.export import InvalidVariableError

STANDS_SECONDS: Final = 600.0
"""Seconds for which findings stand while somebody looks: each examination sends a test item to the backend."""
WAIT_SECONDS: Final = 2.0
"""Seconds that a test item may take, so that a stop is not held up by it."""


@dataclass(frozen=True, slots=True)
class Examined:
    """The findings that are known now."""

    findings: Sequence[ExportFinding] | None
    """One a signal; None before the first examination is over, or if it could not be made."""
    error: str | None
    """The cause for which it could not be made."""
    age_seconds: float | None
    """Seconds since it was over; None before."""


class Examination:
    """Examines the exports in a thread when somebody looks and the last findings are too old; nobody waits for it.

    Args:
        diagnose: Sends the test items and returns the findings; may take seconds.
        monotonic: The source of time.
    """

    def __init__(
        self, diagnose: Callable[[], Sequence[ExportFinding]], *, monotonic: Callable[[], float] = monotonic
    ) -> None:
        self._diagnose = diagnose
        self._monotonic = monotonic
        self._running: threading.Thread | None = None
        self._known = Examined(None, None, None)
        self._over_at: float | None = None

    def look(self) -> Examined:
        """Return what is known, and have it found out anew if that is too old; call it from one thread."""
        now, over_at = self._monotonic(), self._over_at
        due = over_at is None or now - over_at > STANDS_SECONDS
        if due and (self._running is None or not self._running.is_alive()):
            self._running = threading.Thread(target=self._examine, name="callscope-page-doctor", daemon=True)
            self._running.start()
        known = self._known
        return Examined(known.findings, known.error, None if over_at is None else now - over_at)

    def _examine(self) -> None:
        try:
            self._known = Examined(self._diagnose(), None, None)
        except InvalidVariableError as error:
            self._known = Examined(None, str(error), None)
        except Exception as error:  # noqa: BLE001 -- an examination that fails is itself a finding
            self._known = Examined(None, f"it broke off ({type(error).__name__})", None)
        self._over_at = self._monotonic()
