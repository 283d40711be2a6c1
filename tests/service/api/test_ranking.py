"""Tenants ranked over HTTP: by any figure, either way, page by page."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from threading import Event
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.ranking import MAX_CURSOR, Ordering, from_cursor, to_cursor
from service.http.parameters import InvalidCursorError
from service.http.tokens import HEADER
from service.tenants.limits import CallLimits
from telemetry.metrics.figures import FIGURES
from telemetry.metrics.history import Ranked
from telemetry.metrics.past import WindowName
from telemetry.semconv.attributes import EndReason, RejectionReason, TenantId
from telemetry.testing import TelemetryKit
from tests.service.api.gateway import TOKEN, Gateway
from tests.support.server import TLS, serving

TENANTS = "/api/v1/metrics/tenants"

TIMEOUT_SECONDS = 60.0

Json = dict[str, Any]


def calls_of(gateway: Gateway, tenant_id: str, *, good: int, failed: int, rejected: int = 0) -> None:
    """So many calls of a tenant, a minute each."""
    tracker = gateway.kit.tracker
    started = [tracker.received(f"rtc_{tenant_id}_{number}", tenant_id) for number in range(good + failed)]
    for call in started:
        call.accepted()
        call.started()
    gateway.kit.clock.advance(60)
    for number, call in enumerate(started):
        call.ended(EndReason.HANGUP, error_type="carrier_closed" if number < failed else None)
    for number in range(rejected):
        tracker.received(f"rtc_{tenant_id}_rejected_{number}", tenant_id).rejected(RejectionReason.CAPACITY)


@pytest.fixture
def four(gateway: Gateway) -> None:
    """Four tenants with error rates of a half, a quarter and nothing, and one that has none."""
    calls_of(gateway, "half", good=1, failed=1)
    calls_of(gateway, "quarter", good=3, failed=1)
    calls_of(gateway, "well", good=2, failed=0, rejected=1)
    calls_of(gateway, "full", good=0, failed=0, rejected=2)


def ranked(admin: httpx2.Client, **parameters: object) -> list[tuple[str, object]]:
    """The tenants of a page with their figures."""
    answer = admin.get(TENANTS, params={name: str(value) for name, value in parameters.items()}).json()
    return [(tenant["tenant_id"], tenant["value"]) for tenant in answer["tenants"]]


@pytest.mark.usefixtures("four")
def test_the_worst_come_first_and_the_unknown_last(admin: httpx2.Client) -> None:
    """Without parameters, by error rate of the last hour; a tenant without one comes last, either way."""
    worst_first = [("half", 1 / 2), ("quarter", 1 / 4), ("well", 0), ("full", None)]
    assert ranked(admin) == worst_first
    assert ranked(admin, order="asc") == [*worst_first[2::-1], ("full", None)]


@pytest.mark.usefixtures("four")
def test_the_figure_is_the_one_of_the_summary(admin: httpx2.Client) -> None:
    """Whatever the ranking is by, a tenant's value is the figure that stands at that path in its own summary."""
    summaries = {
        tenant_id: admin.get(f"/api/v1/metrics/summary/{tenant_id}").json()["windows"] for tenant_id, _ in ranked(admin)
    }
    for figure, window in product(FIGURES, WindowName):
        page = admin.get(TENANTS, params={"sort": figure, "window": window.value}).json()
        assert (page["sort"], page["window"], page["order"]) == (figure, window.value, "desc")
        assert len(page["tenants"]) == len(summaries)
        for tenant in page["tenants"]:
            summary = summaries[tenant["tenant_id"]][window.value]
            assert tenant["summary"] == summary
            group, _, part = figure.partition(".")
            assert tenant["value"] == (summary[group][part] if part else summary[group])


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_go_on_where_the_last_one_ended(admin: httpx2.Client, order: str) -> None:
    """Followed by their cursors, pages of one tenant are the whole ranking; the last has no cursor."""
    whole, pages, cursor = ranked(admin, order=order), [], ""
    while cursor is not None:
        page = admin.get(TENANTS, params={"order": order, "limit": "1"} | ({"cursor": cursor} if cursor else {})).json()
        pages += [(tenant["tenant_id"], tenant["value"]) for tenant in page["tenants"]]
        cursor = page["next_cursor"]
    assert pages == whole


@pytest.mark.usefixtures("four")
def test_a_page_that_holds_all_has_no_cursor(admin: httpx2.Client) -> None:
    """Exactly as many tenants as fit: there is no next page."""
    assert admin.get(TENANTS, params={"limit": "4"}).json()["next_cursor"] is None
    assert admin.get(TENANTS, params={"limit": "3"}).json()["next_cursor"] is not None


def test_without_tenants_the_page_is_empty(admin: httpx2.Client) -> None:
    """Nobody has called: nobody is ranked."""
    answer = admin.get(TENANTS)
    assert (answer.json()["tenants"], answer.json()["next_cursor"]) == ([], None)
    assert (answer.headers["x-metrics-scope"], answer.headers["x-metrics-age-ms"]) == ("process", "0")


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"sort": "luck"}, "query.sort"),
        ({"sort": ""}, "query.sort"),
        ({"order": "up"}, "query.order"),
        ({"window": "2h"}, "query.window"),
        ({"limit": "0"}, "query.limit"),
        ({"limit": "201"}, "query.limit"),
        ({"limit": "many"}, "query.limit"),
        ({"cursor": "x"}, "query.cursor"),
        ({"cursor": "é"}, "query.cursor"),
        ({"cursor": "W1tb"}, "query.cursor"),
        ({"cursor": "A" * (MAX_CURSOR + 1)}, "query.cursor"),
    ],
)
def test_a_wrong_parameter_is_named(admin: httpx2.Client, parameters: dict[str, str], field: str) -> None:
    """422 with the field at fault."""
    answer = admin.get(TENANTS, params=parameters)
    assert (answer.status_code, [problem["field"] for problem in answer.json()["errors"]]) == (422, [field])


@pytest.mark.usefixtures("four")
def test_a_cursor_is_of_one_ranking(admin: httpx2.Client) -> None:
    """The place in one ranking is none in another."""
    cursor = admin.get(TENANTS, params={"limit": "1"}).json()["next_cursor"]
    for other in ({"order": "asc"}, {"window": "5m"}, {"sort": "received"}):
        answer = admin.get(TENANTS, params={"cursor": cursor, **other})
        assert answer.status_code == 422
        assert answer.json()["errors"] == [
            {"field": "query.cursor", "detail": "is that of another sort, order or window"}
        ]


def test_a_token_is_needed(anyone: httpx2.Client) -> None:
    """401 without one."""
    assert anyone.get(TENANTS).status_code == 401


class StuckLimits(CallLimits):
    """Limits that are not told until they are released: a ranking needs them for every tenant."""

    def __init__(self) -> None:
        super().__init__(10)
        self.asked = Event()
        self.released = Event()

    def of(self, tenant_id: TenantId) -> int:
        self.asked.set()
        assert self.released.wait(TIMEOUT_SECONDS)
        return super().of(tenant_id)


def test_others_are_answered_while_a_ranking_takes_its_time() -> None:
    """However long a ranking takes, live numbers come meanwhile, and so does every ranking in the end."""
    limits = StuckLimits()
    with TelemetryKit() as kit:
        gateway = Gateway(kit, limits=limits)
        calls_of(gateway, "acme", good=1, failed=0)
        with serving(gateway.app()) as url, ThreadPoolExecutor() as pool:
            client = httpx2.Client(
                verify=TLS, base_url=url, headers={HEADER: TOKEN}, timeout=TIMEOUT_SECONDS, trust_env=False
            )
            with client:
                rankings = [pool.submit(client.get, TENANTS) for _ in range(12)]
                assert limits.asked.wait(TIMEOUT_SECONDS)
                live = client.get("/api/v1/metrics/live").json()
                unanswered = [ranking for ranking in rankings if not ranking.done()]
                limits.released.set()
                answers = [ranking.result().json()["tenants"][0]["tenant_id"] for ranking in rankings]
    assert (live["ended_calls"], len(unanswered), answers) == (1, 12, ["acme"] * 12)


# Cursors --------------------------------------------------------------------------------------------------------------

ORDERING = Ordering("error_rate", "desc", "1h")
VALUES = st.none() | st.integers(0, 2**50) | st.floats(0, 1e12)


@given(st.builds(Ranked, st.text(max_size=200), VALUES))
def test_a_cursor_stands_for_the_tenant_it_was_made_of(place: Ranked) -> None:
    """Whatever a tenant is called, its place survives, and fits."""
    text = to_cursor(ORDERING, place)
    assert from_cursor(ORDERING, text) == place
    assert len(text) <= MAX_CURSOR


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists)


@given(st.text() | st.builds(lambda value: to_cursor(ORDERING, value), st.tuples(JSON, JSON)))
def test_what_is_no_cursor_is_refused(text: str) -> None:
    """Anything else than a cursor is refused, and nothing else happens."""
    try:
        tenant_id, value = from_cursor(ORDERING, text)
    except InvalidCursorError:
        return
    assert isinstance(tenant_id, str)
    assert value is None or abs(value) < float("inf")
