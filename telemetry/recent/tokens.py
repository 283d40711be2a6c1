"""The sums of a call's token usage."""

from dataclasses import fields
from typing import Final

from telemetry.calls.events import TokensUsed, TokenUsage
from telemetry.recent.record import Tokens

_KINDS: Final = tuple(field.name for field in fields(TokenUsage))
_MODELS: Final = 4
# A call has one model; a second one may take over. Names past a few are not kept.


class TokenCounter:
    """Adds up token usage, kind by kind."""

    __slots__ = ("_models", "_partial", "_responses", "_sums")

    def __init__(self) -> None:
        self._responses = 0
        self._sums: dict[str, int] = {}
        self._partial: set[str] = set()
        self._models: tuple[str, ...] = ()

    def add(self, event: TokensUsed) -> None:
        """Add one response."""
        for kind in _KINDS:
            self._add(kind, getattr(event.usage, kind))
        self._responses += 1
        if event.model not in self._models and len(self._models) < _MODELS:
            self._models = (*self._models, event.model)

    def total(self) -> Tokens:
        """Return the sums so far."""
        partial = tuple(kind for kind in _KINDS if kind in self._partial)
        return Tokens(TokenUsage(**self._sums), self._responses, partial, self._models)

    def _add(self, kind: str, count: int | None) -> None:
        known = kind in self._sums
        if count is not None:
            self._sums[kind] = self._sums.get(kind, 0) + count
        if (count is None and known) or (count is not None and not known and self._responses):
            self._partial.add(kind)
