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
    rejected = sum(n[field] for field in REJECTIONS)
    waiting = n["accepted_calls"] - n["started_calls"] - n["abandoned_calls"]
    assert min(n.values()) >= 0, f"a number is negative: {n}"
    assert n["received_calls"] == rejected + n["abandoned_calls"] + n["started_calls"] + n["pending_calls"], n
    assert 0 <= waiting <= n["pending_calls"], f"accepted = started + abandoned + (accepted and pending): {n}"
    assert n["started_calls"] == n["ended_calls"] + n["active_calls"], n
    assert n["failed_calls"] <= n["ended_calls"], n
    assert n["referred_calls"] <= n["started_calls"], n
