"""Which webhook deliveries were seen: the carrier repeats one until it is answered, and sometimes after that."""

from collections import OrderedDict
from typing import Final

MAX_REMEMBERED: Final = 100_000
"""Ids kept. The carrier repeats for up to 72 hours; at this size a hundred calls a minute are remembered for 16."""


class SeenDeliveries:
    """Remembers the last deliveries by their id, the oldest forgotten first."""

    def __init__(self, max_remembered: int = MAX_REMEMBERED) -> None:
        self._max_remembered = max_remembered
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._forgotten = 0

    @property
    def forgotten(self) -> int:
        """Ids given up for room; a repetition of one would be taken as new, but for its call id."""
        return self._forgotten

    def __contains__(self, webhook_id: str) -> bool:
        """Whether the delivery was seen."""
        return webhook_id in self._seen

    def add(self, webhook_id: str) -> None:
        """Remember a delivery."""
        self._seen[webhook_id] = None
        if len(self._seen) > self._max_remembered:
            self._seen.popitem(last=False)
            self._forgotten += 1
