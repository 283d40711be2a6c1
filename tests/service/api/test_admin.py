"""Who may use the admin endpoints."""

from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from urllib.parse import urlsplit

import httpx2
import pytest
from fastapi import FastAPI

from service.http.security import CHALLENGE, Refusal
from service.http.tokens import HEADER, AdminTokens
from telemetry.testing import TelemetryKit
from tests.service.api.gateway import TOKEN, Gateway
from tests.support.contract import Contract
from tests.support.server import TIMEOUT_SECONDS, TLS, serving

ADMIN_PATHS = (
    "/api/v1/metrics/live",
    "/api/v1/metrics/live/acme",
    "/api/v1/metrics/capacity/debug",
    "/api/v1/metrics/summary",
    "/api/v1/metrics/summary/acme",
    "/api/v1/metrics/tenants",
    "/api/v1/metrics/live/acme/exemplars",
    "/api/v1/calls",
    "/api/v1/calls/rtc_1",
    "/api/v1/calls/rtc_1/timeline.svg",
    "/api/v1/traces/00000000000000000000000000000001",
)
IN_PATHS = {"tenant_id": "acme", "call_id": "rtc_1", "trace_id": "00000000000000000000000000000001"}
PUBLIC_PATHS = ("/api/v1/health", "/livez", "/readyz")


@pytest.mark.parametrize("path", ADMIN_PATHS)
def test_without_a_token_there_is_a_challenge(anyone: httpx2.Client, gateway: Gateway, path: str) -> None:
    """Every admin endpoint answers 401, says what to send, and the attempt is counted."""
    answer = anyone.get(path)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, CHALLENGE)
    assert answer.headers["content-type"] == "application/problem+json"
    assert gateway.attempts.counts() == dict.fromkeys(Refusal, 0) | {Refusal.MISSING: 1}


@pytest.mark.parametrize("token", ["wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), f"{TOKEN},{TOKEN}"])
def test_a_wrong_token_is_refused_and_counted(anyone: httpx2.Client, gateway: Gateway, token: str) -> None:
    """Nothing but a configured token opens the door, and the answer does not repeat what was tried."""
    answer = anyone.get(ADMIN_PATHS[0], headers={HEADER: token})
    assert answer.status_code == 401
    assert token not in answer.text
    assert gateway.attempts.counts() == dict.fromkeys(Refusal, 0) | {Refusal.WRONG: 1}


def test_an_empty_token_is_a_missing_one(anyone: httpx2.Client, gateway: Gateway) -> None:
    """The header without a value counts as no token."""
    assert anyone.get(ADMIN_PATHS[0], headers={HEADER: ""}).status_code == 401
    assert gateway.attempts.counts()[Refusal.MISSING] == 1


@pytest.mark.parametrize("path", PUBLIC_PATHS)
def test_health_needs_no_token(anyone: httpx2.Client, gateway: Gateway, path: str) -> None:
    """Probes and load balancers ask without a token, and are not counted."""
    assert anyone.get(path).status_code == 200
    assert gateway.attempts.refused == 0


def test_a_wrong_token_is_refused_before_anything_else_is_looked_at(anyone: httpx2.Client, gateway: Gateway) -> None:
    """A request that is wrong in other ways too learns nothing but that it may not ask."""
    assert anyone.get("/api/v1/metrics/live/%00").status_code == 401
    assert gateway.tenants.asked == []


Serve = Callable[[AdminTokens], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves gateways with the tokens it is given."""
    with TelemetryKit() as kit:
        servers = []

        def start(tokens: AdminTokens) -> str:
            server = serving(Gateway(kit, tokens=tokens).app())
            servers.append(server)
            return server.__enter__()

        yield start
        for server in servers:
            server.__exit__(None, None, None)


def status_of(url: str, token: bytes) -> int:
    """What a request with these very bytes as its token is answered."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request("GET", ADMIN_PATHS[0], headers={HEADER: token})
        return connection.getresponse().status
    finally:
        connection.close()


def test_tokens_can_be_rotated(serve: Serve) -> None:
    """With two tokens configured both work at once, byte for byte, also outside ASCII."""
    url = serve(AdminTokens(["old", "neuer Schlüssel"]))
    assert [status_of(url, token) for token in (b"old", "neuer Schlüssel".encode(), b"gone")] == [200, 200, 401]


@pytest.mark.parametrize("token", [b"\xff\xfe", "ключ".encode(), "Schlüssel".encode("latin-1"), b"\x80" * 5000])
def test_bytes_that_are_no_text_are_merely_wrong(serve: Serve, token: bytes) -> None:
    """A token in any encoding or none is answered 401, never 500."""
    assert status_of(serve(AdminTokens(["Schlüssel"])), token) == 401


def test_without_a_configured_token_the_admin_endpoints_are_closed(serve: Serve) -> None:
    """Nobody gets in, whatever is sent, and the answer says what is missing; health stays open."""
    with httpx2.Client(verify=TLS, base_url=serve(AdminTokens()), trust_env=False, timeout=TIMEOUT_SECONDS) as client:
        for headers in ({}, {HEADER: ""}, {HEADER: "anything"}):
            answer = client.get(ADMIN_PATHS[0], headers=headers)
            assert (answer.status_code, "ADMIN_TOKEN" in answer.json()["detail"]) == (503, True)
        assert client.get("/api/v1/health").status_code == 200


def test_the_document_declares_the_scheme(app: FastAPI) -> None:
    """Admin operations name the header scheme, public ones none."""
    document = app.openapi()
    scheme = document["components"]["securitySchemes"]["AdminToken"]
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", HEADER)
    secured = {path for path, operations in document["paths"].items() if operations["get"].get("security")}
    assert {path.format_map(IN_PATHS) for path in secured} == set(ADMIN_PATHS)


def test_every_answer_was_held_against_the_document(admin: httpx2.Client, contract: Contract) -> None:
    """The contract the other tests rely on is really looked at for each answer."""
    for path in (*ADMIN_PATHS, *PUBLIC_PATHS):
        admin.get(path)
    assert contract.checked == len(ADMIN_PATHS) + len(PUBLIC_PATHS)
