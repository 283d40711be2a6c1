"""Marked secrets are sent through every input, and looked for in everything that comes out."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from service.api.webhooks import PATH
from telemetry.logs.formatter import DURATION_MS
from telemetry.semconv.attributes import ATTRIBUTES, CONVENTION_ATTRIBUTES, Exposure
from telemetry.semconv.genai import GENAI_ATTRIBUTES
from tests.peers import outlets, secrets
from tests.peers.gateway import Gateway, eventually, gateway
from tests.peers.peers import Peers
from tests.peers.secrets import CONTENT, MARK
from tests.peers.service import Service
from tests.telemetry.otlp_receiver import http_receiver

TENANTS = ("tenant-001", "tenant-002")


@pytest.mark.parametrize("content", [False, True], ids=["content off", "content on"])
async def test_secrets_stay_inside(tmp_path: Path, content: bool) -> None:
    """Nothing marked is in any answer, drawing, record, log or export; allowed content is on spans and nowhere else."""
    with http_receiver() as receiver:
        environment = {**secrets.LOGGED_IN, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        async with gateway(tmp_path, environment, tenants=secrets.tenants(content=content)) as line:
            out = await _let_out(line)
        out |= outlets.kept(tmp_path) | outlets.exported(receiver) | {"stdout": line.service.log}
    assert {"/v1/metrics", "/v1/traces", "/v1/logs"} <= out.keys()
    _nothing_but_content_came_out(out, content=content)
    assert {secret for secret in CONTENT if secret in out["/v1/traces"]} == (CONTENT if content else set())
    assert secrets.CALLER[-4:] in out["/v1/traces"]
    _everything_is_classified(outlets.attribute_keys(receiver))
    filtered = outlets.filtered_attributes(receiver)
    assert filtered
    assert set[str]().union(*filtered) == set()


@pytest.mark.parametrize("layers", [("base", "local"), ("base", "content", "local")], ids=["redacted", "let through"])
async def test_the_collector_lets_content_through_only_if_told_to(
    peers: Peers, tmp_path: Path, layers: tuple[str, ...]
) -> None:
    """The shipped layers mask even what a tenant allows; one more layer lets that pass, and nothing else."""
    collector = peers.collector(*layers)
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_http}
    async with gateway(tmp_path, environment, tenants=secrets.tenants(content=True)) as line:
        await line.carrier.place_call(secrets.call(f"rtc_u1_{uuid4().hex}", next(iter(line.carrier.numbers))))
        await line.quiet()
    await eventually(lambda: asyncio.to_thread(collector.received.spans, "call"), "the root")
    came_out = {mark for mark in CONTENT if mark in collector.received.text}
    assert came_out == (CONTENT if "content" in layers else set())
    _nothing_but_content_came_out({"/v1/traces": collector.received.text}, content=True)


async def test_a_carriers_errors_are_not_quoted(tmp_path: Path) -> None:
    """A carrier whose errors quote numbers and whose address has a password: neither comes out anywhere."""
    with http_receiver() as receiver, secrets.rude_carrier() as base_url:
        environment = {**secrets.LOGGED_IN, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        service = Service(tmp_path, base_url, environment)
        await asyncio.to_thread(service.import_tenants, secrets.tenants(content=False))
        await asyncio.to_thread(service.start)
        try:
            call_id = f"rtc_u1_{uuid4().hex}"
            async with service.client() as client:
                await _deliver(client, secrets.announcement(call_id, "+18005550000"))
                out = await _answers(service, client, [call_id])
        finally:
            await asyncio.to_thread(service.stop)
        assert '"error_type":"500"' in out[f"/api/v1/calls/{call_id}"]
        out |= outlets.kept(tmp_path) | outlets.exported(receiver) | {"stdout": service.log}
    _nothing_but_content_came_out(out, content=False)


async def _let_out(line: Gateway) -> outlets.Outlets:
    """Use the service in every way there is, and collect what it answers."""
    number = next(iter(line.carrier.numbers))
    call_ids = [f"rtc_u1_{uuid4().hex}" for _ in range(3)]
    await line.carrier.place_call(secrets.call(call_ids[0], number))
    await _deliver(line.client, secrets.announcement(call_ids[1], number))
    await _deliver(line.client, secrets.announcement(call_ids[2], "+12125550001"))
    refused = await _refused(line.client)
    return refused | await _answers(line.service, line.client, call_ids)


async def _answers(service: Service, client: httpx2.AsyncClient, call_ids: list[str]) -> outlets.Outlets:
    async def over() -> bool:
        states = [await client.get(f"/api/v1/calls/{call_id}") for call_id in call_ids]
        return all(state.status_code == 200 and state.json()["outcome"] for state in states)

    await eventually(over, "the calls to be over")
    return await outlets.endpoints(client, call_ids, TENANTS) | await outlets.drawings(service, call_ids)


async def _deliver(client: httpx2.AsyncClient, body: bytes) -> None:
    (await client.post(PATH, content=body, headers=secrets.signed(body))).raise_for_status()


async def _refused(client: httpx2.AsyncClient) -> outlets.Outlets:
    """Requests that are wrong in all ways, and their answers."""
    body = f'{{"type": "{MARK}type'.encode()
    headers: Mapping[str, str] = secrets.signed(body)
    answers = {
        "malformed": await client.post(PATH, content=body, headers=headers),
        "unsigned": await client.post(PATH, content=body, headers={**headers, "webhook-signature": f"v1,{MARK}x"}),
        "wrong token": await client.get("/api/v1/calls", headers={"X-Admin-Token": secrets.WRONG_TOKEN}),
        "query": await client.get(f"/api/v1/calls?tenant_id={MARK}tenant&limit={MARK}limit&token={MARK}token"),
        "cursor": await client.get(f"/api/v1/calls?cursor={MARK}cursor", headers={"user-agent": f"{MARK}agent"}),
        "host": await client.get("/api/v1/health", headers={"host": f"{MARK}host.example.com"}),
    }
    assert all(answer.status_code >= 400 for name, answer in answers.items() if name != "host")
    return {name: f"{answer.headers} {answer.text}" for name, answer in answers.items()}


def _nothing_but_content_came_out(out: outlets.Outlets, *, content: bool) -> None:
    on_spans = {where for where in out if where == "/v1/traces" or "/api/v1/calls/" in where or "/traces/" in where}
    for where, text in out.items():
        allowed = CONTENT if content and where in on_spans and not where.endswith(".svg") else frozenset[str]()
        cleaned = text
        for secret in allowed:
            cleaned = cleaned.replace(secret, "")
        assert outlets.found({where: cleaned}, secrets.hidden()) == {}


def _everything_is_classified(keys: Mapping[Exposure, set[str]]) -> None:
    """Every key that left has its class, and those on measurements are fit for them."""
    declared = {item.key: item.exposure for item in (*ATTRIBUTES, *GENAI_ATTRIBUTES, *CONVENTION_ATTRIBUTES)}
    misplaced = {key for key in keys[Exposure.METRIC] if declared.get(key) is not Exposure.METRIC}
    assert misplaced == set(), f"declare them as fit for metrics, or keep them off: {misplaced}"
    unclassified = keys[Exposure.TRACE] - declared.keys() - {DURATION_MS}
    assert unclassified == set(), f"declare them in telemetry/semconv/attributes.py or beside it: {unclassified}"
