"""A state of the whole process that threads ask for, one beside another."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class Hold(ABC):
    """Begins with the first that wants it and ends with the last. Safe for threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._holders = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """As it is wanted, for as long as the context lasts."""
        with self._lock:
            self._holders += 1
            if self._holders == 1:
                self._begin()
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0:
                    self._end()

    @abstractmethod
    def _begin(self) -> None:
        """Bring the state about."""

    @abstractmethod
    def _end(self) -> None:
        """Restore what was."""
