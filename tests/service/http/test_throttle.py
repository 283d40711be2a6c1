"""The brake on addresses."""

import pytest

from service.http.security import BURST, MAX_ADDRESSES, SECONDS_A_GUESS, AddressBrake


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def brake(clock: Clock) -> AddressBrake:
    return AddressBrake(monotonic=clock)


def exhaust(brake: AddressBrake, address: str) -> None:
    for _ in range(BURST):
        assert brake.wait_seconds(address) == 0
        brake.failed(address)


def test_a_burst_is_let_through_and_then_one_at_a_time(brake: AddressBrake, clock: Clock) -> None:
    """After so many failures an address waits, and then has one try in so many seconds."""
    exhaust(brake, "10.0.0.1")
    assert brake.wait_seconds("10.0.0.1") == SECONDS_A_GUESS
    clock.now = SECONDS_A_GUESS
    assert brake.wait_seconds("10.0.0.1") == 0
    brake.failed("10.0.0.1")
    assert brake.wait_seconds("10.0.0.1") == SECONDS_A_GUESS
    clock.now += BURST * SECONDS_A_GUESS
    exhaust(brake, "10.0.0.1")


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "somewhere", False),
    ],
)
def test_addresses_are_told_apart_as_subscribers_are(brake: AddressBrake, one: str, other: str, together: bool) -> None:
    """An IPv4 address stands for itself, an IPv6 address for its network."""
    exhaust(brake, one)
    assert (brake.wait_seconds(other) > 0) is together


def test_the_addresses_kept_are_bounded(brake: AddressBrake) -> None:
    """However many addresses guess, the latest are kept and no more."""
    for number in range(MAX_ADDRESSES + 10):
        brake.failed(f"host-{number}")
    assert len(brake._buckets) == MAX_ADDRESSES
