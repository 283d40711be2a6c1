"""Letters between processes over a real Redis: answers in time, and every way in which there is none."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio

from service.fleet import mail
from service.fleet.address import StoreAddress
from service.fleet.connection import StoreConnection
from service.fleet.errors import StoreAwayError
from service.fleet.mail import Mailbox, Silence
from service.fleet.scripts import Script
from tests.service.fleet.harness import until
from tests.support.patience import PATIENT_SECONDS

pytestmark = pytest.mark.peers

SOON_SECONDS = 0.05


async def echo(body: Any) -> Any:  # noqa: ANN401 -- whatever JSON has
    return {"said": body}


@asynccontextmanager
async def mailboxes(url: str, *names: str, listening: bool = True) -> AsyncIterator[list[Mailbox]]:
    """Processes that answer ``echo``, waiting for answers as long as a busy machine takes."""
    address, opened, connections = StoreAddress.parse(url), [], []
    for name in names:
        connection, inbox = (StoreConnection(address, answer_seconds=PATIENT_SECONDS) for _ in range(2))
        box = Mailbox(connection, inbox, "test", name)
        box.answer("echo", echo)
        box.answer_seconds = PATIENT_SECONDS
        connections.append(connection)
        opened.append(box)
    for box in opened if listening else opened[:1]:
        box.start()
    try:
        yield opened
    finally:
        for box in opened:
            await box.stop()
        for connection in connections:
            await connection.close()


async def test_everybody_asked_answers(store_url: str) -> None:
    """A question to several is answered by each, whatever JSON has; nothing stays in the store."""
    body = {"text": "naïve \ud800 \U0001f600", "numbers": [0, -1, 2**40, 0.5, None, True]}
    async with mailboxes(store_url, "one", "two", "three") as (one, _, _):
        replies = await one.ask("echo", body, ["two", "three"])
        assert (replies.answers, replies.silent) == ({name: {"said": body} for name in ("two", "three")}, {})
        async with redis.asyncio.Redis.from_url(store_url) as client:
            assert await client.keys("*") == []


async def test_an_answer_of_many_megabytes(store_url: str) -> None:
    """Large letters are compressed on their way and arrive whole."""
    body = [f"span {number % 97}" for number in range(1_000_000)]
    async with mailboxes(store_url, "one", "two") as (one, _):
        replies = await one.ask("echo", body, ["two"])
    assert replies.answers["two"]["said"] == body


async def test_a_process_that_does_not_listen(store_url: str) -> None:
    """It is late, and those that answered are there all the same."""
    async with mailboxes(store_url, "one", "two") as (one, two):
        one.answer_seconds = 1.0

        async def answered() -> bool:
            replies = await one.ask("echo", 1, ["two", "nobody"])
            assert replies.silent["nobody"] is Silence.LATE
            return "two" in replies.answers

        while not await answered():
            one.answer_seconds *= 2
        assert one.counts.unanswered >= 1
        assert two.counts.answered >= 1


async def test_a_question_that_waited_too_long_is_not_answered(store_url: str) -> None:
    """Whoever asked is gone: nothing is done for it, a hang-up least of all."""
    done: list[Any] = []
    letters, within = 0, SOON_SECONDS

    async def do(body: Any) -> None:  # noqa: ANN401 -- whatever JSON has
        done.append(body)

    async with mailboxes(store_url, "one", "two", listening=False) as (one, two):
        two.answer("do", do)
        async with redis.asyncio.Redis.from_url(store_url) as client:
            # On a busy machine the time may be up before the question was sent.
            while not letters:
                within *= 2
                replies = await one.ask_once("do", "first", "two", within)
                assert replies.silent == {"two": Silence.LATE}
                letters = await client.llen(two._keys("two")[0])
        await asyncio.sleep(2 * within)
        two.start()
        await one.ask_once("do", "second", "two", PATIENT_SECONDS)
        assert done == ["second"]
        assert two.counts.dropped == letters


async def test_answers_that_cannot_be_sent(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is too large, that fails, or to a question nobody knows is told as such, at once."""

    async def fail(_body: Any) -> None:  # noqa: ANN401 -- whatever JSON has
        raise RuntimeError("as bugs do")

    monkeypatch.setattr(mail, "MAX_LETTER", 300)
    async with mailboxes(store_url, "one", "two") as (one, two):
        two.answer("fail", fail)
        for name, body, cause in (
            ("echo", "x" * 300, Silence.TOO_LARGE),
            ("fail", 0, Silence.FAILED),
            ("unheard of", 0, Silence.FAILED),
        ):
            assert (await one.ask(name, body, ["two"])).silent == {"two": cause}
        assert (await one.ask("echo", "still there", ["two"])).answers == {"two": {"said": "still there"}}


async def test_an_inbox_is_bounded(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Letters beyond its bytes are not left, and the one that asks is told; once it is emptied there is room again."""
    monkeypatch.setattr(mail, "MAX_INBOX", 2_000)
    async with mailboxes(store_url, "one", "two", listening=False) as (one, two):
        one.answer_seconds = SOON_SECONDS
        while (cause := (await one.ask("echo", "more", ["two"])).silent["two"]) is Silence.LATE:
            pass
        assert cause is Silence.FULL
        two.start()
        one.answer_seconds = PATIENT_SECONDS
        await until(lambda: two.counts.dropped > 0)
        assert (await one.ask("echo", "now", ["two"])).answers == {"two": {"said": "now"}}


async def test_questions_at_once_are_bounded(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a process can wait for are refused here, before anything is sent."""
    monkeypatch.setattr(mail, "MAX_WAITING", 2)
    async with mailboxes(store_url, "one", listening=False) as (one,):
        one.answer_seconds = 1.0
        replies = await asyncio.gather(*(one.ask("echo", number, ["nobody"]) for number in range(5)))
        causes = [reply.silent["nobody"] for reply in replies]
        assert sorted(causes) == [Silence.FULL] * 3 + [Silence.LATE] * 2


async def test_the_same_question_is_asked_once(store_url: str) -> None:
    """A hundred that ask the same at the same time share one letter; what does something is never shared."""
    async with mailboxes(store_url, "one", "two") as (one, two):
        replies = await asyncio.gather(*(one.ask("echo", "same", ["two"]) for _ in range(100)))
        assert all(reply.answers == {"two": {"said": "same"}} for reply in replies)
        assert (one.counts.asked, two.counts.answered) == (1, 1)
        await asyncio.gather(*(one.ask_once("echo", "same", "two", PATIENT_SECONDS) for _ in range(3)))
        assert two.counts.answered == 4


@pytest.mark.parametrize(
    "letter",
    [
        "",
        "no stamp",
        "12|jnothing",
        "12|j[]",
        "12|j{}",
        "x|j" + json.dumps({"question": "1", "from": "two", "name": "echo", "within_ms": 1, "body": 0}),
        "12|znot base64!",
        "12|zAAAA",
        '12|j{"answer": "1", "from": "two", "silence": "unheard of"}',
    ],
)
async def test_what_is_no_letter_is_left_out(store_url: str, letter: str) -> None:
    """Whatever stands in an inbox, the process goes on and counts it."""
    async with mailboxes(store_url, "one", "two") as (one, two):
        async with redis.asyncio.Redis.from_url(store_url) as client:
            await client.rpush("{test:mail}:in:two", letter)
        await until(lambda: two.counts.dropped == 1)
        assert (await one.ask("echo", 1, ["two"])).answers == {"two": {"said": 1}}


class Away:
    """A store that is not there."""

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:  # noqa: ANN401, ARG002
        raise StoreAwayError("ConnectionError")

    async def receive(self, key: str, seconds: float) -> str | None:  # noqa: ARG002 -- the protocol's signature
        raise StoreAwayError("ConnectionError")

    async def close(self) -> None:
        pass


async def test_without_a_store_nobody_is_waited_for() -> None:
    """The answer is that the store is away, at once, and a process that listens keeps trying."""
    box = Mailbox(Away(), Away(), "test", "one")
    box.answer_seconds = PATIENT_SECONDS
    box.start()
    assert (await box.ask("echo", 1, ["two"])).silent == {"two": Silence.AWAY}
    await box.stop()


async def test_a_user_with_the_documented_rights_can_write_letters(store_url: str) -> None:
    """Of the commands nothing more is needed than docs/fleet.md says."""
    rules = ["on", ">secret", "~{test:*", "+@read", "+@write", "+@scripting", "+info", "+time", "+ping"]
    async with redis.asyncio.Redis.from_url(store_url) as client:
        command: Callable[..., Awaitable[object]] = client.execute_command  # redis leaves it untyped
        await command("ACL", "SETUSER", "limited", "reset", *rules)
        try:
            limited = store_url.replace("redis://", "redis://limited:secret@")
            async with mailboxes(limited, "one", "two") as (one, _):
                assert (await one.ask("echo", 1, ["two"])).answers == {"two": {"said": 1}}
        finally:
            await command("ACL", "DELUSER", "limited")
