"""The steps that windows are made of, and the levels of coarseness they pass through."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from telemetry import vector
from telemetry.vector import Vector

SAMPLE_SECONDS: Final = 60.0
"""How often to sample: a window's edge is exact to half of its own step, and the shortest window's step is this."""


@dataclass(slots=True)
class Step:
    """What was added in a stretch of time, by tenant; only those that changed."""

    start: float
    end: float
    added: dict[str, bytes] = field(default_factory=dict)
    """See :func:`telemetry.vector.pack`."""
    peaks: dict[str, int] = field(default_factory=dict)
    """The most slots held at once."""

    def absorb(self, later: "Step") -> None:
        """Become one step with the next."""
        self.end = later.end
        for tenant_id, packed in later.added.items():
            self.added[tenant_id] = vector.together(self.added.get(tenant_id, b""), packed)
        for tenant_id, peak in later.peaks.items():
            self.peaks[tenant_id] = max(peak, self.peaks.get(tenant_id, 0))


class Level:
    """Steps of about one length, back to some age, and the sum of each tenant's differences in them."""

    def __init__(self, step_seconds: float, until_seconds: float) -> None:
        self._step_seconds = step_seconds
        self._until_seconds = until_seconds
        self.steps: deque[Step] = deque()
        self.sums: dict[str, Vector] = {}

    def take(self, step: Step) -> None:
        """Append a step, as part of the last one if both together are no longer than a step here."""
        for tenant_id, packed in step.added.items():
            vector.add(self.sums.setdefault(tenant_id, vector.zeros()), packed)
        # Samples are a little late, never early: half a sample more is the same step.
        if self.steps and step.end - self.steps[-1].start <= self._step_seconds + SAMPLE_SECONDS / 2:
            self.steps[-1].absorb(step)
        else:
            self.steps.append(step)

    def leaving(self, now: float) -> list[Step]:
        """Take out the steps that lie mostly beyond this level's reach."""
        gone = []
        while self.steps and now - (self.steps[0].start + self.steps[0].end) / 2 > self._until_seconds:
            gone.append(self.steps.popleft())
        for step in gone:
            for tenant_id, packed in step.added.items():
                vector.add(self.sums[tenant_id], packed, -1)
        if gone:
            busy = {tenant_id for step in self.steps for tenant_id in step.added}
            self.sums = {tenant_id: sums for tenant_id, sums in self.sums.items() if tenant_id in busy}
        return gone

    def peak(self, tenant_id: str) -> int:
        """The highest of the steps' peaks."""
        return max((step.peaks.get(tenant_id, 0) for step in self.steps), default=0)
