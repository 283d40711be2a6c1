"""One real program as a child process: started until it is ready, stopped or killed, its output kept."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.peers.waiting import until

STOP_TIMEOUT = 90.0
"""Seconds a program may take to end by itself before it is killed."""

LOG_TAIL = 6000
"""Characters of a program's output that a failing test shows."""


class NotStartedError(AssertionError):
    """The program ended, or was not ready in time, while it was being started."""


class Program:
    """A child process whose output goes to a file. Starting, stopping and killing may be repeated."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._printed_before = 0

    @property
    def log(self) -> str:
        """Everything the program has printed so far, over all its starts."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def log_file(self) -> Path:
        """The file of what it prints."""
        return self._log

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def said(self, words: str) -> bool:
        """Whether it has printed these words since its last start."""
        return words in self.log[self._printed_before :]

    def start(
        self,
        command: Sequence[str | Path],
        ready: Callable[[], bool],
        *,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        """Start and wait until `ready`; `user` to drop to when the tests run as root."""
        self._printed_before = len(self.log)
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 -- a program this test suite names
                [str(word) for word in command],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env={**os.environ, **(environment or {})},
                user=user,
            )
        try:
            until(lambda: ready() or not self.running, f"{self.name} to be ready")
        except AssertionError as late:
            self.kill()
            raise NotStartedError(f"{late}\n{self.log[-LOG_TAIL:]}") from late
        if not self.running:
            raise NotStartedError(f"{self.name} ended while starting:\n{self.log[-LOG_TAIL:]}")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """While the context lasts neither it nor what it has started works or answers; connections stay open."""
        self._signal_family(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal_family(signal.SIGCONT)

    def _signal_family(self, number: signal.Signals) -> None:
        process = self._child()
        process.send_signal(number)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in map(int, children):
            with suppress(ProcessLookupError):
                os.kill(child, number)

    @property
    def resident_bytes(self) -> int:
        """Memory it has in use, as Linux tells."""
        status = Path(f"/proc/{self._child().pid}/status").read_text()
        kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(kilobytes) * 1024

    @property
    def processor_seconds(self) -> float:
        """Processor time it has used since its start, as Linux tells."""
        fields = Path(f"/proc/{self._child().pid}/stat").read_text().rpartition(")")[2].split()
        user, system = int(fields[11]), int(fields[12])  # 14 and 15 of proc(5), which counts from the name's front
        return (user + system) / os.sysconf("SC_CLK_TCK")

    def _child(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.name} has not been started"
        return self._process

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, without waiting for what it does."""
        self._child().send_signal(number)

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int | None:
        """Ask it to end and wait until it has; answer its exit code, `None` if it was not running."""
        if self._process is None:
            return None
        self._process.send_signal(by)
        try:
            return self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"{self.name} did not end within {STOP_TIMEOUT:.0f} s:\n{self.log[-LOG_TAIL:]}"
            ) from None

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
