"""The carrier's rules for control requests and sidebands, asked for in every wrong order."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2
import openai
import pytest
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from service.simulator.call import Delivery
from service.simulator.script import AgentSpeaks, CallerSpeaks, CallScript, LineGoesDead, Pause
from tests.service.simulator.harness import API_KEY, SimulatorHarness
from tests.support.server import TIMEOUT_SECONDS, TLS

OPEN = CallScript("open", (Pause(2000),))
MISSING = "rtc_missing"


@pytest.fixture
async def plain(harness: SimulatorHarness) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"Authorization": "Bearer sk-test"}
    async with httpx2.AsyncClient(
        verify=TLS, base_url=harness.carrier.base_url, headers=headers, trust_env=False, timeout=TIMEOUT_SECONDS
    ) as client:
        yield client


def _requests(client: AsyncOpenAI) -> list[Awaitable[None]]:
    calls = client.realtime.calls
    return [
        calls.accept(MISSING, type="realtime"),
        calls.reject(MISSING),
        calls.refer(MISSING, target_uri="tel:+14155550110"),
        calls.hangup(MISSING),
    ]


async def test_an_unknown_call_is_not_found(harness: SimulatorHarness) -> None:
    """Every control request about a call nobody placed is answered 404 with the carrier's code."""
    for request in _requests(harness.gateway.client):
        with pytest.raises(openai.NotFoundError) as refused:
            await request
        assert refused.value.code == "call_id_not_found"


async def test_a_sideband_of_an_unknown_call_is_refused(harness: SimulatorHarness) -> None:
    """The handshake is answered 404 with the same body as a request."""
    with pytest.raises(InvalidStatus) as refused:
        await harness.gateway.attach(MISSING)
    assert refused.value.response.status_code == 404
    assert json.loads(refused.value.response.body or b"")["error"]["code"] == "call_id_not_found"


@pytest.mark.parametrize("key", [{}, {"Authorization": "Basic x"}, {"Authorization": "Bearer wrong"}])
async def test_without_the_key_nothing_is_served(harness: SimulatorHarness, key: dict[str, str]) -> None:
    """A missing, malformed or wrong key is answered 401 on requests and handshakes alike."""
    async with httpx2.AsyncClient(
        verify=TLS, base_url=harness.carrier.base_url, headers=key, trust_env=False, timeout=TIMEOUT_SECONDS
    ) as client:
        assert (await client.post(f"/realtime/calls/{MISSING}/hangup")).status_code == 401
    address = harness.carrier.base_url.replace("http", "ws")
    with pytest.raises(InvalidStatus) as refused:
        await connect(
            f"{address}/realtime?call_id={MISSING}", additional_headers=key, proxy=None, open_timeout=TIMEOUT_SECONDS
        )
    assert refused.value.response.status_code == 401


async def test_the_beta_header_is_refused(harness: SimulatorHarness) -> None:
    """A handshake that asks for the beta interface finds no call."""
    address = harness.carrier.base_url.replace("http", "ws")
    headers = {"Authorization": "Bearer sk-test", "OpenAI-Beta": "realtime=v1"}
    with pytest.raises(InvalidStatus) as refused:
        await connect(
            f"{address}/realtime?call_id=rtc_1", additional_headers=headers, proxy=None, open_timeout=TIMEOUT_SECONDS
        )
    assert refused.value.response.status_code == 404


async def test_an_unknown_url_is_answered_in_the_carriers_shape(plain: httpx2.AsyncClient) -> None:
    """Any other URL or method is an error object, not a page."""
    missing, wrong = await plain.post("/nowhere"), await plain.get("/realtime/calls/rtc_1/accept")
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert missing.json()["error"]["message"] == "Invalid URL (POST /v1/nowhere)"


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("accept", "{}"),
        ("accept", "[]"),
        ("accept", "{nonsense"),
        ("reject", '{"status_code": 200}'),
        ("reject", '{"status_code": "busy"}'),
        ("refer", "{}"),
        ("refer", '{"target_uri": "+14155550110"}'),
    ],
)
async def test_a_body_that_makes_no_sense_is_refused(
    harness: SimulatorHarness, plain: httpx2.AsyncClient, operation: str, body: str
) -> None:
    """The answer is 400 and the call is as it was."""
    responses: list[httpx2.Response] = []

    async def ask(call_id: str) -> None:
        responses.append(await plain.post(f"/realtime/calls/{call_id}/{operation}", content=body))

    harness.gateway.take = ask
    report = await harness.call_in_vain(OPEN)
    assert responses[0].status_code == 400
    assert responses[0].json()["error"]["type"] == "invalid_request_error"
    assert (report.end, report.accepted, report.rejection_status) == ("unanswered", False, None)


async def test_success_has_an_empty_body(harness: SimulatorHarness, plain: httpx2.AsyncClient) -> None:
    """A request that succeeds is answered 200 and nothing else."""
    responses: list[httpx2.Response] = []

    async def ask(call_id: str) -> None:
        responses.append(await plain.post(f"/realtime/calls/{call_id}/reject"))

    harness.gateway.take = ask
    report = await harness.call(OPEN)
    await harness.gateway.settled()
    assert (responses[0].status_code, responses[0].content) == (200, b"")
    assert report.rejection_status == 603
    assert harness.totals["rejected_calls_other"] == 1


@pytest.mark.parametrize(
    ("status", "field"),
    [
        (486, "rejected_calls_capacity"),
        (404, "rejected_calls_tenant_not_configured"),
        (480, "rejected_calls_instructions_missing"),
        (500, "rejected_calls_carrier_error"),
        (503, "rejected_calls_shutdown"),
    ],
)
async def test_the_status_of_a_reject_tells_its_reason(harness: SimulatorHarness, status: int, field: str) -> None:
    """Each agreed status counts under its reason, under the tenant that was called."""
    harness.gateway.reject_with = status
    report = await harness.call(OPEN)
    assert report.end == "rejected"
    assert harness.carrier.counts()["tenants"]["acme"][field] == 1


async def _twice(harness: SimulatorHarness, call_id: str) -> None:
    calls = harness.gateway.client.realtime.calls
    await calls.accept(call_id, type="realtime")
    with pytest.raises(openai.ConflictError):
        await calls.accept(call_id, type="realtime")


async def _reject_accepted(harness: SimulatorHarness, call_id: str) -> None:
    calls = harness.gateway.client.realtime.calls
    await calls.accept(call_id, type="realtime")
    with pytest.raises(openai.ConflictError):
        await calls.reject(call_id, status_code=486)


async def _attach_first(harness: SimulatorHarness, call_id: str) -> None:
    with pytest.raises(InvalidStatus):
        await harness.gateway.attach(call_id)
    await harness.gateway.client.realtime.calls.accept(call_id, type="realtime")


async def _attach_twice(harness: SimulatorHarness, call_id: str) -> None:
    await harness.gateway.client.realtime.calls.accept(call_id, type="realtime")
    async with harness.gateway.sideband(call_id):
        with pytest.raises(InvalidStatus) as refused:
            await harness.gateway.attach(call_id)
        assert refused.value.response.status_code == 409


@pytest.mark.parametrize(
    ("misbehave", "what"),
    [
        (_twice, "second accept"),
        (_reject_accepted, "reject after accept"),
        (_attach_first, "sideband before accept"),
        (_attach_twice, "second sideband"),
    ],
)
async def test_a_breach_of_the_protocol_is_refused_and_told(
    harness: SimulatorHarness, misbehave: Callable[[SimulatorHarness, str], Awaitable[None]], what: str
) -> None:
    """What a gateway must not do is answered with an error, and the truth names the call and the breach."""
    harness.gateway.take = lambda call_id: misbehave(harness, call_id)
    report = await harness.call_in_vain(OPEN, call_id="rtc_breach")
    assert harness.carrier.ground_truth()["violations"] == [{"call_id": "rtc_breach", "what": what}]
    assert report.accepted
    assert (report.counts["violations"], harness.totals["rejected_calls_capacity"]) == (1, 0)


async def test_a_call_can_be_hung_up_before_its_sideband_opens(harness: SimulatorHarness) -> None:
    """A gateway that accepted and thinks better of it has abandoned the call; a second hang-up finds nothing."""

    async def hang_up(call_id: str) -> None:
        calls = harness.gateway.client.realtime.calls
        await calls.accept(call_id, type="realtime")
        await calls.hangup(call_id)
        with pytest.raises(openai.NotFoundError):
            await calls.hangup(call_id)

    harness.gateway.take = hang_up
    report = await harness.call(OPEN)
    await harness.gateway.settled()
    assert (report.end, harness.totals["abandoned"]) == ("abandoned", 1)


async def test_nothing_can_be_asked_of_a_call_that_rings(harness: SimulatorHarness) -> None:
    """Before the accept there is no session to refer or hang up."""

    async def ask(call_id: str) -> None:
        calls = harness.gateway.client.realtime.calls
        for request in (calls.refer(call_id, target_uri="sip:a@example.com"), calls.hangup(call_id)):
            with pytest.raises(openai.NotFoundError):
                await request

    harness.gateway.take = ask
    report = await harness.call_in_vain(OPEN)
    await harness.gateway.settled()
    assert report.end == "unanswered"


async def _leave(harness: SimulatorHarness, call_id: str) -> None:
    await harness.gateway.client.realtime.calls.accept(call_id, type="realtime")
    async with harness.gateway.sideband(call_id) as sideband:
        await sideband.recv()


async def test_a_gateway_that_leaves_keeps_the_caller_waiting(harness: SimulatorHarness) -> None:
    """A sideband the gateway closes ends the call on its side, and the truth tells that nobody hung up."""
    harness.gateway.take = lambda call_id: _leave(harness, call_id)
    report = await harness.call(OPEN)
    assert (report.end, report.started, report.failed) == ("left", True, False)
    ends = ("ended_calls", "ended_calls_shutdown", "left_open")
    assert [harness.totals[field] for field in ends] == [1, 1, 1]


async def test_a_hang_up_after_leaving_sets_it_right(harness: SimulatorHarness) -> None:
    """The hang-up may come after the close."""

    async def leave_and_hang_up(call_id: str) -> None:
        await _leave(harness, call_id)
        await harness.gateway.client.realtime.calls.hangup(call_id)

    harness.gateway.take = leave_and_hang_up
    await harness.call(OPEN)
    await harness.gateway.settled()
    assert harness.totals["left_open"] == 0


@pytest.mark.parametrize("call_id", ["a/../b?x=1", "rtc_1/accept", "rtc ü%2F#", "rtc_" + "9" * 4000])
async def test_ids_pass_unchanged_whatever_is_in_them(harness: SimulatorHarness, call_id: str) -> None:
    """Percent-encoded ids reach the right call on requests and handshakes."""
    report = await harness.call(CallScript("odd", (Pause(0.1),)), call_id=call_id)
    assert (report.call_id, report.started) == (call_id, True)


async def test_a_call_id_is_used_once(harness: SimulatorHarness) -> None:
    """Two calls of one id would make one truth of two."""
    await harness.call(CallScript("one"), call_id="rtc_1")
    with pytest.raises(ValueError, match="'rtc_1' is in use"):
        await harness.call(CallScript("two"), call_id="rtc_1")


async def _collect(sideband: AsyncRealtimeConnection, events: list[dict[str, object]]) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            events.append(json.loads(await sideband.recv_bytes()))


async def test_what_the_gateway_says_is_answered(harness: SimulatorHarness) -> None:
    """Updates, items, requests at the wrong time and nonsense get the carrier's own answers."""
    events: list[dict[str, object]] = []

    async def talk(call_id: str) -> None:
        await harness.gateway.client.realtime.calls.accept(call_id, type="realtime")
        async with harness.gateway.sideband(call_id) as sideband:
            await sideband.session.update(session={"type": "realtime", "instructions": "New."})
            await sideband.send({"type": "response.cancel", "event_id": "mine"})
            await sideband.send_raw("nonsense")
            await sideband.send_raw('["an array"]')
            await sideband.send_raw('{"type": "no.such.event"}')
            await _collect(sideband, events)

    harness.gateway.take = talk
    await harness.call(CallScript("talk", (Pause(30),)))
    await harness.gateway.settled()
    assert [event["type"] for event in events] == ["session.created", "session.updated", *["error"] * 4]
    updated, cancel = events[1]["session"], events[2]["error"]
    assert isinstance(updated, dict)
    assert isinstance(cancel, dict)
    assert updated["instructions"] == "New."
    assert (cancel["code"], cancel["event_id"]) == ("response_cancel_not_active", "mine")


async def test_a_response_can_be_cancelled_but_not_doubled(harness: SimulatorHarness) -> None:
    """While one response is generated, another is refused; a cancel ends it as the client's."""
    events: list[dict[str, object]] = []

    async def talk(call_id: str) -> None:
        await harness.gateway.client.realtime.calls.accept(call_id, type="realtime")
        async with harness.gateway.sideband(call_id) as sideband:
            while "output_audio_buffer.started" not in {event["type"] for event in events}:
                events.append(json.loads(await sideband.recv_bytes()))
            await sideband.response.create()
            await sideband.response.cancel()
            await _collect(sideband, events)

    harness.gateway.take = talk
    long = AgentSpeaks("A long story", generate_seconds=50.0, speak_seconds=51.0)
    await harness.call(CallScript("cancel", (CallerSpeaks("Tell me"), long)))
    await harness.gateway.settled()
    error = next(event["error"] for event in events if event["type"] == "error")
    done = next(event["response"] for event in events if event["type"] == "response.done")
    assert isinstance(error, dict)
    assert isinstance(done, dict)
    assert error["code"] == "conversation_already_has_active_response"
    assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}


async def test_a_dead_line_answers_nothing(harness: SimulatorHarness) -> None:
    """On a line that went dead even a harmless update stays unanswered, and a hang-up still ends it."""
    events: list[dict[str, object]] = []

    async def probe(call_id: str) -> None:
        calls = harness.gateway.client.realtime.calls
        await calls.accept(call_id, type="realtime")
        async with harness.gateway.sideband(call_id) as sideband:
            events.append(json.loads(await sideband.recv_bytes()))
            await sideband.session.update(session={"type": "realtime"})
            await calls.hangup(call_id)
            with pytest.raises(ConnectionClosed):
                events.append(json.loads(await sideband.recv_bytes()))

    harness.gateway.take = probe
    report = await harness.call(CallScript("dead", (), LineGoesDead()))
    assert (len(events), report.end) == (1, "agent_hung_up")


async def test_a_late_webhook_finds_the_caller_gone(harness: SimulatorHarness) -> None:
    """The call is announced after its end: the accept is answered 404."""
    report = await harness.call(OPEN, delivery=Delivery(late=True))
    await harness.gateway.settled()
    assert isinstance(harness.gateway.failures[0], openai.NotFoundError)
    assert (report.end, report.deliveries) == ("gone", (200,))


async def test_a_request_nobody_waits_for_is_no_error(
    harness: SimulatorHarness, caplog: pytest.LogCaptureFixture
) -> None:
    """A gateway that dies in the middle of its own request leaves no error in the carrier's log."""
    host, _, port = harness.carrier.base_url.removeprefix("http://").removesuffix("/v1").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))

    async def ask_and_die(call_id: str) -> None:
        request = f"POST /v1/realtime/calls/{call_id}/accept HTTP/1.1"
        headers = ["Host: carrier", f"Authorization: Bearer {API_KEY}", "Content-Length: 100"]
        writer.write("\r\n".join([request, *headers, "", "{"]).encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    harness.gateway.take = ask_and_die
    report = await harness.call_in_vain(OPEN)
    assert report.end == "unanswered"
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
