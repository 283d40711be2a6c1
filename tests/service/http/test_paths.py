"""Names in paths: a slash of a name is escaped, and is no end of it."""

from collections.abc import Callable, Iterator
from urllib.parse import quote, unquote_to_bytes

import httpx2
import pytest
from fastapi import APIRouter, FastAPI, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.errors import TrailingSlashes
from service.http.paths import NamedRoute, sent_path
from service.http.problems import MAX_ECHO
from service.http.tokens import HEADER
from telemetry.testing import TelemetryKit
from tests.service.api.gateway import TOKEN, Gateway
from tests.support.server import TIMEOUT_SECONDS, TLS, serving

LIVE = "/api/v1/metrics/live"
NAMES = ("a/b", "a/exemplars", "/", "//a", "a/", "%2F", "a%2fb/c", "ключ/b", "a b/c?d#e")


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """An application of one's own whose tenants have slashes in their names, and one call each."""
    with TelemetryKit() as kit:
        for place, name in enumerate(NAMES):
            call = kit.tracker.received(f"call/{place}", name)
            call.accepted()
            call.started()
        yield Gateway(kit)


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[httpx2.Client]:
    with (
        serving(gateway.app()) as url,
        httpx2.Client(verify=TLS, base_url=url, headers={HEADER: TOKEN}, timeout=TIMEOUT_SECONDS) as client,
    ):
        yield client


@pytest.mark.parametrize("name", NAMES)
def test_a_tenant_is_found_by_its_name(client: httpx2.Client, name: str) -> None:
    """Every route of a tenant answers for a name with slashes that are escaped, and for no part of it."""
    escaped = quote(name, safe="")
    live = client.get(f"{LIVE}/{escaped}")
    assert (live.status_code, live.json()["active_calls"]) == (200, 1)
    assert client.get(f"{LIVE}/{escaped}/exemplars").json()["tenant_id"] == name
    assert client.get(f"/api/v1/metrics/summary/{escaped}").status_code == 200
    assert client.get(f"{LIVE}/{escaped}%2Fx").status_code == 404


def test_a_plain_slash_separates(client: httpx2.Client) -> None:
    """Where the slash is not escaped, the path is another one, and `a` is a tenant that there is not."""
    assert client.get(f"{LIVE}/a/b").json()["detail"] == "There is nothing at this path."
    assert client.get(f"{LIVE}/a/exemplars").json()["detail"] != "There is nothing at this path."
    assert client.get(f"{LIVE}/a/exemplars").status_code == 404


def test_a_call_is_found_by_its_name(client: httpx2.Client) -> None:
    """An escaped suffix is part of the id: `call/0/timeline.svg` is no picture of `call/0`."""
    assert client.get("/api/v1/calls/call%2F0").json()["call_id"] == "call/0"
    assert client.get("/api/v1/calls/call%2F0/timeline.svg").headers["content-type"] == "image/svg+xml"
    assert client.get("/api/v1/calls/call%2F0%2Ftimeline.svg").status_code == 404


@pytest.mark.parametrize(("name", "status"), [("emea/nobody", 404), ("keine ü/%2F?", 404), ("x/" + "y" * 2000, 422)])
def test_an_error_names_the_path_that_was_asked_for(client: httpx2.Client, name: str, status: int) -> None:
    """Its ``instance`` keeps a name's slashes escaped, or it would be another path; of a long one it has the start."""
    path = f"{LIVE}/{quote(name, safe='')}"
    problem = client.get(path)
    assert problem.status_code == status
    assert problem.json()["instance"] == path[: MAX_ECHO + len("%2F") - len("/")]


def _as_it_came(raw: bytes) -> dict[str, bytes | None]:
    return {"raw_path": raw}


def _in_bytes(raw: bytes) -> dict[str, bytes | None]:
    """Unescape what is not ASCII, as where a server takes bytes that no client may send."""
    return {"raw_path": b"%2F".join(unquote_to_bytes(part) for part in raw.split(b"%2F"))}


def _not_told(_raw: bytes) -> dict[str, bytes | None]:
    return {"raw_path": None}


def _absent(_raw: bytes) -> dict[str, bytes | None]:
    return {}


@pytest.mark.parametrize(
    ("told", "path", "name", "sent"),
    [
        (_as_it_came, "/named/%C3%A9%2Fb", "é/b", "/named/%C3%A9%2Fb"),
        (_as_it_came, "/named/%C3%A9%2Fb//", "é/b", "/named/%C3%A9%2Fb"),
        (_as_it_came, "/named/%2F%ED%B0%AF%ff", "/\ufffd\ufffd\ufffd\ufffd", "/named/%2F%ED%B0%AF%ff"),
        (_in_bytes, "/named/%C3%A9%2Fb", "é/b", "/named/%C3%A9%2Fb"),
        (_in_bytes, "/named/%C3%A9%2Fb/", "é/b", "/named/%C3%A9%2Fb"),
        (_in_bytes, "/named/%C3%A9", "é", "/named/%C3%A9"),
        (_not_told, "/named/%C3%A9%25", "é%", "/named/%C3%A9%25"),
        (_not_told, "/named/%C3%A9/", "é", "/named/%C3%A9"),
        (_absent, "/named/a", "a", "/named/a"),
        (_absent, "/named/a/", "a", "/named/a"),
    ],
)
def test_a_path_is_read_whatever_a_server_tells_of_it(
    told: Callable[[bytes], dict[str, bytes | None]], path: str, name: str, sent: str
) -> None:
    """The raw path is optional (ASGI, HTTP connection scope), and need not be ASCII: nothing of that is an error."""
    named = APIRouter(route_class=NamedRoute)

    @named.get("/named/{name}")
    async def answer(name: str, request: Request) -> tuple[str, str]:
        return name, sent_path(request.scope)

    app = FastAPI()
    app.include_router(named)
    whole: ASGIApp = TrailingSlashes(app)

    async def server(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw = scope.pop("raw_path")
            scope.update(told(raw))
        await whole(scope, receive, send)

    with serving(server) as url, httpx2.Client(verify=TLS, base_url=url, timeout=TIMEOUT_SECONDS) as client:
        response = client.get(path)
        assert (response.status_code, response.json()) == (200, [name, sent])
