"""Incidents that callers meet, played with real calls: who is told, of whom, and what the runbook shows then."""

import asyncio
import time
from pathlib import Path

import httpx2

from service.simulator.faults import CallFaults
from service.simulator.script import (
    AgentGreets,
    AgentSpeaks,
    AgentUsesTool,
    CallerHangsUp,
    CallerSpeaks,
    CallScript,
    Pause,
    SessionExpires,
)
from service.simulator.tenants import Tenant, simulated_tenants
from tests.peers.alertmanager import Inbox
from tests.peers.gateway import Gateway, gateway
from tests.peers.peers import Peers
from tests.peers.stage import Shows, expect, placed, stage
from tests.support.server import TLS

SCALE = 0.02
HELLO = AgentGreets(AgentSpeaks("Hello."))
WELL = CallScript("well", (HELLO, CallerSpeaks("Hi."), AgentSpeaks("Yes?")), CallerHangsUp())
LATE = AgentSpeaks("Yes.", think_seconds=1.8 / SCALE)
SLOW = CallScript("slow", (HELLO, *(4 * (CallerSpeaks("And?"), AgentUsesTool("current_time"), LATE))), CallerHangsUp())
FAILS = CallScript("fails", (HELLO, CallerSpeaks("Hi.")), SessionExpires())
NOBODYS_NUMBER = "+12125550199"
HELD = CallScript("held", (HELLO, Pause(1_000_000.0)), CallerHangsUp())

REJECTED, SLOW_ONE, FAILING, GIVING_UP, SHORT, FINE = (f"tenant-{number:03d}" for number in range(1, 7))


def _tenants() -> list[Tenant]:
    tenants = {str(tenant["tenant_id"]): tenant for tenant in simulated_tenants(6)}
    tenants[REJECTED] = {**tenants[REJECTED], "instructions": None}
    tenants[SHORT] = {**tenants[SHORT], "max_concurrent_calls": 5}
    return list(tenants.values())


BAD_DAY: dict[str, tuple[dict[str, str], Shows]] = {
    "TenantCallsRejected": (
        {"tenant_id": REJECTED},
        (
            'tenant_id="$TENANT", voice_call_rejection_reason="instructions_missing"} => 4',
            '"tenant_id":"$TENANT","status":"REJECTED"',
            "$TENANT",
        ),
    ),
    "NumbersNotConfigured": (
        {},
        ('"tenant_id":"_unknown".*"reason":"tenant_not_configured"', FINE, 'tenant_not_configured"} => 40'),
    ),
    "TenantAnswersSlow": (
        {"tenant_id": SLOW_ONE},
        ('gen_ai_tool_name="current_time"', '"tenant_id":"$TENANT"', "time_to_first_audio"),
    ),
    "ModelFails": (
        {"gen_ai_request_model": "gpt-realtime-2.1"},
        (f'gpt-realtime-2.1", tenant_id="{FAILING}"}} => 8', "session_expired", f'"tenant_id":"{FAILING}"'),
    ),
    "CallsFailByFault": (
        {"voice_call_fault": "model"},
        (f'tenant_id="{FAILING}", voice_call_fault="model"}} => 8', f'"tenant_id":"{FAILING}"', "^{.*session_expired"),
    ),
    "TenantCallsFail": (
        {"tenant_id": FAILING},
        ('session_expired", tenant_id="$TENANT"', '"tenant_id":"$TENANT"', '"tenant_id": "$TENANT"'),
    ),
    "CallersGiveUp": (
        {"tenant_id": GIVING_UP},
        (r"=> \d", '"tenant_id":"$TENANT","status":"UNANSWERED"', '"status":"ready"'),
    ),
    "TenantCapacityAbove95Percent": (
        {"tenant_id": SHORT},
        (r'tenant_id="$TENANT"} => [1-3]', '"tenant_id":"$TENANT".*"reason":"capacity"', "$TENANT"),
    ),
    "WebhookSignaturesInvalid": ({}, (r'signature_no_match"} => [23]\d', r"=> \d\d", "signature")),
}
"""Whom each alert names while these calls come, and what its commands show."""

SLOWER: dict[str, Shows] = {
    "CallAnswerBudgetBurnsFast": ("$REASON", f'"tenant_id":"{REJECTED}"', '"status":"ready"'),
    "CallAnswerBudgetBurnsSlowly": ("$REASON", '"in_use":5', REJECTED),
    "CallSuccessBudgetBurnsFast": ("session_expired", f'"tenant_id":"{FAILING}"', r'"calls":\[\]'),
    "CallSuccessBudgetBurnsSlowly": (f'session_expired", tenant_id="{FAILING}"', "^$", f'"tenant_id":"{FAILING}"'),
    "TurnLatencyBudgetBurnsFast": (r"=> (1\.[5-9]|[2-9])", "current_time", f'"tenant_id":"{SLOW_ONE}"'),
    "TurnLatencyBudgetBurnsSlowly": (f'{{tenant_id="{SLOW_ONE}"', "current_time", f'"tenant_id":"{SLOW_ONE}"'),
    "TenantCapacityAbove80Percent": (f'"{SHORT}":{{"limit":5,"in_use":5', f'"{SHORT}"}} => 1 ', SHORT),
}
"""Alerts of the same troubles that take hours, or that another one hides."""

FULL: dict[str, Shows] = {
    "CapacityAbove95Percent": ('"limit":100,"in_use":97', 'instance="', "=> 46 .*=> 46 "),
    "CapacityAbove80Percent": ('"limit":100,"in_use":97', "=> 46 .*=> 46 ", "=> 0.97 "),
}


async def test_a_bad_day(peers: Peers, inbox: Inbox, tmp_path: Path) -> None:
    """Seven troubles at once, each of another party: each is told of that party alone."""
    watching = await asyncio.to_thread(stage, peers, inbox, tmp_path)
    environment = {**watching.exporting, "FALLBACK_INSTRUCTIONS": "", "MAX_CONCURRENT_CALLS": "100"}
    async with gateway(tmp_path / "service", environment, tenants=_tenants(), scale=SCALE) as line:
        numbers = {tenant: number for number, tenant in line.carrier.numbers.items()}
        held = await placed(line, numbers[SHORT], HELD, 7)  # two too many
        calls = [
            *await placed(line, numbers[REJECTED], WELL, 4),
            *await placed(line, numbers[SLOW_ONE], SLOW, 4),
            *await placed(line, numbers[FAILING], FAILS, 8),
            *await placed(line, numbers[GIVING_UP], WELL, 6, faults=CallFaults(canceled=True)),
            *await placed(line, numbers[FINE], WELL, 6),
            *await placed(line, NOBODYS_NUMBER, WELL, 40),
        ]
        await asyncio.gather(*calls)
        await _unsigned(line, 30)
        desk = await asyncio.to_thread(watching.desk, line.service)
        for alert, (labels, shows) in BAD_DAY.items():
            await asyncio.to_thread(watching.awaited, alert, **labels)
            await asyncio.to_thread(expect, desk, alert, shows, TENANT=labels.get("tenant_id", "acme"))
        for alert, shows in SLOWER.items():
            await asyncio.to_thread(expect, desk, alert, shows, REASON="instructions_missing")
        told = [each for name in watching.names() for each in watching.told(name)]
        assert FINE not in {each.labels.get("tenant_id") for each in told}
        held += [*await placed(line, numbers[FINE], HELD, 46), *await placed(line, numbers[SLOW_ONE], HELD, 46)]
        await asyncio.to_thread(watching.awaited, "CapacityAbove95Percent")
        for alert, shows in FULL.items():
            await asyncio.to_thread(expect, desk, alert, shows)
        line.carrier.hang_up_all()
        await asyncio.gather(*held)


async def _unsigned(line: Gateway, times: int) -> None:
    """Post webhooks whose signature is another secret's."""
    headers = {"webhook-id": "wh_1", "webhook-signature": f"v1,{'A' * 43}="}
    async with httpx2.AsyncClient(verify=TLS, base_url=line.service.address, timeout=30) as client:
        for _ in range(times):
            answer = await client.post(
                "/api/v1/openai/webhook", content=b"{}", headers={**headers, "webhook-timestamp": str(int(time.time()))}
            )
            assert answer.status_code == 401
