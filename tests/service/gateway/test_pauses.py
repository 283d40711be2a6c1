"""A pause of this process is no call's silence."""

from service.gateway.manager import CallManager, Pauses
from telemetry.calls.lifecycle import CallState
from telemetry.clock import Instant
from telemetry.testing import TelemetryKit

STALE = 120.0
HEARTBEAT = 5.0


def at(seconds: float) -> Instant:
    return Instant(1_000.0 + seconds, 0)


def beaten(*moments: float) -> Pauses:
    pauses = Pauses(HEARTBEAT)
    for moment in moments:
        pauses.heartbeat(at(moment))
    return pauses


def test_without_a_pause_silence_is_judged_as_it_is() -> None:
    """Heartbeats that come in time, or late by as long as they may take, leave the limit alone."""
    assert beaten(0, 5, 10, 20, 30).allowed(STALE, at(30)) == STALE


def test_a_pause_is_added_with_time_for_a_probe() -> None:
    """A session silent since before the pause is judged by the time this process listened, and two heartbeats more."""
    pauses = beaten(0, 5, 1_005)
    allowed = pauses.allowed(STALE, at(1_005))
    assert allowed == STALE + (1_000 - 2 * HEARTBEAT) + 4 * HEARTBEAT
    assert allowed > 1_005


def test_a_pause_before_the_silence_began_does_not_count() -> None:
    """A session that was heard after the pause is judged as ever."""
    pauses = beaten(0, 300, *range(305, 2_000, 5))
    assert pauses.allowed(STALE, at(2_000)) == STALE


def test_several_pauses_add_up() -> None:
    """A process that stands still again and again blames no call for it."""
    pauses = beaten(0, 100, 200, 300)
    assert pauses.allowed(STALE, at(300)) > 300 + STALE


class Quiet:
    """Sessions of which none answers its probe."""

    def __init__(self) -> None:
        self.checks = 0

    async def check(self) -> None:
        self.checks += 1


class Unclaimed:
    """Claims that are asked for and never lost."""

    async def check_claims(self) -> None: ...


async def test_the_sweeper_judges_by_what_the_process_listened(kit: TelemetryKit) -> None:
    """After a pause a call is probed before it is judged, and ends only when its silence goes on."""
    sessions = Quiet()
    manager = CallManager(
        kit.tracker,
        None,  # type: ignore[arg-type] # no call is decided upon
        sessions,  # type: ignore[arg-type]
        Unclaimed(),  # type: ignore[arg-type]
        heartbeat_seconds=HEARTBEAT,
        stale_seconds=STALE,
        max_calls=1,
        machine_clock=kit.clock,
    )
    call = kit.tracker.received("rtc_1", "acme")
    call.accepted()
    call.started()
    for pause in (0.0, HEARTBEAT, 1_000.0, *[HEARTBEAT] * 20):
        kit.clock.advance(pause)
        await manager._run_heartbeat()
    assert (call.state, sessions.checks) == (CallState.STARTED, 23)
    for _ in range(10):
        kit.clock.advance(HEARTBEAT)
        await manager._run_heartbeat()
    assert call.state is CallState.ENDED


async def test_a_pause_before_the_first_heartbeat_is_one_too(kit: TelemetryKit) -> None:
    """A process that is stopped just after its start has listened no longer than any other."""
    manager = CallManager(
        kit.tracker,
        None,  # type: ignore[arg-type] # no call is decided upon
        Quiet(),  # type: ignore[arg-type]
        Unclaimed(),  # type: ignore[arg-type]
        heartbeat_seconds=HEARTBEAT,
        stale_seconds=STALE,
        max_calls=1,
        machine_clock=kit.clock,
    )
    manager.start()
    call = kit.tracker.received("rtc_1", "acme")
    call.accepted()
    call.started()
    kit.clock.advance(1_000.0)
    await manager._run_heartbeat()
    assert call.state is CallState.STARTED
    for worker in (manager._heartbeat, manager._billing_rest, manager._running_hooks):
        await worker.stop()
