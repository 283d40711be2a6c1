"""Standard output that ends no command: not by a reader who has gone, nor by a character it cannot encode."""

import io
import sys


class _Forgiving(io.FileIO):
    """A file whose reader may go away: what is written after that is dropped."""

    def write(self, data: object, /) -> int:
        """Return how many bytes were taken."""
        try:
            return super().write(data)  # type: ignore[arg-type] # any buffer, as the base class has it
        except BrokenPipeError:
            return memoryview(data).nbytes  # type: ignore[arg-type] # the same


def use_forgiving_output() -> None:
    r"""Replace standard output for the rest of the process.

    A command's work and its exit code must not depend on who reads along: ``callscope reconcile | head`` still says by
    its code whether the ledgers agree. What the encoding lacks is written as an escape such as ``\u2260``.
    """
    before = sys.stdout
    try:
        number = before.fileno()
        before.flush()
    except (AttributeError, OSError, ValueError):
        return  # closed, or none of the operating system's
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Forgiving(number, "w", closefd=False)),
        encoding=before.encoding,
        errors="backslashreplace",
        line_buffering=before.isatty() or bool(before.line_buffering),
    )
