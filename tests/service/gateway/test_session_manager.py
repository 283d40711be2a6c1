"""The sessions of a process: attached to, followed, probed, hung up."""

from service.gateway.carriers.carrier import CarrierError
from service.gateway.session_manager import SessionManager
from service.tenants.tenant import CallTenant
from telemetry.calls.events import CallEnded
from telemetry.calls.lifecycle import CallState
from telemetry.semconv.attributes import CallId, Fault, TenantId
from telemetry.testing import TelemetryKit
from tests.service.gateway.test_session import NOT_FOUND, ORDERLY, ScriptedCarrier, ScriptedSession

TENANT = CallTenant(
    tenant_id=TenantId("acme"), name="Acme", enabled=True, max_concurrent_calls=None, transfer_targets={}, features={}
)


class Claims:
    """Says whose each call is, and that something changed."""

    def __init__(self, *, owned: bool = True) -> None:
        self.owned, self.changes = owned, 0

    async def owns(self, call_id: CallId) -> bool:
        return bool(call_id) and self.owned

    def changed(self) -> None:
        self.changes += 1


def manager(kit: TelemetryKit, carrier: ScriptedCarrier, claims: Claims) -> SessionManager:
    return SessionManager(
        carrier,
        claims,  # type: ignore[arg-type] # the part of the gate that sessions need
        model="model",
        transcription_model="transcriber",
        clock=kit.clock,
    )


async def test_a_call_is_attended_to_its_end(kit: TelemetryKit) -> None:
    """Started once the session is attached, ended with it, with the change of state on its way to the record."""
    call = kit.tracker.received("rtc_1", "acme")
    call.accepted()
    claims = Claims()
    await manager(kit, ScriptedCarrier(ScriptedSession(closed=ORDERLY)), claims).attend(call, TENANT)
    assert (call.state, claims.changes) == (CallState.ENDED, 1)


async def test_a_session_that_cannot_be_attached_is_abandoned_and_hung_up(kit: TelemetryKit) -> None:
    """The caller is not left on the line."""
    call = kit.tracker.received("rtc_1", "acme")
    call.accepted()
    carrier = ScriptedCarrier(CarrierError("500", 500))
    sessions = manager(kit, carrier, Claims())
    await sessions.attend(call, TENANT)
    await sessions.hung_up()
    assert (call.state, carrier.asked) == (CallState.ABANDONED, ["attach", "hangup"])
    assert not sessions.hanging_up


async def test_a_call_that_another_process_owns_by_now_is_not_ended(kit: TelemetryKit) -> None:
    """Its end is that process's to count; nothing is asked of the carrier."""
    call = kit.tracker.received("rtc_1", "acme")
    call.accepted()
    carrier = ScriptedCarrier(NOT_FOUND)
    await manager(kit, carrier, Claims(owned=False)).attend(call, TENANT)
    assert (call.state, carrier.asked) == (CallState.ACCEPTED, ["attach"])


async def test_a_call_lasts_to_its_sessions_end_however_long_the_claim_is_checked(kit: TelemetryKit) -> None:
    """A database that takes its time to say whose the call is adds nothing to the minutes."""

    class SlowClaims(Claims):
        async def owns(self, call_id: CallId) -> bool:
            kit.clock.advance(7)
            return await super().owns(call_id)

    call = kit.tracker.received("rtc_1", "acme")
    call.accepted()
    await manager(kit, ScriptedCarrier(ScriptedSession(closed=ORDERLY)), SlowClaims()).attend(call, TENANT)
    (end,) = [event for event in kit.events if isinstance(event, CallEnded)]
    assert (end.duration_seconds, end.fault) == (0, Fault.CARRIER)


async def test_a_hang_up_that_fails_changes_nothing(kit: TelemetryKit) -> None:
    """It is tried, and whatever the carrier says, nobody is told."""
    carrier = ScriptedCarrier(NOT_FOUND, refuses=CarrierError("500", 500))
    sessions = manager(kit, carrier, Claims())
    sessions.hang_up_later(CallId("rtc_1"))
    assert sessions.hanging_up
    await sessions.hung_up()
    assert carrier.asked == ["hangup"]
