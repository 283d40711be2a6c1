"""The sums of a fleet as the store's scripts keep them."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol
from zlib import crc32

from service.fleet.errors import StoreAwayError
from service.fleet.live import scripts
from service.fleet.live.scripts import BUCKETS, TOTAL_BUCKET, bucket_keys
from service.fleet.scripts import Script
from service.fleet.store import Scripts

ROWS_AT_ONCE: Final = 100
"""Rows that one script goes through: some milliseconds of the store at most."""

ROWS_IN_ONE_ROUND: Final = 20
"""Rows that a process sends before others have their turn: half a millisecond of the store."""

CHANGED_AT_ONCE: Final = 50
"""Tenants that one script tells of, each with what it was when windows began."""

TOTAL: Final = ""
"""The total's name among tenants."""

RECENT_MS: Final = 2_000
"""A process whose rows came so lately counts among those that speak."""

GONE_MS: Final = 86_400_000
"""Milliseconds for which the store knows a process for gone: what was on its way then has arrived, or is lost."""

SEEDING_MS: Final = 10_000
"""Milliseconds that filling a bucket may take before another process does it."""


class NotFilledError(Exception):
    """A bucket is empty: the store is new, or has lost it, and nothing of it can be told."""


class Taken(StrEnum):
    """The answer to rows that were sent."""

    OK = "ok"
    UNSEEDED = "unseeded"
    """The bucket is empty: the store is new, or has lost it."""
    GONE = "gone"
    """The sender is known for gone under this epoch."""


class BatchScripts(Scripts, Protocol):
    """Runs scripts, also many at once; :class:`service.fleet.connection.StoreConnection` does."""

    async def run_all(
        self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[str | int]]]
    ) -> list[Any | StoreAwayError]:
        """Return what a script answers to each keys and arguments, or why there is no answer."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one process in one bucket."""

    bucket: int
    holder: str
    sequence: int
    """Greater than that of any rows sent before."""
    rows: Mapping[str, tuple[str, str]]
    """By tenant, each whole, and its difference to what was known to have arrived."""
    last: int = -1
    """The sequence of that; -1 if nothing is known, and the differences are not to be looked at."""
    lag_ms: int | None = None
    """Given, in the bucket of the total, if all rows of the process up to so long ago have been taken."""
    known: str = ""
    """Name of the bucket's filling, a colon, and the losses after which the process has looked for what it sent."""

    def arguments(self) -> list[str | int]:
        """Return what the script is given."""
        lag_ms = -1 if self.lag_ms is None else self.lag_ms
        arguments: list[str | int] = [self.holder, self.sequence, self.last, lag_ms, RECENT_MS, self.known]
        for tenant_id, (row, difference) in self.rows.items():
            arguments += [tenant_id, row, difference]
        return arguments


@dataclass(frozen=True, slots=True)
class Sent:
    """The bucket after rows were sent."""

    taken: Taken
    generation: str = ""
    """Name of its filling."""
    before: int = 0
    """Sequence of the sender's rows that it knew before."""
    oldest_ms: int = 0
    """Age of the rows of the process that was heard of least lately; of the total's bucket alone."""
    speaking: int = 0
    """Processes heard of lately that have looked for every loss; likewise."""
    losses: int = 0
    """Losses of any bucket that processes have found; likewise."""


@dataclass(frozen=True, slots=True)
class Sum:
    """One tenant's sum, or that of all, at one moment of the store."""

    sum: str
    """Of all processes, the gone among them; empty if there is none."""
    own: str
    """The part that one process has added to it; empty if that is nothing."""
    generation: str
    """Name of the bucket's filling; empty before it is filled."""
    born_ms: int
    """The moment it was filled, in Unix milliseconds of the store."""
    now_ms: int
    past: str
    """A line for each minute that is remembered, the latest first: the minute since 1970, a space, and the sum when it
    began. Empty if it was not asked for."""

    @property
    def filled_seconds(self) -> float:
        """Seconds since the bucket was filled."""
        return (self.now_ms - self.born_ms) / 1000


@dataclass(frozen=True, slots=True)
class Changed:
    """One tenant among those that changed, or whose windows begin later."""

    tenant_id: str
    sum: str
    """Empty if it has not changed."""
    begun: Sequence[str]
    """The sum at the beginning of each window; empty where nothing was added since."""


@dataclass(frozen=True, slots=True)
class ChangedPage:
    """Some tenants of a bucket, those that changed last first."""

    generation: str
    """Name of the bucket's filling; empty before it is filled."""
    version: int
    """Changes of the bucket so far."""
    born_ms: int
    now_ms: int
    tenants: int
    """Tenants of the bucket."""
    last: bool
    """True if there are no more."""
    found: Sequence[Changed]


def bucket_of(tenant_id: str) -> int:
    """Return the number of the bucket that a tenant's sum is in; the empty name is that of all."""
    return TOTAL_BUCKET if tenant_id == TOTAL else crc32(tenant_id.encode("utf-8", "surrogatepass")) % BUCKETS


class LiveStore:
    """The sums of the fleet with this prefix.

    Every method raises :class:`service.fleet.errors.StoreAwayError` if the store does not answer; it may have done what
    it was told all the same, and all of it may be repeated.
    """

    def __init__(self, connection: BatchScripts, prefix: str) -> None:
        self._scripts = connection
        self._prefix = prefix

    @property
    def prefix(self) -> str:
        """The beginning of its keys, which keeps fleets apart."""
        return self._prefix

    async def send_all(self, batches: Sequence["Batch"]) -> list[Sent | StoreAwayError]:
        """Send rows of a process, each bucket's by itself; return what became of each, in their order."""
        answers: list[Any | StoreAwayError] = []
        for some in _rounds(batches):
            calls = [(bucket_keys(self._prefix, batch.bucket, batch.holder), batch.arguments()) for batch in some]
            answers += await self._scripts.run_all(scripts.SEND, calls)
        return [answer if isinstance(answer, StoreAwayError) else _sent(answer) for answer in answers]

    async def check(self, bucket: int, holder: str) -> tuple[str, int]:
        """Return the name of a bucket's filling, empty until it is filled, and the last sequence of a process."""
        generation, sequence = await self._run(scripts.CHECK, bucket, [holder])
        return generation, int(sequence)

    async def wipe(self, bucket: int) -> None:
        """Have a bucket filled anew."""
        await self._run(scripts.WIPE, bucket, [])

    async def lost(self) -> None:
        """Have every process look whether the buckets have what it sent."""
        await self._run(scripts.LOST, TOTAL_BUCKET, [])

    async def send(self, batch: "Batch") -> Sent:
        """Send rows of one bucket."""
        return _sent(await self._run(scripts.SEND, batch.bucket, batch.arguments(), batch.holder))

    async def sum_of(self, tenant_id: str, holder: str, *, past: bool = False) -> Sum:
        """Return a tenant's sum, or that of all, and what ``holder`` has added to it."""
        found = await self._run(scripts.READ, bucket_of(tenant_id), [tenant_id, int(past)], holder)
        text, own, generation, born, now, before = found
        return Sum(text, own, generation, int(born), int(now), before)

    async def sums(self, bucket: int) -> AsyncIterator[tuple[str, str]]:
        """Yield the tenants of a bucket with their sums; one may come twice, with what it has become.

        Raises :class:`NotFilledError` for a bucket that is empty.
        """
        cursor = "0"
        while True:
            cursor, found, generation = await self._run(scripts.SUMS, bucket, [cursor, ROWS_AT_ONCE])
            if not generation:
                raise NotFilledError
            for pair in zip(found[::2], found[1::2], strict=True):
                yield pair
            if cursor == "0":
                return

    async def sums_of(self, tenants: Iterable[str], holder: str) -> AsyncIterator[Mapping[str, Sum]]:
        """Yield the sums of these tenants, some at a time, each time as one moment; without their past."""
        by_bucket: defaultdict[int, list[str]] = defaultdict(list)
        for tenant_id in tenants:
            by_bucket[bucket_of(tenant_id)].append(tenant_id)
        for bucket, names in by_bucket.items():
            for start in range(0, len(names), ROWS_AT_ONCE):
                some = names[start : start + ROWS_AT_ONCE]
                found, generation, born, now = await self._run(scripts.READ_SOME, bucket, some, holder)
                yield {
                    name: Sum(text, own, generation, int(born), int(now), "")
                    for name, text, own in zip(some, found[::2], found[1::2], strict=True)
                }

    async def changed(
        self,
        bucket: int,
        *,
        since: int = -1,
        rank: int = 0,
        first_minutes: Sequence[int] = (),
        count: int = CHANGED_AT_ONCE,
    ) -> ChangedPage:
        """Return some tenants of a bucket, those first that changed last.

        Args:
            bucket: the bucket's number.
            since: the version since which sums are of interest.
            rank: how many tenants have been told of before. One that changes meanwhile may be told of twice, and is
                among those that changed since the version of the first page.
            first_minutes: the minutes since 1970 at which windows begin. With any, all tenants are told of; without,
                those that changed.
            count: the most tenants.
        """
        found = await self._run(scripts.CHANGED, bucket, [since, rank, count, *first_minutes])
        generation, version, born, now, tenants, last, flat = found
        width = 2 + len(first_minutes)
        entries = [flat[start : start + width] for start in range(0, len(flat), width)]
        return ChangedPage(
            generation,
            int(version),
            int(born),
            int(now),
            int(tenants),
            bool(last),
            [Changed(tenant_id, text, begun) for tenant_id, text, *begun in entries],
        )

    async def holders(self, bucket: int) -> tuple[Sequence[str], str]:
        """Return the processes that have rows in a bucket, and the name of its filling, empty before it is filled."""
        holders, generation = await self._run(scripts.HOLDERS, bucket, [])
        return holders, generation

    async def retire(self, bucket: int, holder: str) -> bool:
        """Take the open calls of a process that is gone out of its rows, and nothing from it any more.

        Return true if the bucket did not know that it is gone.
        """
        left, any_news = 1, False
        while left:
            left, news = map(int, await self._run(scripts.RETIRE, bucket, [holder, ROWS_AT_ONCE, GONE_MS], holder))
            any_news = any_news or bool(news)
        return any_news

    async def kept(self, bucket: int, holder: str) -> AsyncIterator[tuple[str, str]]:
        """Yield tenants and rows of a retired process; one that is folded meanwhile comes in part or not at all."""
        cursor = "0"
        while True:
            cursor, found = await self._run(scripts.KEPT, bucket, [cursor, ROWS_AT_ONCE], holder)
            for pair in zip(found[::2], found[1::2], strict=True):
                yield pair
            if cursor == "0":
                return

    async def folded(self, bucket: int, holder: str, generation: str) -> None:
        """Forget the rows of a process that the database has, read while the bucket had this filling.

        The bucket is filled anew if it has another filling by now; always, for an empty one.
        """
        await self._run(scripts.FOLDED, bucket, [holder, generation], holder)

    async def begin_seeding(self, bucket: int, token: str) -> bool:
        """Begin to fill an empty bucket; return false if it is filled, or another process is filling it."""
        holders, _ = await self.holders(bucket)
        keys = bucket_keys(self._prefix, bucket, *holders)
        (answer,) = await self._scripts.run(scripts.SEED_BEGIN, keys, [token, SEEDING_MS])
        return bool(answer == "begun")

    async def seed(self, bucket: int, token: str, rows: Mapping[str, str]) -> bool:
        """Put rows into a bucket that is being filled; return false if another process does that now."""
        arguments: list[str | int] = [token]
        for tenant_id, row in rows.items():
            arguments += [tenant_id, row]
        (answer,) = await self._run(scripts.SEED_ROWS, bucket, arguments)
        return bool(answer == "ok")

    async def end_seeding(self, bucket: int, token: str) -> None:
        """Have the filled bucket take rows; ``token`` becomes the filling's name."""
        await self._run(scripts.SEED_END, bucket, [token])

    async def _run(self, script: Script, bucket: int, arguments: Sequence[str | int], *holders: str) -> Any:  # noqa: ANN401
        return await self._scripts.run(script, bucket_keys(self._prefix, bucket, *holders), arguments)


def _sent(found: Sequence[Any]) -> Sent:
    answer, *rest = found
    return Sent(Taken(answer), *rest[:1], *map(int, rest[1:]))


def _rounds(batches: Sequence[Batch]) -> Iterable[Sequence[Batch]]:
    """Yield the batches in parts of so many rows, or of one batch."""
    part: list[Batch] = []
    rows = 0
    for batch in batches:
        if part and rows + len(batch.rows) > ROWS_IN_ONE_ROUND:
            yield part
            part, rows = [], 0
        part.append(batch)
        rows += len(batch.rows)
    if part:
        yield part
