"""What is true of the numbers at every moment, whatever was reported."""

from collections.abc import Mapping

REJECTIONS = (
    "rejected_calls_capacity",
    "rejected_calls_tenant_not_configured",
    "rejected_calls_tenant_lookup_failed",
    "rejected_calls_instructions_missing",
    "rejected_calls_carrier_error",
)


def check(numbers: Mapping[str, int | float]) -> None:
    """Fail if the numbers of one tenant, or of all, contradict each other."""
    n = numbers
    handed_over = {state: n[f"handed_over_calls_{state}"] for state in ("pending", "accepted", "started")}
    rejected = sum(n[field] for field in REJECTIONS)
    waiting = n["accepted_calls"] - n["started_calls"] - n["abandoned_calls"] - handed_over["accepted"]
    left = rejected + n["unanswered_calls"] + n["abandoned_calls"] + handed_over["pending"] + handed_over["accepted"]
    assert min(n.values()) >= 0, f"a number is negative: {n}"
    assert n["received_calls"] == left + n["started_calls"] + n["pending_calls"], n
    assert 0 <= waiting <= n["pending_calls"], f"accepted = started + abandoned + (accepted and pending): {n}"
    assert n["started_calls"] == n["ended_calls"] + n["active_calls"] + handed_over["started"], n
    assert n["taken_over_calls"] <= n["received_calls"], n
    assert n["failed_calls"] <= n["ended_calls"], n
    assert n["referred_calls"] <= n["started_calls"], n
