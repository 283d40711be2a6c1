"""Keeping the SDK's exporters from logging every failure, since the health record tells each change once.

Their messages come with every retry of every batch. A level that somebody has set on their loggers is left alone, so
that they can still be heard for debugging.
"""

import logging

from telemetry.export.hold import Hold

_NOISY = "opentelemetry.exporter.otlp"
_SILENT = logging.CRITICAL + 1


class Silence(Hold):
    """Keeps a family of loggers silent."""

    def __init__(self, logger: str = _NOISY) -> None:
        super().__init__()
        self._logger = logging.getLogger(logger)
        self._ours = False

    def _begin(self) -> None:
        if self._logger.level == logging.NOTSET:
            self._ours = True
            self._logger.setLevel(_SILENT)

    def _end(self) -> None:
        if self._ours:
            self._ours = False
            self._logger.setLevel(logging.NOTSET)


EXPORTERS = Silence()
"""The one for all export threads of this process, as loggers are the process's too."""
