"""Names in paths: a slash of a name is escaped, and is no end of it."""

from collections.abc import Iterator
from urllib.parse import quote

import httpx2
import pytest

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
