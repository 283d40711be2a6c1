"""The decision about one call, step by step, with nothing but fakes around it."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.e164 import E164, Address
from service.gateway.admission import CAPACITY_IN_DOUBT, Admission, IncomingCall
from service.gateway.capacity import Capacity, InDoubt
from service.gateway.carriers.carrier import CarrierError
from service.gateway.carriers.sip import Dialled
from service.gateway.durability import Announced, DurabilityGate
from service.records.calls import Ownership
from service.records.ledger import NewCall
from service.tenants.cache import TenantAnswer
from service.tenants.errors import InstructionsUnavailableError, TenantLookupError
from service.tenants.limits import CallLimits
from service.tenants.tenant import CallTenant
from telemetry.calls.events import CallRejected, CallUnanswered
from telemetry.calls.lifecycle import CallState
from telemetry.semconv.attributes import UNKNOWN_TENANT, CallId, RejectionReason, TenantId, UnansweredReason
from telemetry.testing import TelemetryKit

CALL = CallId("rtc_1")
DIALLED = Dialled((E164("+18005550100"),))
ACME = CallTenant(
    tenant_id=TenantId("acme"), name="Acme", enabled=True, max_concurrent_calls=1, transfer_targets={}, features={}
)


@dataclass
class Records:
    """What the gate asks for, written down."""

    ownership: Ownership = Ownership.OURS
    is_decidable: bool = True
    is_certain: bool = True
    owned: bool = True
    claims: list[NewCall] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)

    async def claim(self, call: NewCall, _budget_seconds: float) -> Ownership:
        self.claims.append(call)
        return self.ownership

    async def ensure_written(self, _call_id: CallId, _budget_seconds: float) -> None:
        self.waits.append("written")

    async def ensure_decidable(self, _call_id: CallId, _budget_seconds: float) -> None:
        self.waits.append("decidable")

    def decidable(self, _call_id: CallId) -> bool:
        return self.is_decidable

    def certain(self, _call_id: CallId) -> bool:
        return self.is_certain

    async def owns(self, _call_id: CallId) -> bool:
        return self.owned

    async def check_claims(self) -> None:
        raise NotImplementedError

    def hurry(self) -> None:
        raise NotImplementedError


@dataclass
class Tenants:
    """One tenant, as far as it can be found."""

    tenant: CallTenant | None = ACME
    known: CallTenant | None = None
    instructions: str | None = "You answer."
    lookup_fails: bool = False
    instructions_fail: bool = False

    def remembered(self, _number: Address) -> CallTenant | None:
        return self.known

    async def tenant_for(self, _number: Address) -> TenantAnswer:
        if self.lookup_fails:
            raise TenantLookupError("away")
        return TenantAnswer(self.tenant, stale=False)

    async def instructions_for(self, _tenant_id: str) -> str | None:
        if self.instructions_fail:
            raise InstructionsUnavailableError("away")
        return self.instructions


class FakeCarrier:
    """Writes requests down; refuses an accept, or a reject, with a status."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, object]] = []
        self.refuses: dict[str, int] = {}

    async def accept(self, _call_id: CallId, instructions: str, *_: Any, **_options: Any) -> None:  # noqa: ANN401
        self._take("accept", instructions)

    async def reject(self, _call_id: CallId, sip_status: int) -> None:
        self._take("reject", sip_status)

    async def hangup(self, call_id: CallId) -> None:
        self._take("hangup", call_id)

    def _take(self, request: str, value: object) -> None:
        self.asked.append((request, value))
        status = self.refuses.get(request)
        if status is not None:
            raise CarrierError(str(status), status)


class AdmissionHarness:
    """An admission and all it stands among."""

    def __init__(self, kit: TelemetryKit, fallback: str | None = None) -> None:
        self.kit, self.records, self.tenants, self.carrier = kit, Records(), Tenants(), FakeCarrier()
        self.capacity = Capacity()
        records: Any = self.records
        tenants: Any = self.tenants
        carrier: Any = self.carrier
        # Their methods take arguments under other names: nobody names them.
        self.gate = DurabilityGate(records)
        self.admission = Admission(
            kit.tracker,
            carrier,
            tenants,
            self.capacity,
            CallLimits(2),
            self.gate,
            fallback_instructions=fallback,
        )

    async def decide(self) -> tuple[CallState, RejectionReason | None]:
        """Take one call through; returns its state, and why it was rejected if it was."""
        incoming = IncomingCall(CALL, self.kit.clock.now(), DIALLED)
        call, placed = await self.admission.receive(incoming, self.kit.clock.now())
        await self.admission.decide(call, placed)
        reasons = [event.reason for event in self.kit.events if isinstance(event, CallRejected)]
        return call.state, reasons[0] if reasons else None


@pytest.fixture
def harness() -> Any:  # noqa: ANN401 -- a generator of one
    with TelemetryKit() as kit:
        yield AdmissionHarness(kit)


async def test_a_call_is_accepted_with_its_tenants_instructions(harness: AdmissionHarness) -> None:
    """Nothing is waited for where the claim has named the tenant; the slot is held."""
    assert await harness.decide() == (CallState.ACCEPTED, None)
    assert harness.carrier.asked == [("accept", "You answer.")]
    assert (harness.records.waits, harness.capacity.in_use) == ([], 1)


async def test_a_claim_names_the_tenant_the_number_had_last(harness: AdmissionHarness) -> None:
    """Without one it names none, and the call waits for its record before it is accepted."""
    incoming = IncomingCall(CALL, harness.kit.clock.now(), DIALLED)
    await harness.admission.claim(incoming)
    harness.tenants.known = ACME
    await harness.admission.claim(incoming)
    assert [call.tenant_id for call in harness.records.claims] == [UNKNOWN_TENANT, "acme"]
    harness.records.is_decidable = False
    await harness.decide()
    assert harness.records.waits == ["decidable"]


async def test_the_claim_answers_the_delivery(harness: AdmissionHarness) -> None:
    """A delivery is settled with the claim where another process could decide from there, and not before."""
    incoming = IncomingCall(CALL, harness.kit.clock.now(), DIALLED)
    harness.gate.expect(CALL)
    answer = asyncio.create_task(harness.gate.answer(CALL))
    await asyncio.sleep(0)
    harness.records.is_decidable = False
    await harness.admission.claim(incoming)
    assert not answer.done()
    harness.records.is_decidable = True
    await harness.admission.claim(incoming)
    assert await answer is Announced.TAKEN
    assert await harness.gate.answer(CALL) is None


async def test_a_call_that_became_decidable_meanwhile_is_answered(harness: AdmissionHarness) -> None:
    """What another call had written may have brought this one's record along, before anybody waited for it."""
    incoming = IncomingCall(CALL, harness.kit.clock.now(), DIALLED)
    harness.gate.expect(CALL)
    answer = asyncio.create_task(harness.gate.answer(CALL))
    await asyncio.sleep(0)
    harness.records.is_decidable = False
    await harness.admission.claim(incoming)
    harness.records.is_decidable = True
    assert await harness.decide() == (CallState.ACCEPTED, None)
    assert harness.records.waits == []
    assert await asyncio.wait_for(answer, 60) is Announced.TAKEN


@pytest.mark.parametrize(
    ("change", "reason", "status"),
    [
        ({"tenant": None}, RejectionReason.TENANT_NOT_CONFIGURED, 404),
        ({"lookup_fails": True}, RejectionReason.TENANT_LOOKUP_FAILED, 504),
        ({"instructions": None}, RejectionReason.INSTRUCTIONS_MISSING, 480),
        ({"instructions_fail": True}, RejectionReason.INSTRUCTIONS_MISSING, 480),
    ],
)
async def test_what_is_missing_turns_the_call_away(
    harness: AdmissionHarness, change: dict[str, Any], reason: RejectionReason, status: int
) -> None:
    """Each with a reason and a SIP status of its own, on record before the carrier is told, and without a slot."""
    for name, value in change.items():
        setattr(harness.tenants, name, value)
    assert await harness.decide() == (CallState.REJECTED, reason)
    assert harness.carrier.asked == [("reject", status)]
    assert (harness.records.waits, harness.capacity.in_use) == (["written"], 0)


async def test_the_fallback_stands_in_for_instructions() -> None:
    """Where one is configured."""
    with TelemetryKit() as kit:
        harness = AdmissionHarness(kit, fallback="Take a message.")
        harness.tenants.instructions_fail = True
        assert await harness.decide() == (CallState.ACCEPTED, None)
        assert harness.carrier.asked == [("accept", "Take a message.")]


async def test_a_full_tenant_turns_the_call_away(harness: AdmissionHarness) -> None:
    """Its own limit is the one that counts."""
    harness.capacity.reserve(ACME.tenant_id, limit=1, total_limit=2)
    assert await harness.decide() == (CallState.REJECTED, RejectionReason.CAPACITY)
    assert (harness.carrier.asked, harness.capacity.in_use) == ([("reject", 486)], 1)


async def test_a_call_that_nobody_can_decide_about_is_turned_away(
    harness: AdmissionHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For capacity, with the doubt as its cause and no limit that was not reached."""

    async def in_doubt(*_: object, **_limits: object) -> InDoubt:
        return InDoubt()

    monkeypatch.setattr(harness.capacity, "admit", in_doubt)
    assert await harness.decide() == (CallState.REJECTED, RejectionReason.CAPACITY)
    (rejected,) = [event for event in harness.kit.events if isinstance(event, CallRejected)]
    assert (rejected.limit, rejected.error_type) == (None, CAPACITY_IN_DOUBT)
    assert harness.carrier.asked == [("reject", 486)]


@pytest.mark.parametrize("certain", [True, False])
@pytest.mark.parametrize("status", [400, 403, 409, 422, 500])
async def test_a_refused_accept_ends_only_what_is_ours(harness: AdmissionHarness, status: int, certain: bool) -> None:
    """A conflict says that another has the call; without the database's word any refusal may say so."""
    harness.carrier.refuses = {"accept": status, "reject": 404}
    harness.records.is_certain = certain
    assert await harness.decide() == (CallState.REJECTED, RejectionReason.CARRIER_ERROR)
    ours = certain and status != 409
    assert [request for request, _ in harness.carrier.asked[1:]] == (["reject", "hangup"] if ours else [])
    assert harness.capacity.in_use == 0


@pytest.mark.parametrize("certain", [True, False])
@pytest.mark.parametrize("status", [404, 410])
async def test_a_caller_who_gave_up_meanwhile_is_no_rejection(
    harness: AdmissionHarness, status: int, certain: bool
) -> None:
    """An accept that finds no call says that the caller canceled; nothing more is asked, and the slot is free."""
    harness.carrier.refuses = {"accept": status}
    harness.records.is_certain = certain
    assert await harness.decide() == (CallState.UNANSWERED, None)
    (unanswered,) = [event for event in harness.kit.events if isinstance(event, CallUnanswered)]
    assert (unanswered.reason, unanswered.error_type) == (UnansweredReason.CANCELED, None)
    assert ([request for request, _ in harness.carrier.asked], harness.capacity.in_use) == (["accept"], 0)


async def test_a_call_taken_over_meanwhile_is_not_counted_as_canceled(harness: AdmissionHarness) -> None:
    """It is the other process's to say what became of it."""
    harness.carrier.refuses = {"accept": 404}
    harness.records.owned = False
    assert await harness.decide() == (CallState.PENDING, None)
    assert harness.capacity.in_use == 0


async def test_a_call_that_is_another_s_by_now_is_not_turned_away(harness: AdmissionHarness) -> None:
    """Nothing is counted and nothing is asked."""
    harness.tenants.tenant = None
    harness.records.owned = False
    assert await harness.decide() == (CallState.PENDING, None)
    assert harness.carrier.asked == []
