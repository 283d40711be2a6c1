"""Addresses as people, proxies and programs ask for them: without a body, mistyped, twice, and where nothing is."""

import re

import httpx2
import pytest

from service.e164 import Address
from service.page.guard import HEADERS
from service.simulator.script import AgentGreets, AgentSpeaks, CallScript
from service.tenants.spec import TenantSpec
from telemetry.semconv.attributes import TenantId
from tests.service.gateway.harness import GatewayHarness
from tests.service.page.browsing import Page, shown
from tests.service.page.test_search import refused

MANY_ROUTES = 20
"""Fewer than there are with a name in their path."""

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize(
    "path", ["/", "/tenants/tenant-001", "/search", "/system", "/sign-in", "/static/page.css", "/docs", "/openapi.json"]
)
async def test_a_head_is_a_get_without_a_body(person: httpx2.AsyncClient, path: str) -> None:
    """Whoever only looks if a page is there gets its status and type, and not a byte of it."""
    got, head = await person.get(path), await person.head(path)
    assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


async def test_a_head_of_a_stream_opens_none(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """It ends at once, instead of following a page that nobody sees."""
    head = await person.head("/live")
    assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert (await person.head("/live/tenants/nobody")).status_code == 404
    anyone = await harness.client.head("/")
    assert (anyone.status_code, anyone.headers["location"]) == (303, "/sign-in")


@pytest.mark.parametrize(
    "path", ["/nothing", "/tenants", "/tenants/", "/tenants/a/b", "/calls", "/calls/", "/live/calls", "/static/a/b"]
)
async def test_where_nothing_is_a_browser_is_shown_a_page(harness: GatewayHarness, path: str) -> None:
    """It leads to the first page and is guarded as every page is; a program gets JSON, as it does below /api."""
    answer = await harness.client.get(path, headers=BROWSER)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "/" in Page.of(answer.text).links()
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    program = await harness.client.get(path)
    api = await harness.client.get("/api/v1/nothing", headers=BROWSER)
    assert {program.headers["content-type"], api.headers["content-type"]} == {"application/problem+json"}


async def test_a_method_that_a_page_does_not_take_is_a_page_too(person: httpx2.AsyncClient) -> None:
    """With the methods it takes, as for programs."""
    answer = await person.post("/system", headers=BROWSER)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert "does not take this method" in Page.of(answer.text).text(_class="card")


async def test_a_page_that_fails_says_so_as_a_page(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """Without a word of the cause, which the log has."""

    def fail() -> None:
        raise RuntimeError("the cause")

    harness.container.telemetry.live.refreshed = fail  # type: ignore[method-assign,assignment]
    answer = await person.get("/", headers=BROWSER)
    assert (answer.status_code, answer.headers["content-type"]) == (500, "text/html; charset=utf-8")
    assert "its log names the cause" in answer.text
    assert "the cause<" not in answer.text


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/?sort=minutes&sort=received", "sort"),
        ("/?sort=minutes&sort=received&window=", "sort"),
        ("/tenants/tenant-001?window=1h&window=24h", "window"),
        ("/system?paused=1&paused=1", "paused"),
    ],
)
async def test_a_parameter_that_is_there_twice_is_named(person: httpx2.AsyncClient, path: str, said: str) -> None:
    """Neither value is taken for the one that was meant."""
    answer = await person.get(path, follow_redirects=True)
    assert answer.status_code == 422
    assert f"{said}: is there more than once" in Page.of(answer.text).text(_class="plain faults")


async def test_a_search_for_two_of_a_kind_is_refused(person: httpx2.AsyncClient) -> None:
    """In the form, beside whatever else is wrong; a field that a form sent empty is not one of them."""
    assert "Tenant: is there more than once" in (await refused(person, "tenant_id=tenant-001&tenant_id=tenant-002"))[1]
    both = (await refused(person, "slower_than=abc&reason=capacity&reason=capacity"))[1]
    assert "Reason: is there more than once" in both
    assert "Waited longer than (s): must be" in both
    assert "Where: is there more than once" in (await refused(person, "where=memory&where=records"))[1]
    answer = await person.get("/search?tenant_id=tenant-001&tenant_id=&outcome=", follow_redirects=True)
    assert (answer.status_code, answer.url.query) == (200, b"tenant_id=tenant-001")


async def test_a_form_with_a_field_twice_changes_nothing(person: httpx2.AsyncClient) -> None:
    """The page names the field."""
    await shown(person, "/tenants/tenant-001/limit")
    answer = await person.post("/tenants/tenant-001/limit", data={"limit": ["1", "2"], "version": "1"})
    assert answer.status_code == 422
    assert "limit: is there more than once" in Page.of(answer.text).text(_class="plain faults")


SLASHED, ADDRESS = "a/b", "/tenants/a%2Fb"


async def test_a_tenants_page_is_found_by_a_name_with_a_slash(
    harness: GatewayHarness, person: httpx2.AsyncClient
) -> None:
    """Its link is on the first page; it is there, its stream is, and so is the way back to it from the sign-in."""
    call = harness.container.telemetry.tracker.received("one", SLASHED)
    call.accepted()
    call.started()
    assert ADDRESS in (await shown(person, "/")).links()
    assert (await shown(person, ADDRESS)).text(data_field="active_calls") == "1"
    async with person.stream("GET", f"/live{ADDRESS}") as stream:
        assert stream.status_code == 200
    assert (await person.get(f"{ADDRESS}?window=")).headers["location"] == ADDRESS
    asked = await harness.client.get(ADDRESS, headers=BROWSER)
    assert asked.headers["location"] == "/sign-in?next=/tenants/a%252Fb"
    form = Page.of((await harness.client.get(asked.headers["location"])).text)
    assert [given["value"] for _, given in form.elements if given.get("name") == "next"] == [ADDRESS]


async def test_a_tenant_that_no_import_takes_does_no_harm(harness: GatewayHarness, person: httpx2.AsyncClient) -> None:
    """An id with a slash in the database all the same: its calls run, pages show it, changes refuse it."""
    stated = TenantSpec(tenant_id=TenantId("acme"), numbers=(Address("+18005550177"),), instructions="Be brief.")
    repository = harness.container.tenants
    await repository.import_all([stated.model_copy(update={"tenant_id": SLASHED})], actor="tests")
    await harness.call(CallScript("talk", (AgentGreets(AgentSpeaks("Hello.")),)), number="+18005550177")
    live = await harness.get("/api/v1/metrics/live/a%2Fb")
    assert (live["accepted_calls"], live["rejected_calls_tenant_not_configured"]) == (1, 0)
    assert SLASHED in [tenant["tenant_id"] for tenant in (await harness.get("/api/v1/tenants"))["tenants"]]
    assert "Calls 1" in (await shown(person, ADDRESS)).text(id="usage")
    for method in ("GET", "PATCH", "DELETE"):
        refused = await harness.client.request(method, "/api/v1/tenants/a%2Fb", json={}, headers={"If-Match": "*"})
        assert [error["field"] for error in refused.json()["errors"]] == ["path.tenant_id"]


async def test_every_route_takes_a_slash_of_a_name(harness: GatewayHarness) -> None:
    """Whatever the document has a name in the path of is found with an escaped slash in it; none is forgotten."""
    document = (await harness.client.get("/openapi.json")).json()
    named = [(path, method) for path, methods in document["paths"].items() if "{" in path for method in methods]
    assert len(named) > MANY_ROUTES
    for path, method in named:
        answer = await harness.client.request(method, re.sub(r"{\w+}", "a%2Fb", path))
        assert "There is nothing at this path" not in answer.text, (method, path)
        assert answer.status_code != 405, (method, path)
