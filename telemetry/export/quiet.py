"""Keeping the SDK's exporters from logging every failure, since the health record tells each change once.

Their messages come with every retry of every batch. A level that somebody has set on their loggers is left alone, so
that they can still be heard for debugging.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_NOISY = "opentelemetry.exporter.otlp"
_SILENT = logging.CRITICAL + 1


class Silence:
    """Keeps a family of loggers silent while anybody wants it so, then restores what was."""

    def __init__(self, logger: str = _NOISY) -> None:
        self._logger = logging.getLogger(logger)
        self._lock = Lock()
        self._holders = 0
        self._ours = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Silence for as long as the context lasts."""
        self._begin()
        try:
            yield
        finally:
            self._end()

    def _begin(self) -> None:
        with self._lock:
            self._holders += 1
            if self._holders == 1 and self._logger.level == logging.NOTSET:
                self._ours = True
                self._logger.setLevel(_SILENT)

    def _end(self) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders == 0 and self._ours:
                self._ours = False
                self._logger.setLevel(logging.NOTSET)


EXPORTERS = Silence()
"""The one for all export threads of this process, as loggers are the process's too."""
