"""Rows of numbers as processes of different versions send them to each other.

A row is a list of integers, in the order of :data:`ROW`. In the store a number goes by its code, which never changes: a
process that does not know a code leaves it where it is, so that versions can be mixed while a deploy goes on.
"""

import json
from collections.abc import Mapping, Sequence
from operator import add, sub
from types import MappingProxyType
from typing import Final

from telemetry.metrics.live_table import BOUNDS, COUNTERS, Numbers, Selection

GAUGES: Final = ("active_calls", "pending_calls")

_NUMBERS: Final = (
    "active_calls",
    "pending_calls",
    "received_calls",
    "accepted_calls",
    "rejected_calls_capacity",
    "rejected_calls_tenant_not_configured",
    "rejected_calls_instructions_missing",
    "rejected_calls_carrier_error",
    "rejected_calls_tenant_lookup_failed",
    "unanswered_calls",
    "unanswered_calls_canceled",
    "unanswered_calls_busy",
    "unanswered_calls_no_answer",
    "unanswered_calls_declined",
    "unanswered_calls_unreachable",
    "instructions_db_errors",
    "fallback_instructions_used",
    "started_calls",
    "ended_calls",
    "failed_calls",
    "ended_calls_completed",
    "ended_calls_hangup",
    "ended_calls_referred",
    "ended_calls_error",
    "ended_calls_stale",
    "ended_calls_shutdown",
    "ended_calls_operator",
    "ended_calls_max_duration",
    "ended_calls_silence",
    "ended_calls_voicemail",
    "referred_calls",
    "taken_over_calls",
    "taken_over_calls_pending",
    "taken_over_calls_accepted",
    "taken_over_calls_started",
    "handed_over_calls_pending",
    "handed_over_calls_accepted",
    "handed_over_calls_started",
    "abandoned_calls",
    "minutes_processed",
    "interruptions",
    "agent_interruptions",
    "lifecycle_violations",
    "inferred_transitions",
)
# A number's code is its place here: append, and never move or remove one.

_DISTRIBUTIONS: Final = (
    "voice.call.duration",
    "voice.call.setup.duration",
    "voice.call.time_to_first_audio",
    "voice.turn.time_to_first_audio",
    "voice.conversation.dead_air",
    "voice.conversation.talk_over",
)
# Likewise; one whose bounds change is appended again, and its old place is left to nobody by an empty name.

_BLOCK: Final = 1000
_TOTAL: Final = _BLOCK - 1
# The codes of a distribution: a block of its own, the buckets from its beginning, the sum of all values at its end.

ROW: Final = Selection((*GAUGES, *COUNTERS), tuple(BOUNDS), totals=True)
"""The numbers of a row: call time and totals in milliseconds, all others as counted."""


def _codes() -> tuple[str, ...]:
    numbers = [_NUMBERS.index(name) for name in ROW.counters]
    blocks = [_BLOCK * (1 + _DISTRIBUTIONS.index(name)) for name in ROW.distributions]
    buckets = [
        block + bucket
        for block, name in zip(blocks, ROW.distributions, strict=True)
        for bucket in range(len(BOUNDS[name]) + 1)
    ]
    return tuple(map(str, (*numbers, *buckets, *(block + _TOTAL for block in blocks))))


CODES: Final = _codes()
"""The code of each place of a row."""
WIDTH: Final = len(CODES)
PLACE: Final[Mapping[str, int]] = MappingProxyType({code: place for place, code in enumerate(CODES)})
"""The place in a row of each code that this version knows."""
NUMBER: Final[Mapping[str, int]] = MappingProxyType({name: place for place, name in enumerate(ROW.counters)})
"""The place in a row of each number that is no part of a distribution."""

Row = list[int]
NO_ROW: Final = (0,) * WIDTH


def code_of(name: str) -> str:
    """Return the code of a number that is no part of a distribution."""
    return CODES[NUMBER[name]]


def written(row: Sequence[int]) -> str:
    """Return a row as the store keeps it: a JSON object of its numbers by code, without zeros."""
    return "{" + ",".join([f'"{code}":{number}' for code, number in zip(CODES, row, strict=True) if number]) + "}"


def read(text: str | None) -> Row:
    """Return the row that a text holds; zeros for None."""
    row = [0] * WIDTH
    if text:
        for code, number in json.loads(text).items():
            place = PLACE.get(code)
            if place is not None:
                row[place] = number
    return row


def amounts(row: Sequence[int]) -> Numbers:
    """Return the numbers of a row by name, as the live view has them: call time in minutes, the rest counts."""
    numbers: Numbers = dict(zip(ROW.counters, row, strict=False))
    numbers["minutes_processed"] = numbers["minutes_processed"] / 60_000
    return numbers


_RECEIVED, _ACCEPTED, _STARTED = (NUMBER[name] for name in ("received_calls", "accepted_calls", "started_calls"))
_HANDED_OVER: Final = tuple(NUMBER[f"handed_over_calls_{state}"] for state in ("pending", "accepted", "started"))


def without_handed_over(row: Row) -> Row:
    """Return a process's row without the calls that it left to others: whoever goes on with one counts it whole."""
    pending, accepted, started = (row[place] for place in _HANDED_OVER)
    row[_RECEIVED] -= pending + accepted + started
    row[_ACCEPTED] -= accepted + started
    row[_STARTED] -= started
    return row


def plus(one: Sequence[int], other: Sequence[int]) -> Row:
    """Return the sums."""
    return list(map(add, one, other))


def minus(one: Sequence[int], other: Sequence[int]) -> Row:
    """Return the differences."""
    return list(map(sub, one, other))
