"""Writes the scripts of simulated calls, drawn at random by given shares."""

import json
from dataclasses import dataclass, fields, replace
from random import Random

from service.simulator.faults import CallFaults, SidebandBreak
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
    RunsIntoLimit,
    ScriptedUsage,
    SendsUnusable,
    SessionExpires,
    SessionWarns,
    SidebandCloses,
    Step,
)

ENDINGS = ("hangups", "refers", "errors", "silent", "overlong", "mute")
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
    overlong: float = 0.0
    """Calls that go on until the gateway ends them for their length."""
    mute: float = 0.0
    """Calls in which nobody says anything more, until the gateway ends them for their silence."""
    unknown: float = 0.03
    """Calls to numbers no tenant has."""
    duplicates: float = 0.05
    """Calls whose webhook is delivered more than once."""
    late: float = 0.02
    """Calls whose webhook arrives when the caller has left."""
    canceled: float = 0.0
    """Calls whose caller gives up while the gateway decides."""
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
_RESPONSES = (
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
    "overlong": (RunsIntoLimit("max_duration"),),
    "mute": (RunsIntoLimit("silence"),),
    "": (AgentHangsUp(),),
}
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


def write_script(shares: Shares, rng: Random) -> CallScript:
    """Return one call's script."""
    kind = _kind(shares, rng)
    talk = _silence() if kind == "silent" else _turns(shares, rng)
    steps = (AgentGreets(_speech(GREETING, 0, rng)), Pause(1.0), *talk)
    return CallScript(kind or "agent_ends", steps, rng.choice(_ENDINGS[kind]))


def add_trouble(script: CallScript, faults: CallFaults, shares: Shares, rng: Random) -> tuple[CallScript, CallFaults]:
    """Return the same call with what a transport, a carrier and a trunk may do to it."""
    if rng.random() < shares.breaks:
        faults = replace(faults, breaks=(SidebandBreak(rng.randrange(3, 40), rng.choice(_BREAKS)),))
    if rng.random() < shares.unusable:
        index = rng.randrange(len(script.steps) + 1)
        script = replace(script, steps=(*script.steps[:index], rng.choice(_UNUSABLE), *script.steps[index:]))
    if isinstance(script.ending, AgentTransfers) and rng.random() < shares.ignored_refers:
        # The caller is still there and talks on, which is all a gateway can tell it by.
        more = [step for _ in range(3) for step in (CallerSpeaks("Hello?", 1.0), AgentSpeaks("I am still here."))]
        steps = (*script.steps, script.ending.as_tool_use(), *more)
        script, faults = replace(script, steps=steps, ending=CallerHangsUp()), replace(faults, refer_ignored=True)
    if rng.random() < shares.canceled:
        faults = replace(faults, canceled=True)
    return script, faults


def _kind(shares: Shares, rng: Random) -> str:
    drawn = rng.random()
    for kind in ENDINGS:
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
        return [*steps, _speech(rng.choice(_RESPONSES), number, rng, interrupted=True)]
    return [*steps, _speech(rng.choice(_RESPONSES), number, rng), Pause(round(rng.uniform(0.2, 1.5), 2))]


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
