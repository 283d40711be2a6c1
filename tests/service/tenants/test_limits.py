"""The limits in force: a general one, tenants' own, and their changes while the service runs."""

import pytest

from service.tenants.limits import CallLimits
from telemetry.semconv.attributes import TenantId

ACME, GLOBEX = TenantId("acme"), TenantId("globex")


def test_without_a_limit_per_tenant_the_total_holds_for_each() -> None:
    """Tenants without any other limit may use all there is, also when that changes."""
    limits = CallLimits(100)
    assert (limits.total(), limits.of(ACME)) == (100, 100)
    limits.set_general(50)
    assert (limits.total(), limits.of(ACME)) == (50, 50)


def test_a_tenants_own_limit_wins_over_the_general_one() -> None:
    """An own limit, 0 among them, holds for its tenant alone and until it is taken back."""
    limits = CallLimits(100, 10)
    limits.set_own(ACME, 0)
    assert (limits.of(ACME), limits.of(GLOBEX)) == (0, 10)
    limits.set_own(ACME, None)
    assert limits.of(ACME) == 10


def test_own_limits_are_replaced_as_a_whole() -> None:
    """After a replacement only the tenants named in it have a limit of their own."""
    limits = CallLimits(100, 10)
    limits.set_own(ACME, 3)
    limits.replace_own({GLOBEX: 7})
    assert (limits.of(ACME), limits.of(GLOBEX)) == (10, 7)


def test_own_limits_are_bounded_and_what_is_forgotten_is_counted() -> None:
    """Past the bound the limit set longest ago gives way to the general one."""
    limits = CallLimits(100, 10, max_own=2)
    for number in range(4):
        limits.set_own(TenantId(f"t{number}"), number)
    assert [limits.of(TenantId(f"t{number}")) for number in range(4)] == [10, 10, 2, 3]
    assert limits.forgotten == 2


def test_a_negative_limit_is_refused_by_name() -> None:
    """Each way to set a limit names the one that is negative, and changes nothing."""
    limits = CallLimits(100, 10)
    with pytest.raises(ValueError, match=r"limit total: .* -1"):
        CallLimits(-1)
    with pytest.raises(ValueError, match=r"limit per_tenant: .* -1"):
        limits.set_general(100, -1)
    with pytest.raises(ValueError, match=r"limit acme: .* -1"):
        limits.set_own(ACME, -1)
    with pytest.raises(ValueError, match=r"limit acme: .* -1"):
        limits.replace_own({ACME: -1})
    assert (limits.total(), limits.of(ACME)) == (100, 10)
