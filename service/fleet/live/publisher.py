"""Sends what this process counted to the fleet's store: each half second the rows that changed."""

import asyncio
import logging
from array import array
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from service.fleet.errors import StoreAwayError
from service.fleet.live.fields import NO_ROW, ROW, WIDTH, Row, minus, plus, without_handed_over, written
from service.fleet.live.folding import ALL_BUCKETS, Folding, Rows
from service.fleet.live.lost import LostCalls
from service.fleet.live.scripts import TOTAL_BUCKET
from service.fleet.live.store import ROWS_IN_ONE_ROUND, TOTAL, Batch, LiveStore, NotFilledError, Sent, Taken, bucket_of
from service.fleet.member import Member
from service.fleet.store import SILENCE_SECONDS
from service.periodic import PeriodicWorker
from service.storage.database import DATABASE_ERRORS
from telemetry.metrics.reader import LiveMetricsReader

_logger = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 0.5
"""Seconds between two times at which rows are sent."""

_TRIES: Final = 3
# An empty bucket is filled, or one of another filling is sent everything: then the rows are sent again.


Recorded = Callable[[], Awaitable[object]]


async def at_once() -> None:
    """Wait for no record."""


class NotPublishedError(Exception):
    """The store has not got what this process counted: it has just joined, or returns."""


@dataclass(frozen=True, slots=True)
class PublishingHealth:
    """Counts of what was sent since the start."""

    sent_rows: int
    failures: int
    """Times rows could not be sent; they are sent again."""
    resent: int
    """Times the store had lost rows, and everything was sent again."""
    unsent_seconds: float | None
    """Since everything counted had been sent; None before the first time."""
    last_error: str | None
    """The kind of the last failure since the start."""


@dataclass(slots=True)
class _Bucket:
    """The bucket as this process knows it."""

    sequence: int = 0
    """Of the rows sent last."""
    acknowledged: int = 0
    """Sequence of the rows that were known to have arrived last."""
    arrived: dict[str, "array[int]"] = field(default_factory=dict)
    """By tenant: its row that is known to have arrived last."""
    generation: str = ""
    """Name of its filling; empty before rows were sent to it."""
    sending: Rows = field(default_factory=dict)
    """Rows that are on their way."""
    waiting: set[str] = field(default_factory=set)
    """Tenants whose rows have to be sent."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The processes whose rows the store had when this one sent its own last."""

    at: float
    """Seconds of the monotonic clock, before the store was asked."""
    oldest_seconds: float
    """Age of the rows of whoever was heard of least lately."""
    speaking: int
    """Processes heard of lately."""


class Publisher:
    """This process's rows in the store of the fleet.

    Args:
        store: the sums of the fleet.
        member: this process among the others.
        live: what it has counted.
        lost: what it has found to be over.
        folding: fills buckets, and folds what this process sent under an epoch that it has lost.
        recorded: waits, not for long, until the database has what was counted before.
    """

    def __init__(
        self,
        store: LiveStore,
        member: Member,
        live: LiveMetricsReader,
        lost: LostCalls,
        folding: Folding,
        recorded: Recorded,
    ) -> None:
        self._store = store
        self._member = member
        self._live = live
        self._lost = lost
        self._folding = folding
        self._recorded = recorded
        self._holder = ""
        # Folded of this process under former epochs.
        self._base: Rows = {}
        self._buckets = [_Bucket() for _ in ALL_BUCKETS]
        self._sent_rows = self._failures = self._resent = 0
        self._last_error: str | None = None
        self._sent_at: float | None = None
        self._one_at_a_time = asyncio.Lock()
        self._losses = self._losses_seen = 0
        self._tell_losses = False
        self.heard: Heard | None = None
        """None before rows were sent under the present epoch."""
        self._worker = PeriodicWorker(
            self.publish, interval=INTERVAL_SECONDS, failed=self._failed, name="callscope-fleet-numbers"
        )

    # Rows -------------------------------------------------------------------------------------------------------------

    @property
    def holder(self) -> str:
        """The epoch that rows are sent under; empty before the first."""
        return self._holder

    def row(self, tenant_id: str, holder: str) -> Row:
        """Return what this process counts of a tenant, or of all, under an epoch, as of the last fold.

        Raises:
            NotPublishedError: if it has not got this epoch, or not any more.
        """
        if not holder or not self._holder == self._member.holder == holder:
            raise NotPublishedError
        counted = self._live.store.row(ROW, None if tenant_id == TOTAL else tenant_id)
        row = without_handed_over(ROW.in_whole_numbers(counted)) if counted is not None else [0] * WIDTH
        lost, base = self._lost.of(tenant_id), self._base.get(tenant_id)
        row = row if lost is None else plus(row, lost)
        return row if base is None else minus(row, base)

    def look_at(self, tenant_id: str) -> None:
        """Have a tenant's row sent, and so its bucket filled if that is empty."""
        self._buckets[bucket_of(tenant_id)].waiting.add(tenant_id)
        self._worker.wake()

    def health(self) -> PublishingHealth:
        """Return the counts of what was sent."""
        since = None if self._sent_at is None else monotonic() - self._sent_at
        return PublishingHealth(self._sent_rows, self._failures, self._resent, since, self._last_error)

    # Sending ----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to send; needs the running loop."""
        self._worker.start()

    async def stop(self) -> None:
        """Send what is left, and fold it: nobody counts here any more. What fails is left to the others."""
        await self._worker.stop()
        try:
            await self.publish()
            if self._holder:
                await self._folding.fold(self._holder)
        except Exception as error:  # noqa: BLE001 -- whatever fails here, the process is to stop in good order
            _logger.warning("the last counts could not be folded here: %s", type(error).__name__)

    async def publish(self) -> None:
        """Send the rows that changed; one after the other, however many ask for it.

        Raises:
            StoreAwayError: if the store does not answer; what it did not take is sent next time.
            DATABASE_ERRORS: what the database raises, where that was needed.
        """
        age = self._member.beat_age_seconds
        if self._member.away or age is None or age > SILENCE_SECONDS:
            # Perhaps fenced: a heartbeat finds out before anything is sent.
            return
        async with self._one_at_a_time:
            await self._publish()

    async def _publish(self) -> None:
        await self._under_present_epoch()
        await self._live.refreshed()
        since = monotonic()
        for tenant_id in (*self._live.store.take_changed(), *self._lost.take_changed()):
            self._buckets[bucket_of(tenant_id)].waiting.add(tenant_id)
        await self._send(ALL_BUCKETS[:-1])
        if self._tell_losses:
            await self._store.lost()
            self._tell_losses = False
        self._buckets[TOTAL_BUCKET].waiting.add(TOTAL)
        await self._send((TOTAL_BUCKET,), since)
        if self._losses != self._losses_seen:
            await self._look_for_losses()

    async def _look_for_losses(self) -> None:
        """Send everything again to buckets that have lost what this process sent, of tenants that are quiet, too."""
        losses = self._losses
        checks = await asyncio.gather(*(self._store.check(number, self._holder) for number in ALL_BUCKETS))
        for number, (generation, sequence) in zip(ALL_BUCKETS, checks, strict=True):
            bucket = self._buckets[number]
            known = bucket.generation and generation == bucket.generation and sequence >= bucket.acknowledged
            if bucket.acknowledged and not known:
                self._all_of(number)
        self._losses_seen = losses
        await self._send(ALL_BUCKETS)

    async def _under_present_epoch(self) -> None:
        holder = self._member.holder
        if holder == self._holder:
            return
        base = dict(self._base)
        if self._holder:
            # What was sent under the former epoch is the database's once, and what comes is what was counted since.
            for tenant_id, row in (await self._folding.fold(self._holder)).items():
                base[tenant_id] = plus(row, base[tenant_id]) if tenant_id in base else row
        await asyncio.gather(*(self._folding.seed(number) for number in ALL_BUCKETS))
        self._holder, self._base, self.heard = holder, base, None
        self._buckets = [_Bucket() for _ in ALL_BUCKETS]
        for number in ALL_BUCKETS:
            self._all_of(number)

    def _all_of(self, number: int) -> None:
        known = {*self._live.store.tenants(), *self._base, *self._lost.tenants, TOTAL}
        self._buckets[number].waiting |= {tenant_id for tenant_id in known if bucket_of(tenant_id) == number}

    async def _send(self, numbers: Sequence[int], since: float | None = None) -> None:
        """Send what waits in some buckets, all at once; in the total's, say that all is sent as of ``since``."""
        tries = dict.fromkeys(numbers, _TRIES)
        while parts := [self._part(number, since) for number in numbers if self._buckets[number].waiting]:
            try:
                # Whoever goes on with a call after a kill has its record alone, and counts whatever is not in that.
                await self._recorded()
                at = monotonic()
                answers = await self._store.send_all(parts)
            except BaseException:
                for part in parts:
                    self._buckets[part.bucket].waiting.update(part.rows)
                raise
            failed = [self._answered(part, answer, at) for part, answer in zip(parts, answers, strict=True)]
            for number, problem in failed:
                if problem is None:
                    continue
                tries[number] -= 1
                if isinstance(problem, StoreAwayError) or not tries[number]:
                    raise problem
                await self._mend(number, problem)

    def _part(self, number: int, since: float | None) -> Batch:
        bucket = self._buckets[number]
        some = [bucket.waiting.pop() for _ in range(min(ROWS_IN_ONE_ROUND, len(bucket.waiting)))]
        rows = {tenant_id: self.row(tenant_id, self._holder) for tenant_id in some}
        texts = {
            tenant_id: (written(row), written(minus(row, bucket.arrived.get(tenant_id, NO_ROW))))
            for tenant_id, row in rows.items()
        }
        bucket.sending = rows
        bucket.sequence += 1
        lag_ms = None if since is None else round((monotonic() - since) * 1000)
        known = f"{bucket.generation}:{self._losses_seen}"
        return Batch(number, self._holder, bucket.sequence, texts, bucket.acknowledged, lag_ms, known)

    def _answered(self, part: Batch, answer: Sent | StoreAwayError, at: float) -> tuple[int, Exception | None]:
        """Note what became of rows; return the bucket, and what is in the way of it."""
        bucket = self._buckets[part.bucket]
        if isinstance(answer, StoreAwayError) or answer.taken is not Taken.OK:
            bucket.waiting.update(part.rows)
            if isinstance(answer, StoreAwayError):
                return part.bucket, answer
            return part.bucket, NotFilledError() if answer.taken is Taken.UNSEEDED else NotPublishedError()
        self._sent_rows += len(part.rows)
        bucket.arrived |= {tenant_id: array("q", row) for tenant_id, row in bucket.sending.items()}
        self._took(part, bucket, answer, at)
        return part.bucket, None

    def _took(self, part: Batch, bucket: _Bucket, sent: Sent, at: float) -> None:
        known = bucket.generation
        if (known and known != sent.generation) or sent.before < bucket.acknowledged:
            _logger.warning("the fleet's store has lost counts that it had; all are sent again")
            self._resent += 1
            self._all_of(part.bucket)
            self._tell_losses = True
        bucket.generation, bucket.acknowledged = sent.generation, bucket.sequence
        if part.lag_ms is not None:
            self._sent_at = monotonic()
            self._losses = sent.losses
            self.heard = Heard(at, sent.oldest_ms / 1000, max(1, sent.speaking))

    async def _mend(self, number: int, problem: Exception) -> None:
        if not isinstance(problem, NotFilledError):
            self._member.renew()
            raise problem
        await self._folding.seed(number)
        self._all_of(number)

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._last_error = type(error).__name__
        if not isinstance(error, (StoreAwayError, NotPublishedError, NotFilledError, *DATABASE_ERRORS)):
            _logger.error("counts could not be sent to the fleet", exc_info=error)
