"""The decision about an announced call, in order: owner, tenant, capacity, instructions, and the carrier's accept."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

from service.e164 import E164, Address
from service.gateway.capacity import CapacityRule, InDoubt, Slot
from service.gateway.carriers.carrier import REJECTION_STATUS, Carrier, CarrierError
from service.gateway.carriers.sip import Dialled
from service.gateway.durability import DurabilityGate
from service.gateway.tools import tools_for
from service.records.calls import Ownership
from service.records.ledger import NewCall
from service.tenants.cache import TenantAnswer
from service.tenants.errors import InstructionsUnavailableError, TenantLookupError
from service.tenants.fields import CAPTURE_CONTENT
from service.tenants.limits import CallLimits
from service.tenants.tenant import CallTenant
from telemetry.calls.call import Call
from telemetry.calls.events import LimitHit, Phase
from telemetry.calls.tracker import CallTracker
from telemetry.clock import Instant
from telemetry.semconv.attributes import (
    UNKNOWN_TENANT,
    CallId,
    EndReason,
    RejectionReason,
    TenantId,
    UnansweredReason,
)

TELLING_AT_ONCE = 16
"""Rejections being told to the carrier at the same time: a flood of them must not slow the calls that are let in."""


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """A call as the carrier announced it."""

    call_id: CallId
    received: Instant
    """The moment the webhook arrived."""
    dialled: Dialled = field(default=Dialled(), repr=False)
    caller: E164 | None = field(default=None, repr=False)
    traceparent: str | None = field(default=None, repr=False)


NO_TENANT = "no_tenant"
"""The reason that a call reaches nobody: a telephone number that no tenant owns."""

TENANT_DISABLED = "tenant_disabled"

CAPACITY_IN_DOUBT = "capacity_in_doubt"
"""The error type of a call that is turned away for capacity though no limit is known to be reached: the fleet's store
said nothing in time."""

CALLER_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
"""Answers to an accept that say that the call is not there any more: the caller gave up (SIP CANCEL)."""


@dataclass(frozen=True, slots=True)
class Unplaced:
    """A call that reaches no tenant."""

    reason: RejectionReason
    problem: str | None = None
    """The reason that what was dialled matched nothing: :data:`NO_TENANT` or a
    :class:`service.gateway.carriers.sip.Missing`."""


class TenantSource(Protocol):
    """The source of tenants at call time."""

    def remembered(self, number: Address) -> CallTenant | None:
        """Return the tenant found last for the number, without asking anybody; ``None`` if there is none."""
        ...

    async def tenant_for(self, number: Address) -> TenantAnswer:
        """Find the tenant the number reaches.

        Raises:
            TenantLookupError: if that cannot be said now.
        """
        ...

    async def instructions_for(self, tenant_id: TenantId) -> str | None:
        """Return what the tenant's agent is told; ``None`` if nothing is set.

        Raises:
            InstructionsUnavailableError: if that cannot be said now.
        """
        ...


def keeps_content(tenant: CallTenant | None) -> bool:
    """Return true if transcripts and the like of the tenant's calls go on spans."""
    return tenant is not None and tenant.features.get(CAPTURE_CONTENT) is True


async def tenant_reached(tenants: TenantSource, dialled: Dialled) -> tuple[CallTenant, Address] | None:
    """Return the tenant that owns one of the readings of what was dialled, with that; None if nobody owns any.

    Raises:
        TenantLookupError: if that cannot be said now.
    """
    for reading in dialled.readings:
        tenant = (await tenants.tenant_for(reading)).tenant
        if tenant is not None:
            return tenant, reading
    return None


class Admission:
    """Takes an announced call to the point where it is accepted or turned away."""

    def __init__(
        self,
        tracker: CallTracker,
        carrier: Carrier,
        tenants: TenantSource,
        capacity: CapacityRule,
        limits: CallLimits,
        gate: DurabilityGate,
        *,
        fallback_instructions: str | None,
    ) -> None:
        self._tracker = tracker
        self._carrier = carrier
        self._tenants = tenants
        self._capacity = capacity
        self._limits = limits
        self._fallback = fallback_instructions
        self._gate = gate
        self._telling = asyncio.Semaphore(TELLING_AT_ONCE)

    async def claim(self, incoming: IncomingCall) -> Ownership:
        """Find out whose call it is before anything is counted. Its record names the tenant the number had last."""
        address, hint = incoming.dialled.shown, None
        for reading in incoming.dialled.readings:
            hint = self._tenants.remembered(reading)
            if hint is not None:
                address = reading
                break
        tenant_id = UNKNOWN_TENANT if hint is None else hint.tenant_id
        call = NewCall(incoming.call_id, tenant_id, incoming.received, incoming.caller, address)
        return await self._gate.claim(call)

    async def receive(self, incoming: IncomingCall, claimed: Instant) -> tuple[Call, CallTenant | Unplaced]:
        """Find the tenant of a call that is this process's since ``claimed``, and count the call as received.

        Returns the call with its tenant, or with the reason why it has none.
        """
        dialled, address = incoming.dialled, incoming.dialled.shown
        tenant: CallTenant | None = None
        unplaced = Unplaced(RejectionReason.TENANT_NOT_CONFIGURED, dialled.problem or NO_TENANT)
        announced = self._tracker.announced(incoming.call_id, at=incoming.received, traceparent=incoming.traceparent)
        self._tracker.passed(announced, Phase.WEBHOOK, incoming.received, ended=claimed)
        self._tracker.passed(announced, Phase.RECORD, claimed)
        try:
            with self._tracker.phase(announced, Phase.TENANT_LOOKUP):
                found = await tenant_reached(self._tenants, dialled)
            tenant, address = found or (None, address)
        except TenantLookupError:
            unplaced = Unplaced(RejectionReason.TENANT_LOOKUP_FAILED)
        except asyncio.CancelledError:
            self._count(incoming, None, address).finish(EndReason.SHUTDOWN)
            raise
        return self._count(incoming, tenant, address), tenant or unplaced

    async def decide(self, call: Call, placed: CallTenant | Unplaced) -> Slot | None:
        """Accept the call or turn it away; returns the slot of an accepted call, for whoever ends it to give back."""
        if isinstance(placed, Unplaced):
            await self._turn_away(call, placed.reason, error_type=placed.problem)
            return None
        return await self._decide(call, placed)

    async def _decide(self, call: Call, tenant: CallTenant) -> Slot | None:
        if not tenant.enabled:
            await self._turn_away(call, RejectionReason.TENANT_NOT_CONFIGURED, error_type=TENANT_DISABLED)
            return None
        with call.phase(Phase.CAPACITY):
            reserved = await self._reserve(call.call_id, tenant)
        if isinstance(reserved, LimitHit):
            await self._turn_away(call, RejectionReason.CAPACITY, limit=reserved)
            return None
        if isinstance(reserved, InDoubt):
            await self._turn_away(call, RejectionReason.CAPACITY, error_type=CAPACITY_IN_DOUBT)
            return None
        accepted = False
        try:
            accepted = await self._prepare(call, tenant, reserved)
        finally:
            if not accepted:
                reserved.release()
        return reserved if accepted else None

    def _count(self, incoming: IncomingCall, tenant: CallTenant | None, dialled: str | None) -> Call:
        return self._tracker.received(
            incoming.call_id,
            tenant.tenant_id if tenant else UNKNOWN_TENANT,
            at=incoming.received,
            caller=incoming.caller,
            dialled=dialled,
            content=keeps_content(tenant),
        )

    async def _reserve(self, call_id: CallId, tenant: CallTenant) -> Slot | LimitHit | InDoubt:
        return await self._capacity.admit(
            call_id,
            tenant.tenant_id,
            limit=self._limits.resolved(tenant.max_concurrent_calls),
            total_limit=self._limits.total(),
        )

    async def _instructions(self, call: Call, tenant: CallTenant) -> str | None:
        own: str | None = None
        with call.phase(Phase.INSTRUCTIONS):
            try:
                own = await self._tenants.instructions_for(tenant.tenant_id)
            except InstructionsUnavailableError as error:
                call.instructions_failed(type(_first_cause(error)).__name__)
        if own is not None or self._fallback is None:
            return own
        call.fallback_used()
        return self._fallback

    async def _prepare(self, call: Call, tenant: CallTenant, slot: Slot) -> bool:
        instructions = await self._instructions(call, tenant)
        if instructions is None:
            slot.release()
            await self._turn_away(call, RejectionReason.INSTRUCTIONS_MISSING)
            return False
        tools = [tool.spec for tool in tools_for(tenant.transfer_targets).values()]
        if not self._gate.is_decidable(call.call_id):
            with call.phase(Phase.RECORD):
                await self._gate.decidable(call.call_id)
        try:
            with call.phase(Phase.ACCEPT):
                await self._carrier.accept(call.call_id, instructions, tools, transcribe=keeps_content(tenant))
        except CarrierError as error:
            slot.release()
            if error.status in CALLER_GONE:
                # The carrier has no such call any more, so there is nothing to tell it either.
                if await self._gate.owns(call.call_id):
                    call.unanswered(UnansweredReason.CANCELED)
                return False
            # A conflict says that somebody else has accepted the call and attends to it. Where the database could not
            # say whose the call is, any refusal may mean that.
            ours = error.status != HTTPStatus.CONFLICT and self._gate.certain(call.call_id)
            await self._turn_away(call, RejectionReason.CARRIER_ERROR, error_type=error.error_type, accepted=not ours)
            return False
        return call.accepted()

    async def _turn_away(
        self,
        call: Call,
        reason: RejectionReason,
        *,
        limit: LimitHit | None = None,
        error_type: str | None = None,
        accepted: bool = False,
    ) -> None:
        """Count the rejection at once, then record it and tell the carrier; the caller may have gone by then.

        Nothing is told of a call that another process has taken over or may have ``accepted``.
        """
        if not await self._gate.owns(call.call_id):
            return
        with suppress(CarrierError), call.phase(Phase.REJECT):
            call.rejected(reason, limit=limit, error_type=error_type)
            await self._gate.written(call.call_id)
            if not accepted:
                async with self._telling:
                    await self._tell(call, reason)

    async def _tell(self, call: Call, reason: RejectionReason) -> None:
        try:
            await self._carrier.reject(call.call_id, REJECTION_STATUS[reason])
        except CarrierError:
            # An accept that failed may have been carried out all the same: what cannot be rejected is hung up.
            if reason is RejectionReason.CARRIER_ERROR:
                await self._carrier.hangup(call.call_id)
            raise


def _first_cause(error: BaseException) -> BaseException:
    """Return what the error came of: a time-out and a database that refuses are not the same."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
