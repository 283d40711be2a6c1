"""Questions between the processes of a fleet, through its store: nobody has to reach another's port.

Each process has one inbox, a list in the store from which it alone takes. A question goes into the inboxes of those it
is for, and each of them puts its answer into the inbox of the one that asked. What is too old, too large or too much is
left out and counted, and the one that asked is told; an answer that does not come in time is one that did not come.
"""

import asyncio
import json
import logging
import secrets
import zlib
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from service.fleet.errors import StoreAwayError
from service.fleet.scripts import Script
from service.fleet.store import Scripts

_logger = logging.getLogger(__name__)

LISTEN_SECONDS: Final = 2.0
"""Seconds for which the store is asked at a time whether a letter has come."""

ANSWER_SECONDS: Final = 0.5
"""Seconds that an answer to a question takes at most."""

MAX_LETTER: Final = 4 * 1024 * 1024
"""Bytes of one letter, as it is sent."""

MAX_INBOX: Final = 16 * 1024 * 1024
"""Bytes that wait for one process; a letter beyond is not left."""

MAX_WAITING: Final = 128
"""Questions that one process waits for answers to, at once."""

MAX_ANSWERING: Final = 32
"""Questions that one process answers at once; a further one gets none."""

_KEPT_MS: Final = 10_000
# An inbox that nobody empties is gone after so long.
_PACKED_FROM: Final = 8 * 1024
# Characters from which a letter is compressed, outside the event loop.
_MAX_UNPACKED: Final = 64 * 1024 * 1024
_AGAIN_SECONDS: Final = 0.5
# Until the store is asked again, once it is away.

Handler = Callable[[Any], Awaitable[Any]]
"""Answers the body of a question; both are what JSON can have."""

_POST: Final = Script(
    """
local most, keep, letter = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local time = redis.call('TIME')
local stamped = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)) .. '|' .. letter
local full = {}
for index = 1, #KEYS, 2 do
  if tonumber(redis.call('GET', KEYS[index + 1]) or '0') + #stamped > most then
    full[#full + 1] = (index - 1) / 2
  else
    redis.call('RPUSH', KEYS[index], stamped)
    redis.call('INCRBY', KEYS[index + 1], #stamped)
    redis.call('PEXPIRE', KEYS[index], keep)
    redis.call('PEXPIRE', KEYS[index + 1], keep)
  end
end
return full
""",
    common="",
)
# Leaves a letter in each of these inboxes, and returns the places of those that are full.

_TAKE: Final = Script(
    """
local time = redis.call('TIME')
local letters = redis.call('LRANGE', KEYS[1], 0, -1)
redis.call('DEL', KEYS[1], KEYS[2])
return {string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), letters}
""",
    common="",
)
# Empties an inbox, and returns the store's time with what was in it.


class Inbox(Protocol):
    """Waits at a list; :class:`service.fleet.connection.StoreConnection` does."""

    async def receive(self, key: str, seconds: float) -> str | None:
        """Take the list's first element, waiting for so long; None if there was none. Raises StoreAwayError."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...


class Silence(StrEnum):
    """The causes for which a process gave no answer."""

    LATE = "late"
    """None came in time."""
    AWAY = "away"
    """The store did not take the question."""
    FULL = "full"
    """Too much waits for it, or too many questions wait for answers here."""
    TOO_LARGE = "too_large"
    """Its answer is larger than a letter may be."""
    FAILED = "failed"
    """It could not make one; its log says why."""


@dataclass(slots=True)
class Replies:
    """The outcome of a question, by the ids of the processes it was for."""

    answers: dict[str, Any] = field(default_factory=dict)
    silent: dict[str, Silence] = field(default_factory=dict)


@dataclass(slots=True)
class MailCounts:
    """Letters since the start, by what became of them."""

    asked: int = 0
    """Questions of this process, each counted once however many it was for."""
    answered: int = 0
    """Questions of others that it answered."""
    unanswered: int = 0
    """Answers that did not come to this process."""
    dropped: int = 0
    """Letters left out here: too old, too many at once, unreadable, or for nobody who waits."""


@dataclass(slots=True)
class _Waiting:
    """A question whose answers are not all there."""

    missing: set[str]
    replies: Replies = field(default_factory=Replies)
    complete: asyncio.Event = field(default_factory=asyncio.Event)

    def answered(self, sender: str, body: Any) -> None:  # noqa: ANN401 -- whatever JSON has
        if sender in self.missing:
            self._heard(sender)
            self.replies.answers[sender] = body

    def silent(self, sender: str, cause: Silence) -> None:
        if sender in self.missing:
            self._heard(sender)
            self.replies.silent[sender] = cause

    def _heard(self, sender: str) -> None:
        self.missing.discard(sender)
        if not self.missing:
            self.complete.set()


class Mailbox:
    """Asks other processes of the fleet, and answers what they ask.

    Args:
        scripts: runs scripts in the store.
        inbox: waits for letters.
        prefix: keeps fleets that share a store apart.
        instance_id: this process's.
    """

    def __init__(self, scripts: Scripts, inbox: Inbox, prefix: str, instance_id: str) -> None:
        self._scripts = scripts
        self._inbox = inbox
        self._prefix = prefix
        self.instance_id = instance_id
        self.counts = MailCounts()
        self.answer_seconds = ANSWER_SECONDS
        """Seconds that answers may take."""
        self._handlers: dict[str, Handler] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._asking: dict[tuple[str, str, tuple[str, ...]], asyncio.Task[Replies]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._answering = 0
        self._listening: asyncio.Task[None] | None = None
        self._stopped = False

    # Lifecycle --------------------------------------------------------------------------------------------------------

    def answer(self, name: str, handler: Handler) -> None:
        """Have questions of this name answered so."""
        self._handlers[name] = handler

    def start(self) -> None:
        """Begin to take letters; needs the running loop."""
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen(), name="callscope-fleet-mail")

    async def stop(self) -> None:
        """Take no more letters, and let go of the connection that waited for them."""
        self._stopped = True
        tasks: list[asyncio.Task[Any]] = [*self._tasks, *self._asking.values()]
        tasks += [] if self._listening is None else [self._listening]
        self._listening = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(StoreAwayError):
            await self._inbox.close()

    # Asking -----------------------------------------------------------------------------------------------------------

    async def ask(self, name: str, body: object, of: Sequence[str]) -> Replies:
        """Return the answers of these processes, after :attr:`answer_seconds` at the latest; it raises nothing.

        The same question to the same processes, while one is under way, is asked once.
        """
        if not of:
            return Replies()
        text = json.dumps(body, sort_keys=True)
        key = (name, text, tuple(sorted(of)))
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(name, body, of, self.answer_seconds))
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(task)

    async def ask_once(self, name: str, body: object, of: str, within: float) -> Replies:
        """Return the answer of one process to a question that does something, and so is never shared."""
        return await self._ask(name, body, (of,), within)

    async def _ask(self, name: str, body: object, of: Sequence[str], within: float) -> Replies:
        self.counts.asked += 1
        waiting, question = _Waiting(set(of)), secrets.token_hex(8)
        if len(self._waiting) >= MAX_WAITING:
            return self._over(waiting, Silence.FULL)
        letter = {
            "question": question,
            "from": self.instance_id,
            "name": name,
            "within_ms": round(within * 1000),
            "body": body,
        }
        self._waiting[question] = waiting
        cause = Silence.LATE
        try:
            async with asyncio.timeout(within):
                for full in await self._post(of, await _packed(letter)):
                    waiting.silent(full, Silence.FULL)
                await waiting.complete.wait()
        except StoreAwayError:
            cause = Silence.AWAY
        except TimeoutError:
            pass
        finally:
            del self._waiting[question]
        return self._over(waiting, cause)

    def _over(self, waiting: _Waiting, cause: Silence) -> Replies:
        for sender in list(waiting.missing):
            waiting.silent(sender, cause)
        self.counts.unanswered += len(waiting.replies.silent)
        return waiting.replies

    async def _post(self, to: Sequence[str], letter: str) -> Sequence[str]:
        """Leave a letter; return those whose inbox is full."""
        keys = [key for name in to for key in self._keys(name)]
        full = await self._scripts.run(_POST, keys, [MAX_INBOX, _KEPT_MS, letter])
        return [to[int(place)] for place in full]

    def _keys(self, instance_id: str) -> tuple[str, str]:
        # One hash tag, so that a question to all is one script; another than that of slots, which need not wait for it.
        return f"{{{self._prefix}:mail}}:in:{instance_id}", f"{{{self._prefix}:mail}}:size:{instance_id}"

    # Answering --------------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        keys = self._keys(self.instance_id)
        # A client that is cancelled while it waits may tell of a broken connection instead.
        while not self._stopped:
            try:
                first = await self._inbox.receive(keys[0], LISTEN_SECONDS)
                if first is None:
                    continue
                now, others = await self._scripts.run(_TAKE, keys, [])
            except StoreAwayError:
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            for stamped in (first, *others):
                self._begin(self._take(stamped, int(now)))

    def _begin(self, work: Awaitable[None]) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take(self, stamped: str, now_ms: int) -> None:
        stamp, _, packed = stamped.partition("|")
        try:
            letter = await _unpacked(packed)
            if "answer" in letter:
                self._hear(letter)
            elif now_ms - int(stamp) > int(letter["within_ms"]) or self._answering >= MAX_ANSWERING:
                # Whoever asked has stopped waiting, or will.
                self.counts.dropped += 1
            else:
                await self._answer(letter)
        except (ValueError, KeyError, TypeError, zlib.error) as error:
            self.counts.dropped += 1
            _logger.warning("a letter in the fleet's store cannot be read: %s", type(error).__name__)

    def _hear(self, letter: Mapping[str, Any]) -> None:
        waiting = self._waiting.get(letter["answer"])
        if waiting is None:
            self.counts.dropped += 1
        elif "silence" in letter:
            waiting.silent(letter["from"], Silence(letter["silence"]))
        else:
            waiting.answered(letter["from"], letter["body"])

    async def _answer(self, letter: Mapping[str, Any]) -> None:
        reply: dict[str, Any] = {"answer": letter["question"], "from": self.instance_id}
        self._answering += 1
        try:
            body = await self._handlers[letter["name"]](letter["body"])
            packed = await _packed({**reply, "body": body})
            if len(packed) > MAX_LETTER:
                packed = await _packed({**reply, "silence": Silence.TOO_LARGE})
        except Exception as error:  # noqa: BLE001 -- whoever asked is to be told, and the next question answered
            _logger.error("a question of the fleet could not be answered: %s", type(error).__name__)  # noqa: TRY400
            packed = await _packed({**reply, "silence": Silence.FAILED})
        finally:
            self._answering -= 1
        try:
            full = await self._post([letter["from"]], packed)
        except StoreAwayError:
            full = [letter["from"]]
        if full:
            self.counts.dropped += 1
        else:
            self.counts.answered += 1


async def _packed(letter: Mapping[str, Any]) -> str:
    """Return a letter as it is sent: JSON in ASCII, compressed from some size on."""
    return await asyncio.to_thread(_pack, letter)


def _pack(letter: Mapping[str, Any]) -> str:
    text = json.dumps(letter, separators=(",", ":"))
    if len(text) < _PACKED_FROM:
        return "j" + text
    return "z" + b64encode(zlib.compress(text.encode("ascii"), 1)).decode("ascii")


async def _unpacked(packed: str) -> dict[str, Any]:
    """Return the letter; raise ValueError, TypeError or zlib.error for what is none."""
    if packed.startswith("z"):
        return await asyncio.to_thread(_unpack, packed[1:])
    return _object(json.loads(packed[1:]))


def _unpack(packed: str) -> dict[str, Any]:
    unpacking = zlib.decompressobj()
    text = unpacking.decompress(b64decode(packed, validate=True), _MAX_UNPACKED)
    if not unpacking.eof:
        raise ValueError("too large, or cut off")
    return _object(json.loads(text))


def _object(value: Any) -> dict[str, Any]:  # noqa: ANN401 -- whatever JSON has
    if not isinstance(value, dict):
        raise TypeError("no object")
    return value
