"""Reading variables: what is not understood is warned of and ignored, what cannot work stops the start.

The specification ("Environment Variable Specification", Parsing) has unknown names and numbers that make no sense
ignored with a warning: see :meth:`Environment.read`. Endpoints, headers, TLS files and credential providers have no
default that could stand in for them; a bad one raises :class:`InvalidVariableError`, instead of showing weeks later. A
variable set to the empty string counts as unset.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from telemetry.export.signals import Signal

T = TypeVar("T")
D = TypeVar("D")

_logger = logging.getLogger(__name__)

OTLP_PREFIX = "OTEL_EXPORTER_OTLP_"
"""Prefix of the names of the exporters' variables."""


class InvalidVariableError(ValueError):
    """A variable's value cannot be used. The message names the variable and never repeats a secret value."""

    def __init__(self, variable: str, problem: str) -> None:
        super().__init__(f"{variable}: {problem}")
        self.variable = variable
        """The name of the variable to correct."""
        self.problem = problem
        """Fault of its value, in words."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable that is set, or the default that stands in for it."""

    name: str
    text: str

    def wrong(self, problem: str) -> InvalidVariableError:
        """Return the error to raise about this variable."""
        return InvalidVariableError(self.name, problem)

    def number(self, *, above: float = 0.0) -> float:
        """Return the value as a number greater than ``above``."""
        try:
            value = float(self.text)
        except ValueError:
            raise self.wrong(f"{self.text!r} is not a number") from None
        if not above < value < float("inf"):
            raise self.wrong(f"{self.text} is out of range, it must be finite and greater than {above:g}")
        return value

    def whole(self, *, at_least: int = 1) -> int:
        """Return the value as a whole number of ``at_least`` or more."""
        try:
            value = int(self.text)
        except ValueError:
            raise self.wrong(f"{self.text!r} is not a whole number") from None
        if value < at_least:
            raise self.wrong(f"{self.text} is too small, it must be at least {at_least}")
        return value

    def flag(self) -> bool:
        """Return true for ``true`` and false for ``false``, in any case."""
        return self.choice(("true", "false")) == "true"

    def choice(self, choices: Collection[str]) -> str:
        """Return the value in lower case, one of ``choices``."""
        value = self.text.lower()
        if value not in choices:
            raise self.wrong(f"{self.text!r} is not one of {', '.join(sorted(choices))}")
        return value

    def parts(self) -> tuple["Variable", ...]:
        """Return the values of a comma-separated list, each under the variable's name."""
        parts = (part.strip() for part in self.text.split(","))
        return tuple(Variable(self.name, part) for part in parts if part)

    def file(self) -> Path:
        """Return the path of a file that can be read now."""
        path = Path(self.text)
        try:
            with path.open("rb"):
                return path
        except OSError as error:
            raise self.wrong(f"cannot read {self.text}: {error.strerror or error}") from None


@dataclass(frozen=True, slots=True)
class Environment:
    """A set of variables, with empty ones left out."""

    variables: Mapping[str, str]
    _ignored: set[str] = field(default_factory=set, repr=False, compare=False)
    """Warnings given, for three signals may read the same variable."""

    def read(self, parse: Callable[[Variable], T], default: D, *names: str) -> T | D:
        """Return the first of ``names`` that ``parse`` understands, or the default.

        Each one set that it does not understand is warned of, once in one line, and counts as unset.
        """
        for name in names:
            variable = self.find(name)
            try:
                if variable:
                    return parse(variable)
            except InvalidVariableError as error:
                self.ignore(error)
        return default

    def ignore(self, error: InvalidVariableError) -> None:
        """Warn, once in one line, that a variable counts as unset."""
        if (text := str(error)) not in self._ignored:
            self._ignored.add(text)
            _logger.warning("%s; ignored", text)

    def find(self, *names: str) -> Variable | None:
        """Return the first of ``names`` that is set, so that a signal's own variable goes before the general one."""
        for name in names:
            if text := self.variables.get(name, "").strip():
                return Variable(name, text)
        return None

    def get(self, name: str, default: str) -> Variable:
        """Return the variable, or its default in the same form."""
        return self.find(name) or Variable(name, default)


def otlp(signal: Signal, suffix: str) -> tuple[str, str]:
    """Return the names of an exporter's variable for one signal and for all, in the order they count."""
    return f"{OTLP_PREFIX}{signal.upper()}_{suffix}", f"{OTLP_PREFIX}{suffix}"
