"""Simulated traffic as a plan: every call of it follows from the plan and the call's place in it."""

import asyncio
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import count
from random import Random

from service.simulator.call import ONCE, Delivery, SimulatedCall, dial
from service.simulator.faults import NO_FAULTS, CallFaults, SidebandBreak
from service.simulator.script import (
    AgentGreets,
    AgentHangsUp,
    AgentSpeaks,
    AgentTransfers,
    AgentUsesTool,
    CallerHangsUp,
    CallerPressesKey,
    CallerSpeaks,
    CallerStaysSilent,
    CallScript,
    Ending,
    Pause,
    ResponseFails,
    ScriptedUsage,
    SendsUnusable,
    SessionExpires,
    SessionWarns,
    SidebandCloses,
    Step,
)
from service.simulator.tenants import unassigned_number

ENDINGS = ("hangups", "refers", "errors", "silent")
"""The shares of which each call gets at most one."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares from 0 to 1. Calls that none of the endings takes are ended by the agent."""

    hangups: float = 0.35
    """Calls the caller ends."""
    refers: float = 0.1
    """Calls handed to another destination."""
    errors: float = 0.03
    """Calls that end with a session that expires or a sideband that crashes."""
    silent: float = 0.05
    """Calls in which nobody speaks to the agent."""
    unknown: float = 0.03
    """Calls to numbers no tenant has."""
    duplicates: float = 0.05
    """Calls whose webhook is delivered more than once."""
    late: float = 0.02
    """Calls whose webhook arrives when the caller has left."""
    interruptions: float = 0.2
    """Answers the caller talks over."""
    tools: float = 0.2
    """Answers for which the model calls a function."""
    keys: float = 0.05
    """Turns in which the caller presses a key."""
    failures: float = 0.03
    """Answers that fail at first."""
    warnings: float = 0.02
    """Turns with an error that ends nothing."""
    breaks: float = 0.0
    """Calls whose sideband breaks once while they go on."""
    unusable: float = 0.0
    """Calls in which the carrier sends messages that no gateway can use."""
    ignored_refers: float = 0.0
    """Of the calls that are to be handed over, those of which the refer is taken and nothing comes of it."""

    def __post_init__(self) -> None:
        for share in fields(self):
            value = getattr(self, share.name)
            if not 0 <= value <= 1:
                raise ValueError(f"share {share.name!r} must be from 0 to 1, got {value}")
        together = sum(getattr(self, name) for name in ENDINGS)
        if together > 1:
            raise ValueError(f"shares {', '.join(ENDINGS)} together must not exceed 1, got {together:g}")


USUAL = Shares()
"""A day like any other."""
MAX_TURNS = 5
"""The longest conversation has so many turns."""
GREETING = "Good day, how can I help you?"
_QUESTIONS = (
    "Hello, I would like to know where my order is.",
    "Could you move my appointment to Thursday?",
    "What are your opening hours at the weekend?",
    "I think I was charged twice last month.",
    "No, that is not what I meant.",
)
_ANSWERS = (
    "Of course, let me see what I can find for you.",
    "You are booked for Thursday at ten in the morning.",
    "We are open from nine to five, on Saturdays until noon.",
    "I see one charge only, and it was paid on the third.",
    "I am sorry about that. Would you tell me once more?",
)
_TOOLS: tuple[tuple[str, dict[str, str]], ...] = (
    ("current_time", {}),
    ("current_time", {}),
    ("look_up_order", {"order": "10023"}),
)
_TARGETS = ("sales", "support")
_ENDINGS: dict[str, tuple[Ending, ...]] = {
    "hangups": (CallerHangsUp(),),
    "refers": tuple(AgentTransfers(target) for target in _TARGETS),
    "errors": (SessionExpires(), SidebandCloses(1011)),
    "silent": (CallerHangsUp(),),
    "": (AgentHangsUp(),),
}


def write_script(shares: Shares, rng: Random) -> CallScript:
    """One call's script."""
    kind = _kind(shares, rng)
    talk = _silence() if kind == "silent" else _turns(shares, rng)
    steps = (AgentGreets(_speech(GREETING, 0, rng)), Pause(1.0), *talk)
    return CallScript(kind or "agent_ends", steps, rng.choice(_ENDINGS[kind]))


def _kind(shares: Shares, rng: Random) -> str:
    drawn = rng.random()
    for kind in ("hangups", "refers", "errors", "silent"):
        drawn -= getattr(shares, kind)
        if drawn < 0:
            return kind
    return ""


def _silence() -> tuple[Step, ...]:
    there = AgentSpeaks("Are you still there?", speak_seconds=1.2)
    return (CallerStaysSilent(6.0), there, CallerStaysSilent(6.0), Pause(1.0))


def _turns(shares: Shares, rng: Random) -> tuple[Step, ...]:
    count = rng.randint(1, MAX_TURNS)
    turns = [_turn(shares, number, rng, last=number == count) for number in range(1, count + 1)]
    return tuple(step for turn in turns for step in turn)


def _turn(shares: Shares, number: int, rng: Random, *, last: bool) -> list[Step]:
    """Return a turn: the caller speaks and is answered; a call's last answer is heard to its end."""
    question = CallerSpeaks(rng.choice(_QUESTIONS), round(rng.uniform(1.0, 4.0), 2))
    steps: list[Step] = [question]
    if rng.random() < shares.failures:
        steps += [ResponseFails(), question]
    if rng.random() < shares.keys:
        steps.append(CallerPressesKey(rng.choice("0123456789*#")))
    if rng.random() < shares.warnings:
        steps.append(SessionWarns())
    if rng.random() < shares.tools:
        name, arguments = rng.choice(_TOOLS)
        steps.append(AgentUsesTool(name, json.dumps(arguments), usage=_usage(number, rng, audible=False)))
    if rng.random() < shares.interruptions and not last:
        return [*steps, _speech(rng.choice(_ANSWERS), number, rng, interrupted=True)]
    return [*steps, _speech(rng.choice(_ANSWERS), number, rng), Pause(round(rng.uniform(0.2, 1.5), 2))]


def _speech(text: str, turn: int, rng: Random, *, interrupted: bool = False) -> AgentSpeaks:
    seconds = round(rng.uniform(1.5, 6.0), 2)
    return AgentSpeaks(
        text,
        think_seconds=round(rng.lognormvariate(-0.8, 0.4), 2),
        generate_seconds=round(seconds * 0.4, 2),
        speak_seconds=seconds,
        cut_after=round(rng.uniform(0.2, 0.8) * seconds, 2) if interrupted else None,
        usage=_usage(turn, rng, audible=True),
    )


def _usage(turn: int, rng: Random, *, audible: bool) -> ScriptedUsage:
    """Return a turn's tokens: the context grows with every turn, and most of it comes from the cache."""
    text, audio = 120 + 35 * turn + rng.randrange(20), 45 * turn + rng.randrange(20)
    return ScriptedUsage(
        input_text=text,
        input_audio=audio,
        cached_text=text // 64 * 64,
        cached_audio=audio // 64 * 64,
        output_text=15 + rng.randrange(30),
        output_audio=60 + rng.randrange(90) if audible else 0,
    )


_UNUSABLE = (
    SendsUnusable("not JSON"),
    SendsUnusable("[]"),
    SendsUnusable(b"\x00\xfe"),
    SendsUnusable(b'{"type": "error\xff"}', as_text=True),
    SendsUnusable('{"type": "response.done"}'),
    SendsUnusable('{"type": "response.done", "response": {"usage": {"input_tokens": 1e309}}}'),
)
_BREAKS = (None, 1001)
"""Close codes of breaks that say nothing of an error: a call that ends in the gap has not failed."""


def _troubled(script: CallScript, faults: CallFaults, shares: Shares, rng: Random) -> tuple[CallScript, CallFaults]:
    """Return the same call with what a transport, a carrier and a trunk may do to it."""
    if rng.random() < shares.breaks:
        faults = replace(faults, breaks=(SidebandBreak(rng.randrange(3, 40), rng.choice(_BREAKS)),))
    if rng.random() < shares.unusable:
        place = rng.randrange(len(script.steps) + 1)
        script = replace(script, steps=(*script.steps[:place], rng.choice(_UNUSABLE), *script.steps[place:]))
    if isinstance(script.ending, AgentTransfers) and rng.random() < shares.ignored_refers:
        # The caller is still there and talks on, which is all a gateway can tell it by.
        more = [step for _ in range(3) for step in (CallerSpeaks("Hello?", 1.0), AgentSpeaks("I am still here."))]
        steps = (*script.steps, script.ending.as_tool_use(), *more)
        script, faults = replace(script, steps=steps, ending=CallerHangsUp()), replace(faults, refer_ignored=True)
    return script, faults


_REPEATS = (Delivery(twins=1), Delivery(twins=2), Delivery(echoes=1), Delivery(reissues=1))


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

    def places(self) -> Iterable[int]:
        """Return the places of the plan's calls, from 0."""
        return count() if self.calls is None else range(self.calls)

    def gap(self, place: int) -> float:
        """Return the seconds between the beginnings of the call before and this one."""
        return self._rng("gap", place).expovariate(self.calls_per_second)

    def call(self, place: int, numbers: Sequence[str]) -> SimulatedCall:
        """One call of the plan to one of the numbers, or to nobody's."""
        rng = self._rng("call", place)
        unknown = not numbers or rng.random() < self.shares.unknown
        number = unassigned_number(rng) if unknown else rng.choice(numbers)
        script = write_script(self.shares, rng)
        script, faults = _troubled(script, self._faults(rng), self.shares, self._rng("trouble", place))
        return dial(
            number,
            script,
            rng=rng,
            call_id=self._call_id(place),
            faults=faults,
            delivery=self._delivery(rng),
        )

    def _call_id(self, place: int) -> str:
        return "rtc_u1_" + hashlib.sha256(f"{self.run_id}/{self.seed}/{place}".encode()).hexdigest()[:32]

    def _faults(self, rng: Random) -> CallFaults:
        drawn = rng.random()
        for share, faults in self.faults:
            drawn -= share
            if drawn < 0:
                return faults
        return NO_FAULTS

    def _delivery(self, rng: Random) -> Delivery:
        late, repeated, repeats = rng.random(), rng.random(), rng.choice(_REPEATS)
        if late < self.shares.late:
            return Delivery(late=True)
        return repeats if repeated < self.shares.duplicates else ONCE

    def _rng(self, purpose: str, place: int) -> Random:
        return Random(f"{self.seed}/{purpose}/{place}")  # noqa: S311 - reproducible traffic, not secrets


@dataclass(frozen=True, slots=True)
class TimeScale:
    """The pace at which scripted time passes."""

    scale: float = 1.0
    """Real seconds a natural second takes."""
    patience: float = 10.0
    """Real seconds a caller waits for a gateway that owes something, whatever the scale, before hanging up."""
    greeting: float = 0.5
    """Real seconds within which a gateway that greets has certainly asked for its greeting."""

    def __post_init__(self) -> None:
        if self.scale < 0:
            raise ValueError(f"time scale must not be negative, got {self.scale}")

    async def pause(self, seconds: float, *, at_least: float = 0.0) -> None:
        """Let natural seconds pass, and no fewer real ones than ``at_least``."""
        await asyncio.sleep(max(seconds * self.scale, at_least))


NATURAL = TimeScale()
"""As long as people talk."""
