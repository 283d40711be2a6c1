"""What is decided about an announced call, in order: whose it is, whether there is room, what the agent is told."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

from service.e164 import E164
from service.gateway.capacity import Capacity, Slot
from service.gateway.carriers.carrier import REJECTION_STATUS, Carrier, CarrierError
from service.gateway.durability import DurabilityGate
from service.gateway.tools import tools_for
from service.tenants.cache import TenantAnswer
from service.tenants.errors import InstructionsUnavailableError, TenantLookupError
from service.tenants.fields import CAPTURE_CONTENT
from service.tenants.limits import CallLimits
from service.tenants.tenant import CallTenant
from telemetry.calls.call import Call
from telemetry.calls.events import LimitHit, Phase
from telemetry.calls.tracker import CallTracker
from telemetry.clock import Instant
from telemetry.semconv.attributes import UNKNOWN_TENANT, CallId, EndReason, RejectionReason, TenantId

TELLING_AT_ONCE = 16
"""Rejections being told to the carrier at the same time: a flood of them must not slow the calls that are let in."""


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """A call as the carrier announced it."""

    call_id: CallId
    received: Instant
    """When the webhook arrived."""
    dialled: E164 | None = field(default=None, repr=False)
    """If the announcement named a number."""
    caller: E164 | None = field(default=None, repr=False)
    traceparent: str | None = field(default=None, repr=False)


class TenantSource(Protocol):
    """Where tenants come from at call time."""

    async def tenant_for(self, number: E164) -> TenantAnswer:
        """Whose number it is.

        Raises:
            TenantLookupError: if that cannot be said now.
        """
        ...

    async def instructions_for(self, tenant_id: TenantId) -> str | None:
        """What the tenant's agent is told; ``None`` if nothing is set.

        Raises:
            InstructionsUnavailableError: if that cannot be said now.
        """
        ...


def keeps_content(tenant: CallTenant | None) -> bool:
    """Whether transcripts and the like of the tenant's calls go on spans."""
    return tenant is not None and tenant.features.get(CAPTURE_CONTENT) is True


class Admission:
    """Takes an announced call to the point where it is accepted or turned away."""

    def __init__(
        self,
        tracker: CallTracker,
        carrier: Carrier,
        tenants: TenantSource,
        capacity: Capacity,
        limits: CallLimits,
        recording: DurabilityGate,
        *,
        fallback_instructions: str | None,
    ) -> None:
        self._tracker = tracker
        self._carrier = carrier
        self._tenants = tenants
        self._capacity = capacity
        self._limits = limits
        self._fallback = fallback_instructions
        self._recording = recording
        self._telling = asyncio.Semaphore(TELLING_AT_ONCE)

    async def receive(self, incoming: IncomingCall) -> tuple[Call, CallTenant | RejectionReason]:
        """Find out whose call it is, and count it as received; returns the tenant, or why the call has none."""
        placed: CallTenant | RejectionReason
        announced = self._tracker.announced(incoming.call_id, at=incoming.received, traceparent=incoming.traceparent)
        self._tracker.passed(announced, Phase.WEBHOOK, incoming.received)
        try:
            with self._tracker.phase(announced, Phase.TENANT_LOOKUP):
                tenant = (await self._tenants.tenant_for(incoming.dialled)).tenant if incoming.dialled else None
            placed = tenant or RejectionReason.TENANT_NOT_CONFIGURED
        except TenantLookupError:
            placed = RejectionReason.TENANT_LOOKUP_FAILED
        except asyncio.CancelledError:
            self._count(incoming, None).finish(EndReason.SHUTDOWN)
            raise
        return self._count(incoming, placed if isinstance(placed, CallTenant) else None), placed

    async def decide(self, call: Call, placed: CallTenant | RejectionReason) -> Slot | None:
        """Accept the call or turn it away; returns the slot of an accepted call, for whoever ends it to give back."""
        if isinstance(placed, RejectionReason):
            await self._turn_away(call, placed)
            return None
        return await self._decide(call, placed)

    async def _decide(self, call: Call, tenant: CallTenant) -> Slot | None:
        if not tenant.enabled:
            await self._turn_away(call, RejectionReason.TENANT_NOT_CONFIGURED)
            return None
        with call.phase(Phase.CAPACITY):
            reserved = self._reserve(tenant)
        if isinstance(reserved, LimitHit):
            await self._turn_away(call, RejectionReason.CAPACITY, limit=reserved)
            return None
        accepted = False
        try:
            accepted = await self._prepare(call, tenant, reserved)
        finally:
            if not accepted:
                reserved.release()
        return reserved if accepted else None

    def _count(self, incoming: IncomingCall, tenant: CallTenant | None) -> Call:
        return self._tracker.received(
            incoming.call_id,
            tenant.tenant_id if tenant else UNKNOWN_TENANT,
            at=incoming.received,
            caller=incoming.caller,
            dialled=incoming.dialled,
            content=keeps_content(tenant),
        )

    def _reserve(self, tenant: CallTenant) -> Slot | LimitHit:
        return self._capacity.reserve(
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
                call.instructions_failed(type(error.__cause__ or error).__name__)
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
        with call.phase(Phase.RECORD):
            await self._recording.keep(call.call_id)
        try:
            with call.phase(Phase.ACCEPT):
                await self._carrier.accept(call.call_id, instructions, tools, transcribe=keeps_content(tenant))
        except CarrierError as error:
            slot.release()
            # A conflict says that another process has accepted the call and attends it: it is not ours to end.
            perhaps_ours = error.status != HTTPStatus.CONFLICT
            await self._turn_away(
                call, RejectionReason.CARRIER_ERROR, error_type=error.error_type, hang_up=perhaps_ours
            )
            return False
        return call.accepted()

    async def _turn_away(
        self,
        call: Call,
        reason: RejectionReason,
        *,
        limit: LimitHit | None = None,
        error_type: str | None = None,
        hang_up: bool = False,
    ) -> None:
        """Count the rejection at once, then record it and tell the carrier; the caller may have gone by then.

        An accept that failed may have been carried out all the same: ``hang_up`` what can no longer be rejected.
        """
        with suppress(CarrierError), call.phase(Phase.REJECT):
            call.rejected(reason, limit=limit, error_type=error_type)
            await self._recording.keep(call.call_id)
            async with self._telling:
                await self._tell(call, reason, hang_up=hang_up)

    async def _tell(self, call: Call, reason: RejectionReason, *, hang_up: bool) -> None:
        try:
            await self._carrier.reject(call.call_id, REJECTION_STATUS[reason])
        except CarrierError:
            if hang_up:
                await self._carrier.hangup(call.call_id)
            raise
