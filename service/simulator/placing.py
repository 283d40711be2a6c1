"""One call from dialling to its end: the webhook is delivered, the caller waits, the conversation is held."""

import asyncio
from collections.abc import Awaitable, Callable

from service.simulator.call import SimulatedCall
from service.simulator.delivery import delivered
from service.simulator.leg import CallLeg, State
from service.simulator.record import End

Post = Callable[[str], Awaitable[list[int]]]
"""Delivers the call's webhook under an id; the status of every attempt."""


async def happen(call: SimulatedCall, leg: CallLeg, post: Post, *, ring_seconds: float) -> None:
    """Have the call happen; it is over when this returns, however it does."""
    try:
        if call.delivery.late:
            leg.give_up(End.GONE)
        await _announce(call, leg, post)
        await _until_over(leg, ring_seconds)
        await _deliver(leg, post, [call.webhook_id()] * call.delivery.echoes)
        leg.record.count("duplicates_sent", call.delivery.echoes)
    finally:
        leg.give_up(End.UNANSWERED)


async def _announce(call: SimulatedCall, leg: CallLeg, post: Post) -> None:
    plan = call.delivery
    reissues = [call.webhook_id(number + 1) for number in range(plan.reissues)]
    leg.record.count("duplicates_sent", plan.twins + plan.reissues)
    if await _deliver(leg, post, [call.webhook_id()] * (1 + plan.twins) + reissues):
        leg.record.count("received")
    elif leg.state is State.RINGING:
        leg.give_up(End.UNDELIVERED)


async def _deliver(leg: CallLeg, post: Post, webhook_ids: list[str]) -> bool:
    """Post all at once; whether any was answered 2xx."""
    answers = await asyncio.gather(*map(post, webhook_ids))
    for statuses in answers:
        leg.record.deliveries.extend(statuses)
        leg.record.count("deliveries", len(statuses))
    return any(map(delivered, answers))


async def _until_over(leg: CallLeg, ring_seconds: float) -> None:
    if not await _within(ring_seconds, leg.decided):
        leg.give_up(End.UNANSWERED)
    if not await _within(ring_seconds, leg.joined):
        leg.give_up(End.ABANDONED)
    await leg.over.wait()


async def _within(seconds: float, event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
