"""Requests nobody meant: whatever bytes come, the admin side answers clearly and goes on."""

import contextlib
import json
import socket
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.http.tokens import HEADER
from tests.service.api.gateway import TOKEN, Gateway

TIMEOUT_SECONDS = 30.0

KNOWN = (
    b"/api/v1/metrics/live",
    b"/api/v1/metrics/live/",
    b"/api/v1/metrics/capacity/debug",
    b"/api/v1/metrics/summary/",
    b"/api/v1/metrics/tenants?cursor=",
    b"/api/v1/calls",
    b"/api/v1/calls/",
    b"/api/v1/health",
    b"/readyz",
    b"/",
)

NO_LINE_END = st.integers(0, 255).filter(lambda byte: byte not in b"\r\n")
ANY_BYTES = st.lists(NO_LINE_END, max_size=40).map(bytes)
ESCAPES = st.lists(st.integers(0, 255).map(lambda byte: b"%%%02X" % byte), max_size=20).map(b"".join)
PATHS = st.builds(lambda known, rest: known + rest, st.sampled_from(KNOWN), ESCAPES | ANY_BYTES)
METHODS = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"BREW"])
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"Host", b"Accept", b"Content-Type", b"Content-Length", b"Range", b"If-None-Match", b"X-Any"]),
        ANY_BYTES,
    ),
    max_size=4,
)
TOKENS = st.sampled_from([TOKEN.encode()]) | ANY_BYTES

FUZZ = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def send(url: str, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to these very bytes."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    with socket.create_connection((host, port), timeout=TIMEOUT_SECONDS) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError, OSError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
    return int(status_line.split(" ")[1]) if status_line else 0, headers, body


def request(method: bytes, path: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """A request with these parts, one answer wanted."""
    lines = [method + b" " + path + b" HTTP/1.1", b"Connection: close"]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*lines, b"", b""])


@FUZZ
@given(method=METHODS, path=PATHS, headers=HEADERS, token=TOKENS)
def test_no_request_is_answered_with_a_500(
    url: str, method: bytes, path: bytes, headers: list[tuple[bytes, bytes]], token: bytes
) -> None:
    """Any method, path, token and headers get an answer below 500, or none if they are no HTTP at all."""
    status, answered, body = send(url, request(method, path, [*headers, (HEADER.encode(), token)]))
    assert status < 500
    if status >= 400 and answered["content-type"] == "application/problem+json" and method != b"HEAD":
        assert json.loads(body)["status"] == status


@FUZZ
@given(token=ANY_BYTES.filter(lambda given: given.strip() != TOKEN.encode()))
def test_no_other_token_opens_the_door(url: str, token: bytes) -> None:
    """Whatever stands in the header, only the token itself is taken."""
    status, _, body = send(url, request(b"GET", KNOWN[0], [(b"Host", b"x"), (HEADER.encode(), token)]))
    assert status in {400, 401, 429}
    assert b"active_calls" not in body


@FUZZ
@given(tenant_id=st.text(min_size=1, max_size=60))
def test_every_tenant_id_that_can_be_typed_is_answered(url: str, tenant_id: str) -> None:
    """Any text as a tenant's id is known, not found, or refused."""
    escaped = b"".join(b"%%%02X" % byte for byte in tenant_id.encode("utf-8", "replace"))
    headers = [(b"Host", b"x"), (HEADER.encode(), TOKEN.encode())]
    status, _, _ = send(url, request(b"GET", KNOWN[1] + escaped, headers))
    assert status in {200, 307, 404, 422}


@pytest.mark.parametrize("length", [8_000, 200_000])
def test_endless_parts_are_answered(url: str, gateway: Gateway, length: int) -> None:
    """A path, a token and a header of absurd length are answered or cut off, and the next request is served."""
    for lengthy in (
        request(b"GET", KNOWN[1] + b"x" * length, [(b"Host", b"x")]),
        request(b"GET", KNOWN[0], [(b"Host", b"x"), (HEADER.encode(), b"x" * length)]),
        request(b"GET", KNOWN[0], [(b"Host", b"x"), (b"X-Any", b"x" * length)]),
    ):
        assert send(url, lengthy)[0] < 500
    status, _, _ = send(url, request(b"GET", KNOWN[0], [(b"Host", b"x"), (HEADER.encode(), TOKEN.encode())]))
    assert status == 200
    assert gateway.tenants.asked == []
