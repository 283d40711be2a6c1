"""Call control of owned calls alone: a process that lost its claim to a call asks nothing of the carrier any more."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from service.gateway.carriers.carrier import Carrier, CarrierError, CarrierSession, Tool
from telemetry.semconv.attributes import CallId

NOT_OWNED: Final = "not_owned"
"""The ``error_type`` of a request that was not made, since another process has the call."""


class OwnedCalls:
    """A carrier of which calls are rejected, referred, hung up and attached to again only while they are owned.

    Args:
        carrier: the one that is asked.
        owns: checks that a call is still this process's.
    """

    def __init__(self, carrier: Carrier, owns: Callable[[CallId], Awaitable[bool]]) -> None:
        self._carrier = carrier
        self._owns = owns

    def verify(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Check a webhook delivery's signature."""
        self._carrier.verify(body, headers)

    async def accept(
        self, call_id: CallId, instructions: str, tools: Sequence[Tool], *, transcribe: bool = False
    ) -> None:
        """Take the call. It was claimed a moment ago, or its record says that nobody has decided about it."""
        await self._carrier.accept(call_id, instructions, tools, transcribe=transcribe)

    async def reject(self, call_id: CallId, sip_status: int) -> None:
        """Turn the call away."""
        await self._check(call_id)
        await self._carrier.reject(call_id, sip_status)

    async def refer(self, call_id: CallId, target_uri: str) -> None:
        """Hand the caller to another destination."""
        await self._check(call_id)
        await self._carrier.refer(call_id, target_uri)

    async def hangup(self, call_id: CallId) -> None:
        """End the call."""
        await self._check(call_id)
        await self._carrier.hangup(call_id)

    @asynccontextmanager
    async def session(self, call_id: CallId, *, fresh: bool = True) -> AsyncIterator[CarrierSession]:
        """Attach to the call's session; attaching again would take it from the process that owns the call by now."""
        if not fresh:
            await self._check(call_id)
        async with self._carrier.session(call_id, fresh=fresh) as session:
            yield session

    async def close(self) -> None:
        """Give up connections."""
        await self._carrier.close()

    async def _check(self, call_id: CallId) -> None:
        if not await self._owns(call_id):
            raise CarrierError(NOT_OWNED)
