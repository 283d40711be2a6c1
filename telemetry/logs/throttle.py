"""The bound on log lines that somebody else can cause."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Final

LOG_SECONDS: Final = 60.0
"""At most one line of a kind in this time."""

MAX_KINDS: Final = 64
"""Kinds told apart; all further ones together count as one."""

NOT_LOGGED: Final = "not_logged"
"""Key of the number of lines of the kind left out since the last one that was written; absent if there are none."""

_FURTHER: Final = ""
# The kind of whatever has none of its own.


class ThrottledLog:
    """Writes at most one warning a minute of each kind; the next one says how many there were meanwhile."""

    __slots__ = ("_lock", "_logger", "_monotonic", "_written")

    def __init__(self, logger: logging.Logger, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._monotonic = monotonic
        self._lock = Lock()
        self._written: dict[str, tuple[float, int]] = {}

    def warning(self, kind: str, message: str, *values: object, extra: Mapping[str, object] | None = None) -> None:
        """Write the line unless one of this kind was written in the last minute; then count it.

        Args:
            kind: One of few, see :data:`MAX_KINDS`.
            message: The line, in the manner of :mod:`logging`.
            values: What stands in it.
            extra: Further attributes of the record; :data:`NOT_LOGGED` is added.
        """
        unsaid = self._admit(kind)
        if unsaid is None:
            return
        if unsaid:
            message, values = f"{message} (and %d more since the last such line)", (*values, unsaid)
            extra = {**(extra or {}), NOT_LOGGED: unsaid}
        self._logger.warning(message, *values, extra=extra)

    def _admit(self, kind: str) -> int | None:
        """Return the number of lines left out since the last one, None if this one is to be left out too."""
        with self._lock:
            if kind not in self._written and len(self._written) >= MAX_KINDS:
                kind = _FURTHER
            now = self._monotonic()
            last, unsaid = self._written.get(kind, (-math.inf, 0))
            if now - last < LOG_SECONDS:
                self._written[kind] = (last, unsaid + 1)
                return None
            self._written[kind] = (now, 0)
            return unsaid
