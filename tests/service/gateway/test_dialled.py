"""Calls as trunks announce them: each reaches the tenant that owns what was dialled, or shows why it reaches nobody."""

from pathlib import Path
from typing import Any

import pytest

from service.tenants.spec import TenantSpec
from telemetry.semconv.attributes import UNKNOWN_TENANT, CallId
from tests.service.gateway.harness import GatewayHarness, announcement, fresh_id, running_harness

OWNER = TenantSpec.model_validate(
    {"tenant_id": "owner", "numbers": ["+18005559876", "70042", "sip:Front-Desk"], "instructions": "You answer."}
)


async def announced(harness: GatewayHarness, to: str, *further: tuple[str, str]) -> dict[str, Any]:
    """Deliver an announcement; returns the call as it was told once it was decided upon."""
    call_id = fresh_id()
    headers = [{"name": name, "value": value} for name, value in (*further, ("To", to))]
    await harness.deliver(announcement(call_id, sip_headers=headers))
    await harness.settled()
    await harness.container.records.ensure_written(CallId(call_id), 30.0)
    return await harness.get(f"/api/v1/calls/{call_id}")


@pytest.mark.parametrize(
    ("to", "chosen"),
    [
        ("sip:18005559876@gw.example.com;user=phone", {}),
        ("<sip:0018005559876@gw.example.com>", {}),
        ("<sip:8005559876@gw.example.com>", {"default_region": "US"}),
        ("<sip:70042@gw.example.com>", {}),
        ("<sip:FRONT-desk@gw.example.com>", {}),
        (r'"Ada\" <sip:+18005559876@gw.example.com>', {}),
        ("<sip:proj_abc@sip.example.com>", {"dialled_headers": "X-Dialled, To"}),
    ],
)
async def test_each_form_reaches_its_owner(tmp_path: Path, to: str, chosen: dict[str, Any]) -> None:
    """Whatever the trunk makes of the number, the code or the name, its owner's call it is."""
    async with running_harness(tmp_path, **chosen) as harness:
        await harness.container.tenants.import_all([OWNER], actor="tests")
        call = await announced(harness, to, ("X-Dialled", "18005559876"))
        assert call["tenant_id"] == "owner"


@pytest.mark.parametrize(
    ("to", "dialled", "why"),
    [
        ("<sip:+18005550199@gw.example.com>", "…0199", "no_tenant"),
        ("<sip:5550199@gw.example.com>", "…0199", "no_country"),
        ("<sip:nobody@gw.example.com>", "no…", "not_a_number"),
        ("<sip:gw.example.com>", None, "not_a_number"),
    ],
)
async def test_a_call_that_reaches_nobody_shows_what_was_dialled_and_why(
    tmp_path: Path, to: str, dialled: str | None, why: str
) -> None:
    """On the call itself, in the list, on record and on the trace; nowhere in full."""
    async with running_harness(tmp_path) as harness:
        call = await announced(harness, to)
        assert (call["tenant_id"], call["dialled"]) == (UNKNOWN_TENANT, dialled)
        assert why in call["explanation"]
        (listed,) = (await harness.get("/api/v1/calls?state=all"))["calls"]
        assert (listed["dialled"], listed["error_type"]) == (dialled, why)
        (row,) = (await harness.get("/api/v1/call-records"))["calls"]
        assert (row["dialled"], row["error_type"], row["reason"]) == (dialled, why, "tenant_not_configured")
        trace = harness.record(call["call_id"]).trace
        assert trace is not None
        root = next(span for span in trace.spans if span.name == "call")
        assert root.attributes["voice.dialled.problem"] == why
        assert not root.error
