"""The live endpoints: the twelve numbers, of all tenants and of one."""

import threading
from collections.abc import Iterable, Iterator

import httpx2
import pytest
from opentelemetry.metrics import CallbackOptions, Observation

from service.api.live import LiveMetrics
from telemetry.semconv.attributes import OTHER, UNKNOWN_TENANT, EndReason, RejectionReason
from telemetry.semconv.catalogue import LIVE_FIELDS
from tests.service.api.gateway import Gateway

LIVE = "/api/v1/metrics/live"


def a_busy_day(gateway: Gateway) -> None:
    """Calls of two tenants that make each of the twelve fields differ from zero."""
    kit = gateway.kit
    running = kit.tracker.received("rtc_running", "acme")
    running.instructions_failed("OperationalError")
    running.fallback_used()
    running.accepted()
    running.started()
    for number, reason in enumerate(RejectionReason):
        kit.tracker.received(f"rtc_rejected_{number}", "acme").rejected(reason)
    over = kit.tracker.received("rtc_over", "globex")
    over.accepted()
    over.started()
    over.referred("sales")
    kit.clock.advance(90)
    over.ended(EndReason.ERROR, error_type="carrier_closed")


def test_the_model_has_exactly_the_catalogues_twelve_fields() -> None:
    """The documented fields are those of the catalogue, in its order."""
    assert tuple(LiveMetrics.model_fields) == LIVE_FIELDS


def test_everything_is_zero_before_the_first_call(admin: httpx2.Client) -> None:
    """A fresh process answers twelve zeros, not an error."""
    assert admin.get(LIVE).json() == dict.fromkeys(LIVE_FIELDS, 0)


def test_each_field_counts_what_its_name_says(admin: httpx2.Client, gateway: Gateway) -> None:
    """The totals of a day with every kind of call are the ones counted by hand, in the order the design gives."""
    a_busy_day(gateway)
    answer = admin.get(LIVE)
    assert list(answer.json().items()) == [
        ("active_calls", 1),
        ("accepted_calls", 2),
        ("rejected_calls_capacity", 1),
        ("rejected_calls_tenant_not_configured", 1),
        ("rejected_calls_instructions_missing", 1),
        ("instructions_db_errors", 1),
        ("fallback_instructions_used", 1),
        ("started_calls", 2),
        ("ended_calls", 1),
        ("failed_calls", 1),
        ("referred_calls", 1),
        ("minutes_processed", 1.5),
    ]


def test_a_tenants_numbers_are_its_own(admin: httpx2.Client, gateway: Gateway) -> None:
    """What one tenant's calls count is in that tenant's answer and in no other's."""
    a_busy_day(gateway)
    acme, globex = admin.get(f"{LIVE}/acme").json(), admin.get(f"{LIVE}/globex").json()
    assert (acme["active_calls"], acme["referred_calls"], acme["minutes_processed"]) == (1, 0, 0)
    assert (globex["active_calls"], globex["referred_calls"], globex["minutes_processed"]) == (0, 1, 1.5)


def test_headers_say_what_is_covered_and_how_old_it_is(admin: httpx2.Client, gateway: Gateway) -> None:
    """An answer that shows everything recorded says so, and that it speaks for one process; nobody may cache it."""
    a_busy_day(gateway)
    headers = admin.get(LIVE).headers
    assert headers["x-metrics-scope"] == "process"
    assert headers["x-metrics-age-ms"] == "0"
    assert headers["cache-control"] == "no-store"


def test_a_configured_tenant_without_calls_has_zeros(admin: httpx2.Client) -> None:
    """A tenant that is configured and was never called exists: twelve zeros."""
    assert admin.get(f"{LIVE}/globex").json() == dict.fromkeys(LIVE_FIELDS, 0)


def test_a_tenant_neither_configured_nor_seen_is_not_found(admin: httpx2.Client) -> None:
    """Asking for a tenant nobody knows is a 404 problem that names the path."""
    answer = admin.get(f"{LIVE}/nobody")
    assert (answer.status_code, answer.json()["instance"]) == (404, f"{LIVE}/nobody")


def test_a_tenant_seen_but_no_longer_configured_keeps_its_numbers(admin: httpx2.Client, gateway: Gateway) -> None:
    """Numbers outlive the configuration, and the directory is not even asked."""
    a_busy_day(gateway)
    gateway.tenants.known.clear()
    assert admin.get(f"{LIVE}/acme").json()["active_calls"] == 1
    assert gateway.tenants.asked == []


@pytest.mark.parametrize("reserved", [UNKNOWN_TENANT, OTHER])
def test_the_reserved_tenants_exist_once_they_have_counted(
    admin: httpx2.Client, gateway: Gateway, reserved: str
) -> None:
    """`_unknown` and `_other` are not found before their first call and have numbers after it."""
    assert admin.get(f"{LIVE}/{reserved}").status_code == 404
    gateway.kit.tracker.received("rtc_1", reserved).rejected(RejectionReason.TENANT_NOT_CONFIGURED)
    assert admin.get(f"{LIVE}/{reserved}").json()["rejected_calls_tenant_not_configured"] == 1


def test_a_directory_that_cannot_be_asked_is_a_503(admin: httpx2.Client, gateway: Gateway) -> None:
    """With the database down, a tenant without numbers is neither found nor not found: try again."""
    gateway.tenants.broken = True
    answer = admin.get(f"{LIVE}/globex")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize("tenant_id", ["%00", "a%0Ab", "x" * 201, "%7f"])
def test_absurd_tenant_ids_are_refused_before_the_directory_is_asked(
    admin: httpx2.Client, gateway: Gateway, tenant_id: str
) -> None:
    """Control characters and endless ids never reach a database."""
    answer = admin.get(f"{LIVE}/{tenant_id}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "path.tenant_id")
    assert gateway.tenants.asked == []


@pytest.fixture
def stuck_fold(gateway: Gateway) -> Iterator[threading.Event]:
    """A collection that stands still, as during a long export, until the event is set."""
    release = threading.Event()

    def wait(_options: CallbackOptions) -> Iterable[Observation]:
        release.wait(60)
        return ()

    gateway.kit.meter.create_observable_gauge("stuck", [wait])
    yield release
    release.set()


def test_a_fold_that_is_held_up_gives_the_last_numbers_and_their_age(
    admin: httpx2.Client, gateway: Gateway, stuck_fold: threading.Event
) -> None:
    """While a collection is stuck the answer comes all the same and says that it is old; afterwards it is current."""
    gateway.kit.tracker.received("rtc_1", "acme").accepted()
    stale = admin.get(LIVE)
    assert (stale.json()["accepted_calls"], int(stale.headers["x-metrics-age-ms"]) > 0) == (0, True)
    stuck_fold.set()
    assert gateway.kit.live()["accepted_calls"] == 1
    current = admin.get(LIVE)
    assert (current.json()["accepted_calls"], current.headers["x-metrics-age-ms"]) == (1, "0")
