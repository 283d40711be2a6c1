"""The simulated carrier as a whole: serves call control, places calls, knows what happened."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from service.simulator.call import SimulatedCall
from service.simulator.delivery import ATTEMPTS, WebhookSender, webhook_client
from service.simulator.exchange import Exchange
from service.simulator.listener import Listener
from service.simulator.pace import NATURAL, Pace
from service.simulator.placing import happen
from service.simulator.record import Dialled
from service.simulator.server import CarrierApi
from service.simulator.sideband import Sidebands
from service.simulator.signing import key_of
from service.simulator.truth import CallReport
from telemetry.clock import Clock, SystemClock

QUIET_SECONDS = 2.0
"""How long going off the air may wait for the last callers to be gone."""


@dataclass(frozen=True, slots=True)
class Line:
    """How a simulated carrier is set up."""

    secret: str
    """The webhooks' signing secret, ``whsec_…``."""
    numbers: Mapping[str, str] = field(default_factory=dict)
    """Numbers in E.164 and the ids of the tenants that have them; any other number belongs to ``_unknown``."""
    pace: Pace = NATURAL
    ring_seconds: float = 30.0
    """Real seconds a caller waits to be accepted, and then for the sideband to open."""
    linger_seconds: float = 0.0
    """Real seconds a call goes on after its gateway has left without a word: so long another may come back to it."""
    delivery_attempts: int = ATTEMPTS
    """How often a webhook is delivered that nobody answers 2xx."""
    fallback_instructions: str | None = None
    """The gateway's general instructions, so that their use can be seen in an accept."""
    api_key: str | None = None
    """The only key accepted; any is, unless set."""
    host: str = "127.0.0.1"
    port: int = 0
    """0 takes any free port."""


class Simulator:
    """A carrier that is on the air while its context is open."""

    def __init__(self, line: Line, *, target: str = "", clock: Clock | None = None) -> None:
        key_of(line.secret)
        self._line = line
        self._clock = clock or SystemClock()
        self._exchange = Exchange(
            line.numbers,
            now=lambda: self._clock.now().monotonic,
            fallback=line.fallback_instructions,
        )
        sidebands = Sidebands(pace=line.pace, clock=self._clock, linger_seconds=line.linger_seconds)
        api = CarrierApi(self._exchange, sidebands, pace=line.pace, api_key=line.api_key)
        self._listener = Listener(api.app(), host=line.host, port=line.port)
        self._open = AsyncExitStack()
        self.target = target
        """The gateway's address, such as ``http://127.0.0.1:8000``; to be set before the first call."""

    async def __aenter__(self) -> Self:
        """Go on the air; raises :class:`OSError` when the port is taken."""
        await self._open.enter_async_context(self._listener)
        client = await self._open.enter_async_context(webhook_client())
        line = self._line
        self._sender = WebhookSender(
            client, secret=line.secret, pace=line.pace, clock=self._clock, attempts=line.delivery_attempts
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Go off the air; callers still on the line hang up."""
        self.hang_up_all()
        await self._exchange.quiet(within=QUIET_SECONDS)
        await self._open.aclose()

    @property
    def base_url(self) -> str:
        """What a gateway gives its SDK client as ``base_url``."""
        return f"http://{self._listener.address}/v1"

    @property
    def numbers(self) -> Mapping[str, str]:
        """Whose numbers are whose."""
        return self._line.numbers

    @property
    def running(self) -> int:
        """Calls that are not over."""
        return self._exchange.running

    def truth(self) -> dict[str, Any]:
        """What the carrier saw until now: see :mod:`service.simulator.truth`."""
        return self._exchange.tally.as_json()

    def counts(self) -> dict[str, Any]:
        """The truth's numbers alone."""
        return self._exchange.tally.counts()

    def hang_up_all(self) -> None:
        """Every caller hangs up now."""
        self._exchange.hang_up_all()

    async def place_call(self, call: SimulatedCall) -> CallReport:
        """Have one call happen; returns when the carrier considers it over."""
        tenant_id = self._exchange.tenant_of(call.number)
        leg = self._exchange.ring(Dialled(call.call_id, tenant_id, call.number, call.script, call.faults))
        created_at = self._clock.now().unix_nanos // 1_000_000_000

        async def post(webhook_id: str) -> list[int]:
            return await self._sender.deliver(lambda: self.target, webhook_id, call.webhook_body(created_at))

        try:
            await happen(call, leg, post, ring_seconds=self._line.ring_seconds)
        finally:
            self._exchange.retire(leg)
        return leg.record.report()
