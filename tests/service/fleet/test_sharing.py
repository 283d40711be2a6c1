"""The share of the free places that each process may fill while the store is away."""

from hypothesis import given
from hypothesis import strategies as st

from service.fleet.sharing import MAX_TENANTS, FleetSeen, OnOutage
from telemetry.semconv.attributes import TenantId

ACME = TenantId("acme")


def seen(living: int, rank: int, total: int, own: int) -> FleetSeen:
    fleet = FleetSeen()
    fleet.living, fleet.rank = living, rank
    fleet.saw(total, own)
    return fleet


def test_stale_numbers_share_nothing() -> None:
    """What was seen long before the store went away lets nothing in."""
    fleet = seen(living=2, rank=0, total=0, own=0)
    fleet.stale = True
    assert fleet.allowed(OnOutage.SHARE, 10) == 0
    assert fleet.allowed(OnOutage.OPEN, 10) == 10


def test_a_tenant_of_which_nothing_is_known_shares_nothing() -> None:
    """Where a heartbeat could not list all tenants, one that it left out may be at its limit."""
    fleet = seen(living=2, rank=0, total=0, own=0)
    fleet.listed(fleet.moment, 5, {ACME: 5}, {ACME: 1}, complete=False)
    assert fleet.allowed_of(OnOutage.SHARE, TenantId("other"), 8) == 0
    assert fleet.allowed_of(OnOutage.SHARE, ACME, 8) == 1 + 2
    fleet.listed(fleet.moment, 5, {}, {}, complete=True)
    assert fleet.allowed_of(OnOutage.SHARE, ACME, 8) == 4


def test_what_was_seen_after_a_heartbeat_was_sent_stands() -> None:
    """A heartbeat's list does not undo what a later answer said of the total and of a tenant."""
    fleet = seen(living=1, rank=0, total=1, own=1)
    sent = fleet.moment
    fleet.saw_tenant(ACME, 3, own=1)
    fleet.saw(4, own=1)
    fleet.listed(sent, 1, {ACME: 1, TenantId("other"): 2}, {ACME: 1}, complete=True)
    assert fleet.total == 4
    assert fleet.allowed_of(OnOutage.SHARE, ACME, 5) == 1 + 2
    assert fleet.allowed_of(OnOutage.SHARE, TenantId("other"), 5) == 3


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12), st.integers(0, 400))
def test_the_shares_of_all_add_up_to_the_limit(held: list[int], limit: int) -> None:
    """Processes that saw the same moment can together hold just the limit, and never less than they hold already."""
    total = sum(held)
    allowed = [seen(len(held), rank, total, own).allowed(OnOutage.SHARE, limit) for rank, own in enumerate(held)]
    assert sum(allowed) == max(limit, total)
    assert all(may >= own for may, own in zip(allowed, held, strict=True))


def test_open_and_closed() -> None:
    """Open goes by the limit alone, closed lets nothing in, whatever was seen."""
    fleet = seen(living=3, rank=0, total=9, own=2)
    assert fleet.allowed(OnOutage.OPEN, 10) == 10
    assert fleet.allowed(OnOutage.CLOSED, 10) == 0


def test_a_tenant_has_a_share_of_its_own() -> None:
    """A tenant's places are shared out like the total's; one that holds none has its whole limit to share."""
    fleet = seen(living=2, rank=1, total=0, own=0)
    fleet.saw_tenant(ACME, 5, own=1)
    assert fleet.allowed_of(OnOutage.SHARE, ACME, 8) == 1 + 1
    assert fleet.allowed_of(OnOutage.SHARE, TenantId("new"), 9) == 4


def test_a_slot_that_was_given_up_is_no_more_its_own() -> None:
    """What a process held falls by it, in total and of its tenant, and never below nothing."""
    fleet = seen(living=2, rank=0, total=4, own=1)
    fleet.saw_tenant(ACME, 2, own=1)
    for _ in range(2):
        fleet.gave_up(ACME, fleet.moment)
        assert fleet.allowed(OnOutage.SHARE, 10) == 3
        assert fleet.allowed_of(OnOutage.SHARE, ACME, 4) == 1
    fleet.gave_up(TenantId("unseen"), fleet.moment)
    assert fleet.total == 4


def test_a_slot_that_was_given_up_before_is_none_of_those_counted() -> None:
    """An answer counts what is held when it comes, a heartbeat what was held when it was sent."""
    fleet = seen(living=2, rank=0, total=4, own=2)
    before = fleet.moment
    fleet.saw(4, own=1)
    fleet.gave_up(ACME, before)
    assert fleet.allowed(OnOutage.SHARE, 10) == 1 + 3
    sent = fleet.moment
    fleet.listed(sent, 4, {ACME: 1}, {ACME: 1}, complete=True)
    fleet.gave_up(ACME, sent)
    assert fleet.allowed(OnOutage.SHARE, 10) == 0 + 3
    assert fleet.allowed_of(OnOutage.SHARE, ACME, 3) == 0 + 1


def test_tenants_remembered_are_bounded() -> None:
    """Of more tenants than are remembered, those that called longest ago are forgotten."""
    fleet = FleetSeen()
    for number in range(MAX_TENANTS + 1):
        fleet.saw_tenant(TenantId(f"t{number}"), 1, own=1)
    assert len(fleet.tenants) == MAX_TENANTS
    assert TenantId("t0") not in fleet.tenants
