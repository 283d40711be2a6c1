"""The calls of a whole fleet: each process tells its own, and records stand in for those that do not answer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from service.api.call_search import CallSearchEntry
from service.api.elsewhere import (
    Coverage,
    FoundCalls,
    HangUpAnswer,
    HangUpOutcome,
    OpenCall,
    OpenCalls,
    ToldCall,
)
from service.fleet.errors import StoreAwayError
from service.fleet.fleet import Fleet
from service.fleet.mail import Mailbox, Silence
from service.fleet.store import instance_of
from service.records.record import StoredCall
from service.records.store import CallPages, Place, Wanted
from service.storage.database import DATABASE_ERRORS
from service.timeline.detail import CallDetail
from service.timeline.past import remembered
from telemetry.calls.lifecycle import CallState
from telemetry.clock import Clock
from telemetry.recent.search import ANY_STATE, CallQuery, Reception

_logger = logging.getLogger(__name__)

SEEN_SECONDS: Final = 1.0
"""Seconds for which the processes of the fleet stand as they were seen."""

MAX_OPEN: Final = 5_000
"""The most open calls that one process tells of at once; the number of those left out is told too."""

HANG_UP_SECONDS: Final = 8.0
"""Seconds a forwarded hang-up may take: the carrier's time, and some more."""

CALLS: Final = "calls"
SEARCH: Final = "search"
CALL: Final = "call"
HANG_UP: Final = "hang_up"

_NOT_ON_RECORD: Final = (
    "slower_than",
    "failed_tool",
    "interrupted",
    "talked_over",
    "silent_longer_than",
    "flag",
)
# Conditions that a record cannot tell of.

_QUERY: Final = TypeAdapter(CallQuery)

T = TypeVar("T", bound=BaseModel)


class _Letter(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Open(_Letter):
    calls: tuple[OpenCall, ...]
    omitted: int


class _Search(_Letter):
    query: CallQuery
    limit: int
    before: Reception | None


class _Found(_Letter):
    calls: tuple[tuple[Reception, CallSearchEntry], ...]


class _Told(_Letter):
    call: CallDetail | None


class _Hanging(_Letter):
    call_id: str


@dataclass(frozen=True, slots=True)
class OwnCalls:
    """The answers of this process about its own calls."""

    open_calls: Callable[[], Sequence[OpenCall]]
    left: Callable[[], Sequence[StoredCall]]
    """Records of calls that it has taken over and does not run yet."""
    search: Callable[[CallQuery, int, Reception | None], Sequence[tuple[Reception, CallSearchEntry]]]
    call: Callable[[Mapping[str, str]], CallDetail | None]
    hang_up: Callable[[str], Awaitable[HangUpAnswer]]


@dataclass(frozen=True, slots=True)
class _Others:
    """The other processes, by their ids."""

    living: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    """Those that are gone while slots of theirs wait to be taken over."""
    unseen: int = 0
    """Processes that the last heartbeat counted beside these, and that could not be seen yet."""


@dataclass(slots=True)
class _Asked:
    """The answers of the others, read."""

    began: float
    answers: dict[str, Any] = field(default_factory=dict)
    silent: list[str] = field(default_factory=list)
    unseen: int = 0
    """Processes that could not be asked, as their ids are not known."""


class FleetCalls:
    """Calls of this fleet's other processes; see :class:`service.api.elsewhere.CallsElsewhere`.

    Args:
        fleet: this process among the others.
        mailbox: asks them.
        own: what they are told of this process's calls.
        pages: the records of calls.
        clock: the source of time.
    """

    def __init__(self, fleet: Fleet, mailbox: Mailbox, own: OwnCalls, pages: CallPages, clock: Clock) -> None:
        self._fleet = fleet
        self._mailbox = mailbox
        self._own = own
        self._pages = pages
        self._clock = clock
        self._seen = _Others()
        self._seen_at = float("-inf")
        mailbox.answer(CALLS, self._tell_open)
        mailbox.answer(SEARCH, self._tell_found)
        mailbox.answer(CALL, self._tell_call)
        mailbox.answer(HANG_UP, self._tell_hang_up)

    @property
    def instance_id(self) -> str:
        """The id of this process."""
        return self._mailbox.instance_id

    def own(self) -> Sequence[OpenCall]:
        """Return the open calls of this process, those included that it has taken over and does not run yet."""
        left = [self._from_record(row) for row in self._own.left()]
        calls = self._own.open_calls()
        known = {call.call_id for call in calls}
        return [*calls, *(call for call in left if call.call_id not in known)]

    # Asking -----------------------------------------------------------------------------------------------------------

    async def open_calls(self) -> OpenCalls:
        """Return every open call of the others, and of those that do not answer what is on record."""
        others = await self._others()
        # Before anybody is asked: what is taken over meanwhile is told by its record then, or by its new process.
        rows = await self._on_record((self.instance_id, *others.living)) if self._incomplete(others) else ()
        asked = await self._ask_all(CALLS, {}, _Open)
        if rows is not None and set(asked.silent) & set(others.living):
            rows = await self._on_record((self.instance_id, *asked.answers))
        told: dict[str, OpenCall] = {}
        for letter in asked.answers.values():
            told |= {call.call_id: call for call in letter.calls}
        omitted = sum(letter.omitted for letter in asked.answers.values())
        recorded = None if rows is None else [row for row in rows[:MAX_OPEN] if row.call_id not in told]
        told |= {row.call_id: self._from_record(row) for row in recorded or ()}
        omitted += max(0, len(rows or ()) - MAX_OPEN)
        return OpenCalls(
            tuple(told.values()), self._coverage(asked, None if recorded is None else len(recorded), omitted)
        )

    async def search(self, query: CallQuery, limit: int, before: Reception | None) -> FoundCalls:
        """Return the latest calls of each of the others that match, and of those that do not answer from record."""
        body = {"query": _QUERY.dump_python(query, mode="json"), "limit": limit, "before": before}
        asked = await self._ask_all(SEARCH, body, _Found)
        told = [found for letter in asked.answers.values() for found in letter.calls]
        recorded = await self._found_on_record(asked, query, limit, before)
        return FoundCalls(told, recorded or (), self._coverage(asked, None if recorded is None else len(recorded)))

    async def call(self, question: Mapping[str, str], holder: str | None) -> ToldCall:
        """Return one call from its holder, or, if nobody knows who that is, from whoever has it."""
        if holder == self.instance_id:
            return ToldCall(None)
        asked = await self._ask_all(CALL, dict(question), _Told, holder)
        told = {sender: letter.call for sender, letter in asked.answers.items() if letter.call is not None}
        # Of two that have it one has handed it over.
        for sender in sorted(told, key=lambda name: told[name].state is CallState.HANDED_OVER):
            return ToldCall(told[sender], sender, asked.silent, self._now() - asked.began)
        return ToldCall(None, None, asked.silent, self._now() - asked.began)

    async def hang_up(self, call_id: str, holder: str) -> HangUpAnswer:
        """Have the process that holds the call hang up, which checks its claim as ever."""
        others = await self._others()
        if holder not in others.living and not others.unseen:
            return HangUpAnswer(HangUpOutcome.GONE)
        replies = await self._mailbox.ask_once(HANG_UP, {"call_id": call_id}, holder, HANG_UP_SECONDS)
        if replies.silent.get(holder) in (Silence.AWAY, Silence.FULL):
            return HangUpAnswer(HangUpOutcome.GONE)
        answer = replies.answers.get(holder) or {}
        try:
            return HangUpAnswer(HangUpOutcome(answer["outcome"]), answer.get("error_type"))
        except (KeyError, ValueError):
            return HangUpAnswer(HangUpOutcome.SILENT)

    async def told_by_all(
        self, name: str, letter: type[T], question: Mapping[str, object] = MappingProxyType({})
    ) -> tuple[Sequence[T], Coverage]:
        """Return what every other process answers to a question of this name, and which did not."""
        asked = await self._ask_all(name, dict(question), letter)
        return tuple(asked.answers.values()), self._coverage(asked, None)

    async def _ask_all(self, name: str, body: object, letter: type[BaseModel], holder: str | None = None) -> _Asked:
        """Ask every other process, or the one, and read what they answer."""
        others = await self._others()
        asked = _Asked(self._now(), unseen=others.unseen)
        known = (*others.living, *others.gone)
        if holder is not None:
            # One that is long gone is not missed: its record is all there is of its calls.
            known = (holder,) if holder in known or others.unseen or self._fleet.member.away else ()
        living = [process for process in known if process not in others.gone]
        if self._fleet.member.away:
            asked.silent = list(known)
            return asked
        replies = await self._mailbox.ask(name, body, living)
        asked.answers = await asyncio.to_thread(_read, letter, replies.answers)
        asked.silent = [process for process in known if process not in asked.answers]
        return asked

    async def _others(self) -> _Others:
        """Return the other processes as they were seen a moment ago, or last, while the store is away or slow."""
        if self._now() - self._seen_at < SEEN_SECONDS:
            return self._seen
        if self._fleet.member.away:
            return self._last_seen()
        try:
            async with asyncio.timeout(self._mailbox.answer_seconds):
                view = await self._fleet.view()
        except (StoreAwayError, TimeoutError):
            return self._last_seen()
        own = self.instance_id
        living = {instance_of(process.holder) for process in view.processes if process.beat_age_seconds is not None}
        gone = {instance_of(process.holder) for process in view.processes} - living - {own}
        forgotten = own not in living or self._fleet.member.settling
        if forgotten:
            # An emptied store names those that have come back to it; the others run their calls all the same.
            living |= set(self._seen.living) - gone
        self._seen, self._seen_at = _Others(tuple(sorted(living - {own})), tuple(sorted(gone))), self._now()
        if forgotten:
            self._seen = self._last_seen()
        return self._seen

    def _last_seen(self) -> _Others:
        """Return the others as they were seen last, and how many more there were at the last heartbeat."""
        return replace(self._seen, unseen=max(0, self._fleet.member.seen.living - 1 - len(self._seen.living)))

    def _coverage(self, asked: _Asked, from_record: int | None, omitted: int = 0) -> Coverage:
        answered = 1 + len(asked.answers)
        return Coverage(
            answered,
            answered + len(asked.silent) + asked.unseen,
            asked.silent,
            self._now() - asked.began,
            from_record,
            omitted,
        )

    def _now(self) -> float:
        return self._clock.now().monotonic

    # Records ----------------------------------------------------------------------------------------------------------

    def _incomplete(self, others: _Others) -> bool:
        """Return true if there are calls that no process tells of: of one that is gone, or that this one cannot see."""
        return bool(others.gone or others.unseen) or self._fleet.member.away

    async def _on_record(self, but_of: Sequence[str]) -> Sequence[StoredCall] | None:
        """Return the open calls on record of other processes than these; None if the records cannot be read."""
        try:
            return await self._pages.open_but_of(but_of, MAX_OPEN + 1)
        except DATABASE_ERRORS as error:
            _logger.warning("the calls of silent processes cannot be read: %s", type(error).__name__)
            return None

    async def _found_on_record(
        self, asked: _Asked, query: CallQuery, limit: int, before: Reception | None
    ) -> Sequence[StoredCall] | None:
        if not asked.silent and not asked.unseen:
            return ()
        if asked.unseen or any(getattr(query, name) is not None for name in _NOT_ON_RECORD):
            return None
        try:
            page = await self._pages.read(_wanted(query, asked.silent), limit=limit, after=_after(before))
        except DATABASE_ERRORS as error:
            _logger.warning("the calls of silent processes cannot be read: %s", type(error).__name__)
            return None
        return page.calls

    def _from_record(self, row: StoredCall) -> OpenCall:
        """Return an open call as its record stood when it was written last; ages are by the wall clocks."""
        call, now_ms = remembered(row).summary, self._clock.now().unix_ms
        return OpenCall(
            call_id=row.call_id,
            tenant_id=row.tenant_id,
            state=row.state,
            ending=call.ending,
            received_us=row.received_ms * 1_000,
            started_us=None if row.started_ms is None else row.started_ms * 1_000,
            age_seconds=max(0.0, (now_ms - row.received_ms) / 1000),
            duration_seconds=0.0 if row.started_ms is None else row.billed_ms / 1000,
            last_seen_seconds=max(0.0, (now_ms - row.last_seen_ms) / 1000),
            trace_id=row.trace_id,
        )

    # Answering --------------------------------------------------------------------------------------------------------

    async def _tell_open(self, _body: object) -> object:
        def told() -> dict[str, object]:
            calls = self.own()
            rows = [call.model_dump(mode="json") for call in calls[:MAX_OPEN]]
            return {"calls": rows, "omitted": max(0, len(calls) - MAX_OPEN)}

        return await asyncio.to_thread(told)

    async def _tell_found(self, body: object) -> object:
        wanted = _Search.model_validate(body)

        def told() -> dict[str, object]:
            found = self._own.search(wanted.query, wanted.limit, wanted.before)
            return {"calls": [(place, call.model_dump(mode="json")) for place, call in found]}

        return await asyncio.to_thread(told)

    async def _tell_call(self, body: object) -> object:
        question = TypeAdapter(dict[str, str]).validate_python(body)

        def told() -> dict[str, object]:
            call = self._own.call(question)
            return {"call": None if call is None else call.model_dump(mode="json")}

        return await asyncio.to_thread(told)

    async def _tell_hang_up(self, body: object) -> object:
        answer = await self._own.hang_up(_Hanging.model_validate(body).call_id)
        return {"outcome": answer.outcome.value, "error_type": answer.error_type}


def _read(letter: type[BaseModel], answers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answers that this version can read; of another version one may be what it does not know."""
    read: dict[str, Any] = {}
    for sender, body in answers.items():
        try:
            read[sender] = letter.model_validate(body)
        except ValidationError as error:
            _logger.warning("the answer of process %s cannot be read: %d faults", sender, error.error_count())
    return read


def _wanted(query: CallQuery, held_by: Iterable[str]) -> Wanted:
    return Wanted(
        tenant_id=query.tenant_id,
        outcome=query.outcome,
        reason=query.reason,
        fault=query.fault,
        direction=query.direction,
        source=query.source,
        since_ms=None if query.since is None else round(query.since * 1000),
        until_ms=None if query.until is None else round(query.until * 1000),
        caller_ends_with=query.caller_ends_with,
        caller_hash=query.caller_hash,
        error_type=query.error_type,
        states=None if query.states == ANY_STATE else query.states,
        held_by=frozenset(held_by),
    )


def _after(before: Reception | None) -> Place | None:
    """Return the same place among records, which know milliseconds."""
    if before is None:
        return None
    milliseconds, rest = divmod(before.unix_micros, 1_000)
    return Place(milliseconds + 1, "") if rest else Place(milliseconds, before.call_id)
