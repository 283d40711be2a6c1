"""Simulated traffic as a plan: every call of it follows from the plan and the call's index in it."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

from service.simulator.call import ONCE, Delivery, SimulatedCall, dial
from service.simulator.faults import NO_FAULTS, CallFaults
from service.simulator.script_writer import add_trouble, write_script
from service.simulator.shares import USUAL, Shares
from service.simulator.tenants import unassigned_number

_REPEATED_DELIVERIES = (Delivery(twins=1), Delivery(twins=2), Delivery(echoes=1), Delivery(reissues=1))


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan of traffic. Two runs of one plan differ in their ids only."""

    run_id: str
    """Tells this run's call ids from those of any other run against the same gateway."""
    seed: int = 1
    calls_per_second: float = 5.0
    """Calls begin at this rate on average, however long others take (an open loop with random gaps)."""
    calls: int | None = None
    """The run ends after so many calls; without it and ``seconds`` it ends when it is stopped."""
    seconds: float | None = None
    """The run begins no call after so many real seconds."""
    max_running: int = 2_000
    """A call that would be one more at a time is not placed."""
    shares: Shares = USUAL
    faults: tuple[tuple[float, CallFaults], ...] = ()
    """Shares of calls with what goes wrong in them."""

    def __post_init__(self) -> None:
        if self.calls_per_second <= 0:
            raise ValueError(f"calls per second must be more than 0, got {self.calls_per_second}")
        if self.max_running < 1:
            raise ValueError(f"calls at a time must be at least 1, got {self.max_running}")
        if sum(share for share, _ in self.faults) > 1:
            raise ValueError("shares of faulty calls together must not exceed 1")

    def indices(self) -> Iterable[int]:
        """Return the places of the plan's calls, from 0."""
        return count() if self.calls is None else range(self.calls)

    def gap(self, index: int) -> float:
        """Return the seconds between the beginnings of the call before and this one."""
        return self._rng("gap", index).expovariate(self.calls_per_second)

    def call(self, index: int, numbers: Sequence[str]) -> SimulatedCall:
        """Return one call of the plan to one of the numbers, or to nobody's."""
        rng = self._rng("call", index)
        unknown = not numbers or rng.random() < self.shares.unknown
        number = unassigned_number(rng) if unknown else rng.choice(numbers)
        script = write_script(self.shares, rng)
        script, faults = add_trouble(script, self._faults(rng), self.shares, self._rng("trouble", index))
        return dial(
            number,
            script,
            rng=rng,
            call_id=self._call_id(index),
            faults=faults,
            delivery=self._delivery(rng),
        )

    def _call_id(self, index: int) -> str:
        return "rtc_u1_" + hashlib.sha256(f"{self.run_id}/{self.seed}/{index}".encode()).hexdigest()[:32]

    def _faults(self, rng: Random) -> CallFaults:
        drawn = rng.random()
        for share, faults in self.faults:
            drawn -= share
            if drawn < 0:
                return faults
        return NO_FAULTS

    def _delivery(self, rng: Random) -> Delivery:
        late, repeated, repeats = rng.random(), rng.random(), rng.choice(_REPEATED_DELIVERIES)
        if late < self.shares.late:
            return Delivery(late=True)
        return repeats if repeated < self.shares.duplicates else ONCE

    def _rng(self, purpose: str, index: int) -> Random:
        return Random(f"{self.seed}/{purpose}/{index}")  # noqa: S311 - reproducible traffic, not secrets
