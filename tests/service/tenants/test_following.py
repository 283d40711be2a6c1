"""The limits in force follow the database, whether calls come in or not."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
from sqlalchemy.exc import DBAPIError

from service.tenants.cache import Epoch
from service.tenants.errors import TenantLookupError
from service.tenants.following import LimitsFollower
from service.tenants.limits import CallLimits
from telemetry.semconv.attributes import TenantId

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
GENERAL = 100


class Kept:
    """A database of limits with a revision, which can be away."""

    def __init__(self) -> None:
        self.own: dict[TenantId, int] = {ACME: 3}
        self.revision = 1
        self.asked = 0
        self.remembering = False
        self.doubts = 0
        self.reads = 0
        self.epoch_error: Exception | None = None
        self.limits_error: Exception | None = None

    async def epoch(self) -> Epoch:
        if self.epoch_error is not None:
            raise self.epoch_error
        if not self.remembering:
            self.asked += 1
        return Epoch(self.revision, self.asked)

    def doubt(self) -> None:
        self.doubts += 1

    async def own_limits(self) -> Mapping[TenantId, int]:
        self.reads += 1
        if self.limits_error is not None:
            raise self.limits_error
        return dict(self.own)

    def change(self, tenant_id: TenantId, limit: int | None) -> None:
        self.own.pop(tenant_id, None)
        if limit is not None:
            self.own[tenant_id] = limit
        self.revision += 1


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def limits() -> CallLimits:
    return CallLimits(GENERAL)


@pytest.fixture
def follower(kept: Kept, limits: CallLimits) -> LimitsFollower:
    return LimitsFollower(kept, kept, limits)


async def until(fact: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(30):
        while not fact():  # noqa: ASYNC110 -- the follower tells nobody
            await asyncio.sleep(0.001)


async def test_a_start_takes_the_limits_over(limits: CallLimits, follower: LimitsFollower) -> None:
    """Before the first call has come in, the limits in force are those of the database."""
    await follower.start()
    assert (limits.of(ACME), limits.of(GLOBEX)) == (3, GENERAL)
    await follower.close()


async def test_changes_are_followed(kept: Kept, limits: CallLimits, follower: LimitsFollower) -> None:
    """A limit that is set, lowered or lifted elsewhere is in force after a look, without a call."""
    await follower.start(every_seconds=0.001)
    kept.change(GLOBEX, 7)
    await until(lambda: limits.of(GLOBEX) == 7)
    kept.change(GLOBEX, 0)
    await until(lambda: limits.of(GLOBEX) == 0)
    kept.change(ACME, None)
    await until(lambda: limits.of(ACME) == GENERAL)
    await follower.close()


async def test_nothing_is_read_while_nothing_changes(kept: Kept, follower: LimitsFollower) -> None:
    """However often it looks, the limits are read once for each revision."""
    for _ in range(5):
        await follower.look()
    assert kept.reads == 1


async def test_a_limit_set_too_late_is_put_right(limits: CallLimits, follower: LimitsFollower) -> None:
    """A call that was looked up before a change and sets the old limit after it, has it corrected by the next look."""
    await follower.look()
    limits.set_own(ACME, 10)
    await follower.look()
    assert limits.of(ACME) == 3


async def test_a_limit_newer_than_what_is_known_stays(kept: Kept, limits: CallLimits, follower: LimitsFollower) -> None:
    """What a call brought from a change since the last answer of the database is not set back before the next one."""
    await follower.look()
    kept.remembering = True
    limits.set_own(ACME, 9)
    await follower.look()
    assert limits.of(ACME) == 9


async def test_an_own_change_holds_at_once(kept: Kept, limits: CallLimits, follower: LimitsFollower) -> None:
    """Told of a change, it doubts what was known and takes the new limits over before it returns."""
    await follower.look()
    kept.change(ACME, 1)
    await follower.changed()
    assert (limits.of(ACME), kept.doubts) == (1, 1)


@pytest.mark.parametrize("error", [DBAPIError("", {}, Exception()), OSError("gone")])
async def test_limits_stay_while_the_database_is_away(
    kept: Kept, limits: CallLimits, follower: LimitsFollower, error: Exception
) -> None:
    """With no answer about revision or limits those in force stay; what was missed is made up for afterwards."""
    await follower.look()
    kept.change(ACME, 1)
    kept.epoch_error = TenantLookupError("away")
    await follower.look()
    kept.epoch_error, kept.limits_error = None, error
    await follower.look()
    assert limits.of(ACME) == 3
    kept.limits_error = None
    await follower.look()
    assert limits.of(ACME) == 1


async def test_one_bad_look_is_not_the_last(
    kept: Kept, limits: CallLimits, follower: LimitsFollower, caplog: pytest.LogCaptureFixture
) -> None:
    """An error nobody foresaw is logged by its kind, and the next look is made."""
    await follower.start(every_seconds=0.001)
    kept.change(ACME, 1)
    kept.limits_error = ZeroDivisionError("secret")
    await until(lambda: "ZeroDivisionError" in caplog.text)
    kept.limits_error = None
    await until(lambda: limits.of(ACME) == 1)
    await follower.close()
    assert "secret" not in caplog.text


async def test_closing_ends_the_looks(follower: LimitsFollower) -> None:
    """After closing, which may be repeated, no task is left."""
    await follower.start(every_seconds=0.001)
    await follower.close()
    await follower.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
