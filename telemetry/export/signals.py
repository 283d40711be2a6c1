"""The three kinds of telemetry, and how each is transported."""

from enum import StrEnum


class Signal(StrEnum):
    """A kind of telemetry; its value is the word used in paths, attributes and messages."""

    METRICS = "metrics"
    TRACES = "traces"
    LOGS = "logs"

    @property
    def items(self) -> str:
        """Name of its units, in the plural."""
        return _ITEMS[self]


_ITEMS = {Signal.METRICS: "data points", Signal.TRACES: "spans", Signal.LOGS: "log records"}


class Protocol(StrEnum):
    """A way out of the process; the value is the one the standard variables use."""

    HTTP = "http/protobuf"
    GRPC = "grpc"
    CONSOLE = "console"
    """Printed to standard output, for a developer's eyes."""
    PROMETHEUS = "prometheus"
    """Read from here by whoever scrapes."""


class Compression(StrEnum):
    """Compression of a request's body."""

    NONE = "none"
    GZIP = "gzip"
    DEFLATE = "deflate"
