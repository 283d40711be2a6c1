"""The limits in force: a general one, tenants' own, and how these follow the database."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
from sqlalchemy.exc import DBAPIError

from service.tenants.cache import ConfirmedRevision
from service.tenants.errors import TenantLookupError
from service.tenants.following import LimitsFollower
from service.tenants.limits import CallLimits
from telemetry.semconv.attributes import TenantId

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
GENERAL = 100


def test_without_a_limit_per_tenant_the_total_holds_for_each() -> None:
    """Tenants without any other limit may use all there is."""
    limits = CallLimits(100)
    assert (limits.total(), limits.of(ACME), limits.resolved(None)) == (100, 100, 100)


def test_a_tenants_own_limit_wins_over_the_general_one() -> None:
    """An own limit, 0 and one above the general limit among them, holds for its tenant alone."""
    limits = CallLimits(100, 10)
    limits.replace_own({ACME: 0})
    assert (limits.of(ACME), limits.of(GLOBEX)) == (0, 10)
    assert [limits.resolved(own) for own in (None, 0, 3, 11)] == [10, 0, 3, 11]


def test_own_limits_are_replaced_as_a_whole() -> None:
    """After a replacement only the tenants named in it have a limit of their own."""
    limits = CallLimits(100, 10)
    limits.replace_own({ACME: 3})
    limits.replace_own({GLOBEX: 7})
    assert (limits.of(ACME), limits.of(GLOBEX)) == (10, 7)


def test_a_negative_limit_is_refused_by_name() -> None:
    """Each way to set a limit names the one that is negative, and changes nothing."""
    limits = CallLimits(100, 10)
    with pytest.raises(ValueError, match=r"limit total: .* -1"):
        CallLimits(-1)
    with pytest.raises(ValueError, match=r"limit per_tenant: .* -1"):
        CallLimits(100, -1)
    with pytest.raises(ValueError, match=r"limit acme: .* -1"):
        limits.replace_own({GLOBEX: 1, ACME: -1})
    assert (limits.of(GLOBEX), limits.of(ACME)) == (10, 10)


class FakeLimits:
    """A database of limits with a revision, which can be away."""

    def __init__(self) -> None:
        self.own: dict[TenantId, int] = {ACME: 3}
        self.changes = 1
        self.invalidations = 0
        self.reads = 0
        self.revision_error: Exception | None = None
        self.limits_error: Exception | None = None

    async def revision(self) -> ConfirmedRevision:
        if self.revision_error is not None:
            raise self.revision_error
        return ConfirmedRevision(self.changes, 0)

    def invalidate(self) -> None:
        self.invalidations += 1

    async def own_limits(self) -> Mapping[TenantId, int]:
        self.reads += 1
        if self.limits_error is not None:
            raise self.limits_error
        return dict(self.own)

    def change(self, tenant_id: TenantId, limit: int | None) -> None:
        self.own.pop(tenant_id, None)
        if limit is not None:
            self.own[tenant_id] = limit
        self.changes += 1


@pytest.fixture
def kept() -> FakeLimits:
    return FakeLimits()


@pytest.fixture
def limits() -> CallLimits:
    return CallLimits(GENERAL)


@pytest.fixture
def follower(kept: FakeLimits, limits: CallLimits) -> LimitsFollower:
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


async def test_changes_are_followed(kept: FakeLimits, limits: CallLimits, follower: LimitsFollower) -> None:
    """A limit that is set, lowered or lifted elsewhere is in force after a look, without a call."""
    await follower.start(every_seconds=0.001)
    kept.change(GLOBEX, 7)
    await until(lambda: limits.of(GLOBEX) == 7)
    kept.change(GLOBEX, 0)
    await until(lambda: limits.of(GLOBEX) == 0)
    kept.change(ACME, None)
    await until(lambda: limits.of(ACME) == GENERAL)
    await follower.close()


async def test_nothing_is_read_while_nothing_changes(kept: FakeLimits, follower: LimitsFollower) -> None:
    """However often it looks, the limits are read once for each revision."""
    for _ in range(5):
        await follower.refresh()
    assert kept.reads == 1


async def test_an_own_change_holds_at_once(kept: FakeLimits, limits: CallLimits, follower: LimitsFollower) -> None:
    """Told of a change, it doubts what was known and takes the new limits over before it returns."""
    await follower.refresh()
    kept.change(ACME, 1)
    await follower.changed()
    assert (limits.of(ACME), kept.invalidations) == (1, 1)


@pytest.mark.parametrize("error", [DBAPIError("", {}, Exception()), OSError("gone")])
async def test_limits_stay_while_the_database_is_away(
    kept: FakeLimits, limits: CallLimits, follower: LimitsFollower, error: Exception
) -> None:
    """With no answer about revision or limits those in force stay; what was missed is made up for afterwards."""
    await follower.refresh()
    kept.change(ACME, 1)
    kept.revision_error = TenantLookupError("away")
    await follower.refresh()
    kept.revision_error, kept.limits_error = None, error
    await follower.refresh()
    assert limits.of(ACME) == 3
    kept.limits_error = None
    await follower.refresh()
    assert limits.of(ACME) == 1


async def test_one_bad_look_is_not_the_last(
    kept: FakeLimits, limits: CallLimits, follower: LimitsFollower, caplog: pytest.LogCaptureFixture
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
