"""What happens to a fleet, in the order in which the carrier saw it: the history that is judged."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class Kind(StrEnum):
    """The kinds of event."""

    INVOKE = "invoke"
    """A call is announced to a process."""
    OK = "ok"
    """The process let it in: from here on it runs at the carrier."""
    REFUSED = "refused"
    """The process turned it away."""
    END = "end"
    """A running call is over."""
    TAKEN = "taken"
    """A running call is another process's by now, and that one has told the store so."""
    MOVED = "moved"
    """A running call is on record another process's, which has yet to take it over."""
    BEAT = "beat"
    """A heartbeat of the process, sent at ``since``, was answered; the store holds what the process holds."""
    AWAY = "away"
    """The process found the store away."""
    START = "start"
    KILL = "kill"
    """``kill -9``: what was announced to the process and not decided never will be."""
    STOP = "stop"
    CONTINUE = "continue"
    """SIGSTOP and SIGCONT."""
    FAULT = "fault"
    """Something that takes nothing from the store: replies lost or late, nobody there."""
    LOSS = "loss"
    """The store lost something that it had acknowledged: emptied, or failed over."""


class By(StrEnum):
    """The ways in which a call was decided upon."""

    STORE = "store"
    SHARE = "share"
    """In the process, the store being away."""
    LIMIT = "limit"
    DOUBT = "doubt"


@dataclass(frozen=True, slots=True)
class Count:
    """Slots in use as a process saw them last, in total or of one tenant."""

    in_use: int
    own: int
    """Those of them that were the process's."""
    sent: float
    """The moment before which the store was not asked …"""
    answered: float
    """… and that at which it had answered."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The fleet as a process saw it last when it let a call in by its share."""

    total: Count
    tenant: Count
    living: int
    """Processes that lived."""
    rank: int
    """The place of this one among them, from 0."""
    sent: float
    answered: float
    """The moments between which these two were so."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event; the carrier's own record of what runs follows from those of its calls."""

    at: float
    """Seconds of a clock that all processes share."""
    kind: Kind
    process: str = ""
    call: str = ""
    tenant: str = ""
    by: str = ""
    since: float = 0.0
    """The moment at which a heartbeat was sent."""
    seen: Seen | None = None
    """What a share stood on."""


@dataclass(frozen=True, slots=True)
class Final:
    """The end, once all was well again, no call ran and every process had sent a heartbeat."""

    places: dict[str, str]
    """Calls with slots in the store, each with its holder."""
    counted: int
    """The slots in use as the counters of processes and tenants have them; ``places`` and both are to agree."""
    let_in: int
    """Calls let in of more than the limit allows, all announced then."""
    held: int = 0
    """Slots that the living processes believed they held."""


def write(file: Path, events: Iterable[Event]) -> None:
    """Write a history, an event a line."""
    file.write_text("".join(json.dumps(asdict(event)) + "\n" for event in events), encoding="utf-8")


def read(file: Path) -> list[Event]:
    """Return a history that was written."""
    return [_event(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def _event(line: Mapping[str, Any]) -> Event:
    return Event(**{**line, "kind": Kind(line["kind"]), "seen": seen_of(line["seen"]) if line["seen"] else None})


def seen_of(told: Mapping[str, Any]) -> Seen:
    """Return what a process has told that it saw."""
    return Seen(**{**told, "total": Count(**told["total"]), "tenant": Count(**told["tenant"])})
