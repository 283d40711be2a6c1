"""Marked secrets in every input there is, so that each can be looked for in everything that comes out."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from uuid import uuid4

from standardwebhooks import Webhook

from service.simulator.call import SimulatedCall
from service.simulator.script import (
    AgentGreets,
    AgentSpeaks,
    AgentTransfers,
    AgentUsesTool,
    CallerPressesKey,
    CallerSpeaks,
    CallScript,
    ResponseFails,
    SessionWarns,
)
from service.simulator.tenants import Tenant, simulated_tenants
from tests.peers.network import HOST
from tests.peers.service import SECRET

MARK = "hush-"
"""What every marked secret begins with."""

SAID = f"{MARK}agent-said"
HEARD = f"{MARK}caller-said"
KEY = f"{MARK}key"
ARGUMENT = f"{MARK}argument"
TARGET = f"{MARK}target"
BROKEN = f"{MARK}not-json"
CONTENT = frozenset({SAID, HEARD, KEY, ARGUMENT, TARGET, BROKEN})
"""What a tenant can allow to be seen."""

API_KEY = f"sk-{MARK}api-key-0123456789"
HASH_KEY = f"{MARK}hash-key-0123456789"
OTLP_HEADER = f"{MARK}otlp-header"
WRONG_TOKEN = f"{MARK}wrong-token"

CALLER = "+14155559876"
NUMBERS = (CALLER, "+493012345678", "+441632960999", "+442079460321")
"""The caller's, one the network asserts, one that diverted, and where callers are transferred to."""

DIGITS = tuple(number[2:] for number in NUMBERS)
"""What of them would show however they are written."""

OUTSIDE_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

LOGGED_IN = {
    "OPENAI_API_KEY": API_KEY,
    "NUMBER_HASH_KEY": HASH_KEY,
    "OTEL_EXPORTER_OTLP_HEADERS": f"x-api-key={OTLP_HEADER}",
    "LOG_LEVEL": "DEBUG",
}
"""Secrets of the process itself, at the most talkative log level."""


def tenants(*, content: bool) -> list[Tenant]:
    """Two tenants with instructions and destinations to keep."""
    secret = {
        "instructions": f"{MARK}instructions: be brief.",
        "transfer_targets": {"sales": f"tel:{NUMBERS[3]}", "support": f"sip:{MARK}desk@pbx.example.com"},
        "features": {"capture_content": content},
    }
    return [{**tenant, **secret} for tenant in simulated_tenants(2)]


def sip_headers(dialled: str) -> tuple[tuple[str, str], ...]:
    """An INVITE's, with something to keep in each."""
    return (
        ("From", f'"{MARK}display" <sip:{CALLER}@{MARK}host.example.com;user=phone>;tag={MARK}tag'),
        ("To", f'"{MARK}callee" <sip:{dialled}@sip.example.com>'),
        ("P-Asserted-Identity", f"<tel:{NUMBERS[1]}>"),
        ("Diversion", f"<sip:{NUMBERS[2]}@sip.example.com>;reason={MARK}reason"),
        ("X-Customer", f"{MARK}customer"),
        (f"X-{MARK}header", "anything"),
        ("X-Traceparent", f"00-{OUTSIDE_TRACE}-00f067aa0ba902b7-01"),
    )


TALK = CallScript(
    "secrets",
    (
        AgentGreets(AgentSpeaks("Hello.")),
        CallerSpeaks(HEARD),
        CallerPressesKey(KEY),
        AgentUsesTool("current_time", json.dumps({"place": ARGUMENT})),
        AgentSpeaks(SAID),
        CallerSpeaks("And?"),
        AgentUsesTool(f"{MARK}made-up-tool"),
        AgentUsesTool("transfer_call", json.dumps({"target": TARGET})),
        AgentUsesTool("current_time", BROKEN),
        SessionWarns(f"{MARK}code", f"{MARK}warning"),
        ResponseFails(f"{MARK}failure", f"{MARK}failed"),
        AgentSpeaks("Goodbye."),
    ),
    AgentTransfers("sales"),
)


def call(call_id: str, dialled: str) -> SimulatedCall:
    """A call whose every word is to be kept."""
    return SimulatedCall(call_id=call_id, number=dialled, script=TALK, sip_headers=sip_headers(dialled))


def announcement(call_id: str, dialled: str) -> bytes:
    """A webhook's body with more in it than anybody asked for."""
    headers = [{"name": name, "value": value, "note": f"{MARK}note"} for name, value in sip_headers(dialled)]
    data = {"call_id": call_id, "sip_headers": headers, "extra": {f"{MARK}name": f"{MARK}value"}}
    return json.dumps({"type": "realtime.call.incoming", "data": data, "memo": f"{MARK}memo"}).encode()


def signed(body: bytes) -> Mapping[str, str]:
    """A delivery's headers: signed, and with what proxies and strangers put on requests."""
    moment, webhook_id = datetime.now(UTC), f"wh_{uuid4().hex}"
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(webhook_id, moment, body.decode()),
        "content-type": "application/json",
        "traceparent": f"00-{OUTSIDE_TRACE}-00f067aa0ba902b7-01",
        "tracestate": f"vendor={MARK}tracestate",
        "baggage": f"caller={MARK}baggage",
        "user-agent": f"{MARK}user-agent",
        "x-forwarded-for": f"{MARK}forwarded",
        "cookie": f"session={MARK}cookie",
    }


def hidden() -> Iterable[str]:
    """Everything to look for: the mark, and the digits of the numbers."""
    return (MARK, *DIGITS)


class _Rude(BaseHTTPRequestHandler):
    """Answers every request with an error that tells too much."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        error: dict[str, Any] = {name: f"{MARK}{name} for {CALLER}" for name in ("message", "code", "type", "param")}
        body = json.dumps({"error": error}).encode()
        self.send_response(500, f"{MARK}phrase")
        self.send_header("x-request-id", f"{MARK}request")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
        """Print nothing."""


@contextmanager
def rude_carrier() -> Iterator[str]:
    """A carrier whose error answers quote what they should not; gives its base URL, with a password in it."""
    server = ThreadingHTTPServer((HOST, 0), _Rude)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://{MARK}user:{MARK}password@{HOST}:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
