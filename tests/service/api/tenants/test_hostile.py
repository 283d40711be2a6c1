"""Requests nobody meant: whatever comes, the answer is clear and below 500, and the tenants are as they were."""

import json
import socket
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.http.tokens import HEADER
from service.tenants.fields import MAX_INSTRUCTIONS, MAX_NUMBERS
from tests.service.api.tenants.harness import ACME, ENTRY, TENANTS, TOKEN, created, problems, put

JSON = {"Content-Type": "application/json"}
FUZZ = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@pytest.fixture
def admin(module_admin: httpx2.Client) -> Iterator[httpx2.Client]:
    """A client of an app without tenants; nearly all is refused before it reaches a database: one kind is enough."""
    yield module_admin
    module_admin.headers[HEADER] = TOKEN
    for tenant in module_admin.get(TENANTS, params={"limit": 500}).raise_for_status().json()["tenants"]:
        path = f"{TENANTS}/{tenant['tenant_id']}"
        assert module_admin.delete(path, headers={"If-Match": "*"}).status_code == 204


def _sent(admin: httpx2.Client, method: str, path: str, **request: object) -> httpx2.Response:
    answer = admin.request(method, path, **request)  # type: ignore[arg-type] # checked at run time
    assert answer.status_code < 500, f"{method} {path[:100]} was answered {answer.status_code}"
    if answer.status_code >= 400:
        assert answer.json()["status"] == answer.status_code
    return answer


@pytest.mark.parametrize(
    "tenant_id",
    [
        "_x",
        "ACME",
        "a b",
        "a%2Fb",
        "..",
        "%2e%2e%2fetc",
        "a%00",
        "%0d%0aX-Evil:%201",
        "a" * 64,
        "a" * 10_000,
        "%ff",
        "ä",
        "*",
    ],
)
def test_an_id_that_is_none_is_refused(admin: httpx2.Client, tenant_id: str) -> None:
    """It is found nowhere or refused by name, is never created, and is not played back whole."""
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        answer = _sent(admin, method, f"{TENANTS}/{tenant_id}", json={}, headers={"If-Match": "*"})
        assert answer.status_code in {404, 405, 412, 422}
        assert len(answer.content) < 2_000
    assert admin.get(TENANTS).json()["tenants"] == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not JSON: Expecting value"),
        (b"{", "is not JSON: "),
        (b"\xff\xfe", "is not UTF-8 text (byte 0)"),
        (b'{"name": "\xe4"}', "is not UTF-8 text (byte 10)"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"features": ' * 50_000, "is nested too deeply"),
        (b'{"max_concurrent_calls": NaN}', "is not JSON: NaN is no JSON number"),
        (b'{"max_concurrent_calls": -Infinity}', "is not JSON: -Infinity is no JSON number"),
        (b'{"max_concurrent_calls": ' + b"9" * 10_000 + b"}", "is not JSON: "),
        (b'{"enabled": true, "enabled": false}', "is not JSON: 'enabled' is there twice"),
        (b'{"' + b"k" * 9_000 + b'": 1, "' + b"k" * 9_000 + b'": 2}', "is not JSON: 'kkk"),
        (b"17", "must be a mapping of fields"),
        (b'"{}"', "must be a mapping of fields"),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else None,
)
def test_a_body_that_is_none_says_why(admin: httpx2.Client, content: bytes, reason: str) -> None:
    """What is no JSON, or not one mapping, is refused with the reason, in a short answer."""
    for method, path in (
        ("PUT", ACME),
        ("PATCH", ACME),
        ("PUT", f"{ACME}/instructions"),
        ("PUT", f"{ACME}/features/a"),
    ):
        answer = _sent(admin, method, path, content=content, headers=JSON)
        ((field, detail),) = problems(answer)
        assert (field, detail[: len(reason)]) == ("body", reason)
        assert len(answer.content) < 1_000


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x" * 10_000},
        {"name": "\ud800"},
        {"name": "a\x00b"},
        {"numbers": [f"+1800{n:07}" for n in range(100_000)]},
        {"numbers": ["x"] * 100_000},
        {"numbers": [["+18005550100"] * 1000]},
        {"numbers": {str(n): n for n in range(1000)}},
        {"instructions": "x" * (MAX_INSTRUCTIONS + 1)},
        {"instructions": "\ud800"},
        {"instructions": "a\x00b"},
        {"max_concurrent_calls": 10**30},
        {"max_concurrent_calls": 1.5},
        {"features": {"a": {"b": [{}] * 1000}}},
        {"features": {str(n): n for n in range(10_000)}},
        {"features": {"\x00": 1, "\ud800": 2, "": 3}},
        {"features": {"a": 10**400}},
        {"transfer_targets": {"a": "tel:" + "1" * 10_000}},
        {"transfer_targets": {"a": None}},
        {f"field-{n}": n for n in range(10_000)},
        {"\ud800" * 1_000: 1},
    ],
    ids=lambda body: next(iter(body))[:12].encode("ascii", "replace").decode(),
)
def test_absurd_fields_are_refused_shortly(admin: httpx2.Client, body: dict[str, object]) -> None:
    """Whatever is too long, too many or no text is named in an answer of bounded length; the tenant stays as it was."""
    tag = created(admin)
    answer = _sent(admin, "PATCH", ACME, content=json.dumps(body), headers=JSON | {"If-Match": tag})
    found = problems(answer)
    assert {field.split(".")[0] for field, _ in found} == {"body"}
    assert len(answer.content) < 20_000
    assert admin.get(ACME).headers["etag"] == tag


def test_as_much_as_is_allowed_is_taken(admin: httpx2.Client) -> None:
    """A tenant with every field as long as it may be is stored and shown whole, and so is what the audit says of it."""
    longest = {
        "tenant_id": "a" * 63,
        "name": "ä" * 200,
        "numbers": sorted(f"+1800555{n:04}" for n in range(MAX_NUMBERS)),
        "max_concurrent_calls": 1_000_000,
        "instructions": "ä" * MAX_INSTRUCTIONS,
        "enabled": False,
        "transfer_targets": {f"t{n:02}": "sip:" + "a" * 490 + "@b" for n in range(100)},
        "features": {f"f{n:02}": "ä" * 1_000 for n in range(100)},
    }
    path = f"{TENANTS}/{longest['tenant_id']}"
    assert put(admin, path, longest).status_code == 201
    assert admin.get(path).json() == longest
    assert len(admin.get(f"{path}/audit").json()["changes"][0]["after"]["numbers"]) == MAX_NUMBERS


def test_a_body_past_the_limit_is_cut_off(admin: httpx2.Client) -> None:
    """However much is sent, with its length announced or not, reading ends at the limit with a clear answer."""
    chunk = b" " * 65_536
    for content in (chunk * 100, (chunk for _ in range(100))):
        answer = _sent(admin, "PUT", ACME, content=content, headers=JSON)
        assert (answer.status_code, answer.json()["detail"]) == (413, "The body is larger than 4 MiB.")


@pytest.mark.parametrize(
    "media_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "*/*"]
)
def test_a_body_must_say_that_it_is_json(admin: httpx2.Client, media_type: str) -> None:
    """A form sent from a page in somebody's browser, or anything else, is not taken for JSON."""
    answer = _sent(admin, "PUT", ACME, content=b"{}", headers={"Content-Type": media_type})
    assert (answer.status_code, answer.json()["detail"]) == (415, "Send the body as application/json.")
    assert put(admin, ACME, {}).status_code == 201


def test_json_may_name_its_encoding(admin: httpx2.Client) -> None:
    """The type is read without its parameters, in any case."""
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert admin.put(ACME, content=json.dumps(ENTRY), headers=headers).status_code == 201


def test_without_a_token_nothing_is_read(admin: httpx2.Client) -> None:
    """Every route asks for the token before it looks at a body, a condition or a path."""
    del admin.headers[HEADER]
    for method, path in (
        ("GET", TENANTS),
        ("GET", f"{TENANTS}/_x"),
        ("PUT", ACME),
        ("PATCH", ACME),
        ("DELETE", ACME),
        ("GET", f"{ACME}/numbers"),
        ("PUT", f"{ACME}/numbers/x"),
        ("DELETE", f"{ACME}/numbers/x"),
        ("PUT", f"{ACME}/features/X"),
        ("POST", f"{ACME}/instructions/x/restore"),
        ("GET", f"{ACME}/audit?limit=x"),
        ("GET", "/api/v1/audit"),
    ):
        assert admin.request(method, path, content=b"[[[", headers={"If-Match": "none"}).status_code == 401, path


NO_LINE_END = st.integers(0, 255).filter(lambda byte: byte not in b"\r\n")
ANY_BYTES = st.lists(NO_LINE_END, max_size=30).map(bytes)
PARTS = st.sampled_from([b"", b"/numbers/", b"/features/", b"/instructions/", b"/audit", b"/instructions/1/restore"])
ESCAPED = st.text(max_size=20).map(lambda text: quote(text, safe="", errors="replace").encode())
METHODS = st.sampled_from([b"GET", b"PUT", b"PATCH", b"DELETE", b"POST"])
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"If-Match", b"If-None-Match", b"X-Admin-Actor", b"Content-Type", b"Transfer-Encoding"]),
        ANY_BYTES,
    ),
    max_size=3,
)


@FUZZ
@given(method=METHODS, tenant_id=ESCAPED, part=PARTS, rest=ESCAPED, headers=HEADERS, body=ANY_BYTES)
def test_no_bytes_are_answered_with_a_500(
    admin: httpx2.Client,
    method: bytes,
    tenant_id: bytes,
    part: bytes,
    rest: bytes,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
) -> None:
    """Any path, conditions, names and bodies get an answer below 500, or none if they are no HTTP at all."""
    path = b"/api/v1/tenants/" + tenant_id + part + rest
    lines = [method + b" " + path + b" HTTP/1.1", b"Host: x", b"Connection: close", b"X-Admin-Token: " + TOKEN.encode()]
    lines += [name + b": " + value for name, value in headers]
    lines.append(b"Content-Length: %d" % len(body))
    status = _status(str(admin.base_url), b"\r\n".join([*lines, b"", body]))
    assert status < 500


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
BODIES = st.fixed_dictionaries({}, optional=dict.fromkeys(ENTRY, ANYTHING)) | ANYTHING


@FUZZ
@given(body=BODIES)
def test_any_body_is_taken_or_refused(admin: httpx2.Client, body: object) -> None:
    """Whatever is stated of a tenant is stored and shown again, or refused."""
    answer = _sent(admin, "PUT", f"{TENANTS}/fuzz", content=json.dumps(body), headers=JSON | {"If-Match": "*"})
    assert answer.status_code in {412, 422}
    answer = _sent(admin, "PUT", f"{TENANTS}/fuzz", content=json.dumps(body), headers=JSON)
    assert answer.status_code in {200, 201, 422, 428}
    if answer.status_code == 201:
        assert admin.get(f"{TENANTS}/fuzz").json() == answer.json()
        admin.delete(f"{TENANTS}/fuzz", headers={"If-Match": "*"})


def _status(url: str, request: bytes) -> int:
    """The status of the answer to these very bytes; 0 for none."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    with socket.create_connection((host, port), timeout=30) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return int(answer.split(b" ")[1]) if answer else 0
