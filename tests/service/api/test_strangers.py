"""The whole service before it knows who asks: what every route of its document does, whatever it is about."""

import contextlib
import json
import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from fastapi import FastAPI

from service.app import app_of
from service.container import build_container
from service.http.security import BURST
from service.http.tokens import HEADER
from service.settings import Settings
from tests.support.databases import migrated_content
from tests.support.server import TIMEOUT_SECONDS, TLS, serving

TOKEN = "the-token-of-these-tests"
WAIT_SECONDS = 30.0
VALUES = {
    "tenant_id": "acme",
    "call_id": "rtc_1",
    "trace_id": "0" * 31 + "1",
    "freeze_id": "1",
    "version": "1",
    "number": "+18005550100",
    "feature": "capture_content",
}
PUBLIC = {"/api/v1/openai/webhook", "/api/v1/health", "/livez", "/readyz"}


def build(folder: Path, **chosen: object) -> FastAPI:
    """Build the service over a database that is there."""
    database = folder / "callscope.db"
    database.write_bytes(migrated_content())
    settings = {
        "app_env": "test",
        "admin_token": TOKEN,
        "database_url": f"sqlite+aiosqlite:///{database}",
        "spill_folder": folder / "spill",
        "openai_base_url": "http://127.0.0.1:9",
    }
    return app_of(build_container(Settings.model_validate(settings | chosen)))


@pytest.fixture(scope="module")
def module_app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    return build(tmp_path_factory.mktemp("strangers"))


@pytest.fixture(scope="module")
def module_url(module_app: FastAPI) -> Iterator[str]:
    with serving(module_app) as base:
        yield base


@pytest.fixture
def app(module_app: FastAPI) -> FastAPI:
    return module_app


@pytest.fixture
def url(module_url: str) -> str:
    return module_url


@pytest.fixture
def own_url(tmp_path: Path) -> Iterator[str]:
    """Of a service that nobody has asked anything yet."""
    with serving(build(tmp_path)) as base:
        yield base


@pytest.fixture
def admin(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(
        verify=TLS, base_url=url, headers={HEADER: TOKEN}, trust_env=False, timeout=WAIT_SECONDS
    ) as client:
        yield client


def operations(app: FastAPI) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every method, path with values in it, and operation."""
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path.format_map(VALUES), operation


def answer_to(url: str, request: bytes, *, local: str = "127.0.0.1") -> tuple[int, dict[str, str], bytes]:
    """The answer to these very bytes, sent from a local address."""
    where = urlsplit(url)
    with socket.create_connection(
        (where.hostname or "", where.port or 0), timeout=WAIT_SECONDS, source_address=(local, 0)
    ) as connection:
        connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            chunk = connection.recv(65536)
            assert chunk, f"no answer to {request[:80]!r}"
            answer += chunk
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        while len(body) < int(headers.get("content-length", "0")):
            body += connection.recv(65536)
    return int(status.split(" ")[1]), headers, body


def head_of(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: x", *lines, "", ""]).encode()


ANNOUNCED = ("content-length: 100000000", "transfer-encoding: chunked")


def test_the_token_comes_before_any_byte_of_a_body(app: FastAPI, url: str) -> None:
    """Every route that needs one answers 401 while the body that was announced has not begun."""
    asked = 0
    for method, path, operation in operations(app):
        if operation.get("security"):
            for length in ANNOUNCED:
                status, headers, _ = answer_to(url, head_of(method, path, length, "content-type: application/json"))
                assert (status, "www-authenticate" in headers) == (401, True), (method, path)
                asked += 1
            assert {"401", "422", "429", "503"} <= operation["responses"].keys(), (method, path)
    assert asked >= 60


def test_only_health_and_the_signed_webhook_need_no_token(app: FastAPI) -> None:
    """The document names the scheme for everything else."""
    assert {
        path for path, methods in app.openapi()["paths"].items() if not all(o.get("security") for o in methods.values())
    } == PUBLIC


def test_every_body_is_bounded(app: FastAPI, url: str) -> None:
    """A body over the limit is answered 413, be its length announced or not; one of another type 415."""
    with_body = [(method, path) for method, path, operation in operations(app) if "requestBody" in operation]
    assert len(with_body) >= 7
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    for method, path in with_body:
        lines = (f"{HEADER}: {TOKEN}", "content-type: application/json")
        announced = answer_to(url, head_of(method, path, "content-length: 100000000", *lines))
        assert announced[0] == 413, (method, path)
        unannounced = answer_to(url, head_of(method, path, "transfer-encoding: chunked", *lines) + chunk * 5)
        assert unannounced[0] == 413, (method, path)
        if path not in PUBLIC:
            plain = answer_to(url, head_of(method, path, "content-length: 5", lines[0], "content-type: text/plain"))
            assert plain[0] == 415, (method, path)


def test_an_upload_that_is_broken_off_is_no_error_of_ours(
    app: FastAPI, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client is gone; nothing is logged about it."""
    with caplog.at_level(logging.WARNING):
        for method, path, operation in operations(app):
            if "requestBody" in operation:
                lines = (f"{HEADER}: {TOKEN}", "content-type: application/json", "content-length: 1000")
                where = urlsplit(url)
                with socket.create_connection((where.hostname or "", where.port or 0)) as connection:
                    connection.sendall(head_of(method, path, *lines) + b'{"a"')
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        httpx2.get(f"{url}/livez", trust_env=False)
    assert [record.getMessage() for record in caplog.records] == []


def test_an_unknown_parameter_is_refused_everywhere(app: FastAPI, admin: httpx2.Client) -> None:
    """A misspelt filter answers another question than was asked; one that is there twice is no question at all."""
    asked = 0
    for method, path, operation in operations(app):
        # The carrier's deliveries are judged by their signature alone.
        if path != "/api/v1/openai/webhook":
            body: dict[str, object] | None = {} if "requestBody" in operation else None
            answer = admin.request(method, path, params={"tennant": "acme"}, json=body)
            assert answer.status_code == 422, (method, path)
            if method != "HEAD":
                assert answer.json()["errors"][0]["field"] == "query.tennant", (method, path)
            assert "422" in operation["responses"], (method, path)
            asked += 1
    assert asked > 30
    twice = admin.get("/api/v1/calls?limit=1&limit=2")
    assert twice.json()["errors"] == [{"field": "query.limit", "detail": "is there more than once"}]


def test_no_window_ends_before_it_begins(app: FastAPI, admin: httpx2.Client) -> None:
    """Wherever the document has both ends of a window, an end before the beginning is refused by its name."""
    earlier, later, windows = "2026-11-01", "2026-12-01", 0
    for method, path, operation in operations(app):
        names = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"}
        for begin, end in (("since", "until"), ("from", "to")):
            if {begin, end} <= names:
                answer = admin.request(method, path, params={begin: later, end: earlier})
                assert answer.status_code == 422, (method, path)
                assert [problem["field"] for problem in answer.json()["errors"]] == [f"query.{end}"], (method, path)
                windows += 1
    assert windows >= 4


def test_allow_lists_every_method_of_a_path(app: FastAPI, admin: httpx2.Client) -> None:
    """What a path does not take is answered with all that it takes, whichever route has which method."""
    for path, methods in app.openapi()["paths"].items():
        answer = admin.request("OPTIONS", path.format_map(VALUES))
        assert answer.status_code == 405, path
        allowed = answer.headers["allow"].split(", ")
        assert allowed == sorted({*allowed, *(method.upper() for method in methods)}), path
        for method in allowed:  # a call's id may hold slashes: another route may take the path, too
            assert admin.request(method, path.format_map(VALUES)).status_code != 405, (method, path)


def test_a_slash_at_the_end_is_no_other_path(app: FastAPI, admin: httpx2.Client) -> None:
    """No request is sent elsewhere, and none loses its body."""
    for method, path, _ in operations(app):
        if method == "GET":
            with_slash = admin.get(f"{path}/")
            assert (with_slash.status_code, with_slash.is_redirect) == (admin.get(path).status_code, False), path
    assert admin.post("/api/v1/openai/webhook//", content=b"{}").status_code == 503
    assert admin.get("/nowhere/").status_code == 404
    assert admin.get("/api/v1/calls/rtc%2F/").json()["detail"] != "There is nothing at this path."


def test_health_answers_to_head(admin: httpx2.Client) -> None:
    """Load balancers ask for the status alone."""
    for path in PUBLIC - {"/api/v1/openai/webhook"}:
        answer = admin.head(path)
        assert (answer.status_code, answer.content) == (200, b"")


def test_readiness_says_which_secrets_are_missing(admin: httpx2.Client) -> None:
    """Without what it takes to talk to the carrier the service runs, and says what will not work."""
    ready = admin.get("/readyz").json()
    assert (ready["status"], ready["checks"]["secrets"]["ok"]) == ("degraded", False)
    assert ready["reasons"] == ["secrets: OPENAI_API_KEY, OPENAI_WEBHOOK_SECRET not set: no call is taken"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/v1/calls?since=5", "query.since"),
        ("/api/v1/calls?until=1764547200", "query.until"),
        ("/api/v1/call-records?since=1764547200.5", "query.since"),
        ("/api/v1/usage?from=20261101&to=2026-12-01", "query.from"),
        ("/api/v1/usage?from=2026-11-01&to=1764547200", "query.to"),
        ("/api/v1/metrics/reconcile?from=20261101", "query.from"),
        ("/api/v1/calls?since=2026-11-22T14:00:00Z&until=2026-11-22T13:59:59Z", "query.until"),
        ("/api/v1/call-records?since=2026-11-22T14:00:00Z&until=2026-11-22T14:00:00%2B01:00", "query.until"),
    ],
)
def test_moments_are_written_out_and_in_order(admin: httpx2.Client, path: str, field: str) -> None:
    """A bare number is no date, and a window does not end before it begins."""
    answer = admin.get(path)
    assert (answer.status_code, [problem["field"] for problem in answer.json()["errors"]]) == (422, [field])


@pytest.mark.parametrize("valid_from", [1764547200, "1764547200", 0, True, "20261101"])
def test_a_moment_in_a_body_is_written_out_too(admin: httpx2.Client, valid_from: object) -> None:
    """The same in JSON."""
    body = {"rounding": "6/6", "valid_from": valid_from}
    answer = admin.put("/api/v1/usage/roundings/acme", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body.valid_from")


@pytest.mark.parametrize("identifier", [1, 1.5, True, ["acme"]])
def test_an_identifier_is_text(admin: httpx2.Client, identifier: object) -> None:
    """A number is no name, no rule and no date of a period."""
    for body in (
        {"from": identifier, "to": "2026-12-01"},
        {"from": "2026-11-01", "to": "2026-12-01", "by": identifier},
    ):
        assert admin.post("/api/v1/usage/freezes", json=body).status_code == 422
    answer = admin.put("/api/v1/tenants/acme", json={"name": identifier}, headers={"If-None-Match": "*"})
    assert answer.status_code == 422


def test_wrong_tokens_are_braked_and_the_right_one_elsewhere_is_not(
    own_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After a burst an address is told to wait; one line is logged; another address notices nothing."""
    path = "/api/v1/calls"

    def ask(token: str, local: str) -> tuple[int, dict[str, str]]:
        status, headers, _ = answer_to(own_url, head_of("GET", path, f"{HEADER}: {token}"), local=local)
        return status, headers

    with caplog.at_level(logging.WARNING):
        assert [ask("wrong", "127.0.0.2")[0] for _ in range(BURST)] == [401] * BURST
        status, headers = ask("wrong", "127.0.0.2")
        assert (status, int(headers["retry-after"]) > 0) == (429, True)
        assert ask(TOKEN, "127.0.0.2")[0] == 429
        assert ask(TOKEN, "127.0.0.3")[0] == 200
        assert answer_to(own_url, head_of("GET", "/livez"), local="127.0.0.2")[0] == 200
    assert len([record for record in caplog.records if "admin token" in record.getMessage()]) == 1
    assert "wrong" not in caplog.text.replace("(wrong)", "")


def test_the_documentation_asks_nothing_of_others(admin: httpx2.Client) -> None:
    """The page has everything in it, names every path, and says so in its policy."""
    page, document = admin.get("/docs"), admin.get("/openapi.json").json()
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert re.findall(r"(?:src|href)=\"(?!#|/openapi.json)", page.text) == []
    assert "<script" not in page.text
    assert [path for path in document["paths"] if path not in page.text] == []


def test_in_prod_the_documentation_needs_the_token(tmp_path: Path) -> None:
    """Elsewhere anybody may read it."""
    secrets = {
        "openai_api_key": "sk-of-the-tests-0123456789abcdef",
        "openai_webhook_secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "admin_token": "a-token-that-is-long-enough-for-prod",
    }
    app = build(tmp_path, app_env="prod", **secrets)
    with (
        serving(app) as url,
        httpx2.Client(verify=TLS, base_url=url, trust_env=False, timeout=TIMEOUT_SECONDS) as client,
    ):
        for path in ("/docs", "/openapi.json"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={HEADER: secrets["admin_token"]}).status_code == 200
        assert client.get("/redoc").status_code == 404


@pytest.mark.parametrize("body", [b"[" * 90_000, b"{", b'{"a": NaN}', b'{"a":1,"a":2}', b"\xff", b"[]", b"1" * 5_000])
def test_a_body_that_is_no_mapping_names_the_body(admin: httpx2.Client, body: bytes) -> None:
    """Nesting, numbers, doubled names and bytes that are no text are told, quickly, and never with a 500."""
    for path, method in (("/api/v1/usage/freezes", "POST"), ("/api/v1/tenants/acme", "PUT")):
        answer = admin.request(method, path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code in {413, 422}, (path, answer.text)
        assert json.loads(answer.text)["status"] == answer.status_code


def test_a_broken_connection_while_it_is_read_is_no_fault(url: str) -> None:
    """Clients that leave in the middle of anything leave the service answering."""
    where = urlsplit(url)
    for part in (b"", b"G", head_of("GET", "/api/v1/calls")[:-2], head_of("GET", "/livez")):
        with contextlib.closing(socket.create_connection((where.hostname or "", where.port or 0))) as connection:
            connection.sendall(part)
    assert answer_to(url, head_of("GET", "/livez"))[0] == 200
