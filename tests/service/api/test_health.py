"""Health, liveness and readiness."""

import httpx2
import pytest

from tests.service.api.gateway import Gateway


def test_health_has_exactly_the_agreed_body(anyone: httpx2.Client) -> None:
    """The public health answer is the two agreed fields."""
    answer = anyone.get("/api/v1/health")
    assert (answer.status_code, answer.text) == (200, '{"ok":true,"status":"healthy"}')


def test_liveness_is_constant(anyone: httpx2.Client, gateway: Gateway) -> None:
    """Whatever is broken, a process that answers is alive: restarting it would end its calls."""
    gateway.parts.reasons.update(database="no answer", draining="draining")
    assert anyone.get("/livez").json() == {"ok": True, "status": "alive"}


def test_a_process_with_all_it_needs_is_ready(anyone: httpx2.Client) -> None:
    """Each check is listed with its outcome."""
    assert anyone.get("/readyz").json() == {
        "ok": True,
        "status": "ready",
        "reasons": [],
        "checks": {"database": {"ok": True, "reason": None}, "draining": {"ok": True, "reason": None}},
        "information": {"export": {"failing": False}},
    }


@pytest.mark.parametrize("failed", ["database", "draining"])
def test_a_failed_check_makes_the_process_unready_and_is_named(
    anyone: httpx2.Client, gateway: Gateway, failed: str
) -> None:
    """One failed check is enough for a 503 problem, which says which and why."""
    gateway.parts.reasons[failed] = "it is so"
    answer = anyone.get("/readyz")
    assert (answer.status_code, answer.json()["detail"]) == (503, f"Not ready: {failed}: it is so.")
    assert answer.json()["reasons"] == [f"{failed}: it is so"]
    assert answer.json()["checks"][failed] == {"ok": False, "reason": "it is so"}


def test_a_dead_collector_is_no_reason_not_to_be_ready(anyone: httpx2.Client, gateway: Gateway) -> None:
    """Failing exports are shown, and calls are taken all the same."""
    gateway.parts.exporting = {"failing": True}
    answer = anyone.get("/readyz")
    assert (answer.status_code, answer.json()["information"]) == (200, {"export": {"failing": True}})


@pytest.mark.parametrize("failed", ["database", "draining"])
def test_what_only_degrades_is_named_and_leaves_the_process_ready(
    anyone: httpx2.Client, gateway: Gateway, failed: str
) -> None:
    """While calls can be served without it, a failed check is a reason in an answer that says to go on."""
    gateway.parts.degrading.add("database")
    gateway.parts.reasons[failed] = "it is so"
    answer = anyone.get("/readyz")
    if failed == "draining":
        assert answer.status_code == 503
    else:
        told = answer.json()
        assert (answer.status_code, told["status"], told["reasons"]) == (200, "degraded", ["database: it is so"])
    assert anyone.head("/readyz").status_code == answer.status_code
