"""The simulated carrier as a whole: serves call control, places calls, knows what happened."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from service.simulator.call import SimulatedCall
from service.simulator.conversation import Sidebands
from service.simulator.delivery import ANSWER_TIMEOUT, ATTEMPTS, WebhookSender, delivered, key_of, webhook_client
from service.simulator.ground_truth import CallReport
from service.simulator.leg import CallLeg, CallRegistry, LegState
from service.simulator.listener import Listener
from service.simulator.record import End, PlacedCall
from service.simulator.server import CarrierApi
from service.simulator.timing import NATURAL, TimeScale, set_within
from telemetry.clock import Clock, SystemClock

DRAIN_SECONDS = 2.0
"""Seconds that a stop may wait for the last callers to be gone."""
Post = Callable[[str], Awaitable[list[int]]]
"""Delivers the call's webhook under an id; the status of every attempt."""


@dataclass(frozen=True, slots=True)
class CarrierOptions:
    """The set-up of a simulated carrier."""

    secret: str
    """The webhooks' signing secret, ``whsec_…``."""
    numbers: Mapping[str, str] = field(default_factory=dict)
    """Numbers in E.164 and the ids of the tenants that have them; any other number belongs to ``_unknown``."""
    time_scale: TimeScale = NATURAL
    ring_seconds: float = 30.0
    """Real seconds a caller waits to be accepted, and then for the sideband to open."""
    linger_seconds: float = 0.0
    """Real seconds a call goes on after its gateway has left without a word: so long another may come back to it."""
    delivery_attempts: int = ATTEMPTS
    """Attempts to deliver a webhook that nobody answers 2xx."""
    answer_timeout: float = ANSWER_TIMEOUT
    """Real seconds a gateway has to answer one attempt."""
    fallback_instructions: str | None = None
    """The gateway's general instructions, so that their use can be seen in an accept."""
    api_key: str | None = None
    """The only key accepted; any is, unless set."""
    host: str = "127.0.0.1"
    port: int = 0
    """0 takes any free port."""


class Simulator:
    """A carrier that listens while its context is open."""

    def __init__(
        self, options: CarrierOptions, *, target: str | Sequence[str] = "", clock: Clock | None = None
    ) -> None:
        key_of(options.secret)
        self._options = options
        self._clock = clock or SystemClock()
        self._registry = CallRegistry(
            options.numbers,
            now=lambda: self._clock.now().monotonic,
            fallback=options.fallback_instructions,
        )
        sidebands = Sidebands(time_scale=options.time_scale, clock=self._clock, linger_seconds=options.linger_seconds)
        api = CarrierApi(self._registry, sidebands, time_scale=options.time_scale, api_key=options.api_key)
        self._listener = Listener(api.app(), host=options.host, port=options.port)
        self._open = AsyncExitStack()
        self.targets: Sequence[str] = (target,) if isinstance(target, str) else tuple(target)
        """The addresses of the gateway's processes, to which deliveries go in turn; repeated ones, too."""
        self._turn = itertools.count()

    async def __aenter__(self) -> Self:
        """Listen; raises :class:`OSError` when the port is taken."""
        options = self._options
        await self._open.enter_async_context(self._listener)
        client = await self._open.enter_async_context(webhook_client(options.answer_timeout))
        self._sender = WebhookSender(
            client,
            secret=options.secret,
            time_scale=options.time_scale,
            clock=self._clock,
            attempts=options.delivery_attempts,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening; callers still on the line hang up."""
        self.hang_up_all()
        await self._registry.drained(within=DRAIN_SECONDS)
        await self._open.aclose()

    @property
    def base_url(self) -> str:
        """The ``base_url`` a gateway gives its SDK client."""
        return f"http://{self._listener.address}/v1"

    @property
    def target(self) -> str:
        """The gateway's address, such as ``http://127.0.0.1:8000``, or its first; to be set before the first call."""
        return self.targets[0]

    @target.setter
    def target(self, target: str) -> None:
        self.targets = (target,)

    def _next_target(self) -> str:
        return self.targets[next(self._turn) % len(self.targets)]

    @property
    def numbers(self) -> Mapping[str, str]:
        """The numbers with their tenants' ids."""
        return self._options.numbers

    @property
    def running(self) -> int:
        """Calls that are not over."""
        return self._registry.running

    def ground_truth(self) -> dict[str, Any]:
        """Return what the carrier saw until now: see :mod:`service.simulator.ground_truth`."""
        return self._registry.ground_truth.as_json()

    def counts(self) -> dict[str, Any]:
        """Return the ground truth's numbers alone."""
        return self._registry.ground_truth.counts()

    def hang_up_all(self) -> None:
        """Have every caller hang up now."""
        self._registry.hang_up_all()

    async def place_call(self, call: SimulatedCall) -> CallReport:
        """Have one call happen; returns when the carrier considers it over."""
        tenant_id = self._registry.tenant_of(call.number)
        leg = self._registry.ring(PlacedCall(call.call_id, tenant_id, call.number, call.script, call.faults))
        created_at = self._clock.now().unix_nanos // 1_000_000_000

        async def post(webhook_id: str) -> list[int]:
            return await self._sender.deliver(self._next_target, webhook_id, call.webhook_body(created_at))

        try:
            await run_call(call, leg, post, ring_seconds=self._options.ring_seconds)
        finally:
            self._registry.retire(leg)
        return leg.record.report()


async def run_call(call: SimulatedCall, leg: CallLeg, post: Post, *, ring_seconds: float) -> None:
    """Announce the call and wait for its end; it is over when this returns, however it does."""
    try:
        if call.delivery.late:
            leg.caller_leaves(End.GONE)
        await _announce(call, leg, post)
        await _until_over(leg, ring_seconds)
        await _deliver(leg, post, [call.webhook_id()] * call.delivery.repeats_after_end)
        leg.record.count("duplicates_sent", call.delivery.repeats_after_end)
    finally:
        leg.caller_leaves(End.UNANSWERED)


async def _announce(call: SimulatedCall, leg: CallLeg, post: Post) -> None:
    plan = call.delivery
    new_ids = [call.webhook_id(number + 1) for number in range(plan.under_new_ids)]
    leg.record.count("duplicates_sent", plan.repeats + plan.under_new_ids)
    if await _deliver(leg, post, [call.webhook_id()] * (1 + plan.repeats) + new_ids):
        leg.record.count("received")
    elif leg.state is LegState.RINGING:
        leg.caller_leaves(End.UNDELIVERED)


async def _deliver(leg: CallLeg, post: Post, webhook_ids: list[str]) -> bool:
    """Post all at once; returns True if any was answered 2xx."""
    responses = await asyncio.gather(*map(post, webhook_ids))
    for statuses in responses:
        leg.record.deliveries.extend(statuses)
        leg.record.count("deliveries", len(statuses))
    return any(map(delivered, responses))


async def _until_over(leg: CallLeg, ring_seconds: float) -> None:
    if not await set_within(ring_seconds, leg.decided):
        leg.caller_leaves(End.UNANSWERED)
    if not await set_within(ring_seconds, leg.first_attached):
        leg.caller_leaves(End.ABANDONED)
    await leg.over.wait()
