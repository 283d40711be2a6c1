"""Labels are a budget: what is admitted stays, what is refused counts together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.metrics.cardinality import ErrorLabels, TenantLabels
from telemetry.semconv.attributes import TenantId
from telemetry.semconv.catalogue import MAX_ERROR_TYPES
from tests.telemetry.threads import together


@given(st.lists(st.text(max_size=3).map(TenantId)), st.integers(1, 5))
def test_a_tenants_label_never_changes_and_never_exceeds_the_budget(asked: list[TenantId], most: int) -> None:
    """The first tenants have their own label for good, the others `_other`, counted at each lookup."""
    labels = TenantLabels(most)
    given_out = [labels.label(tenant) for tenant in asked]
    assert given_out == [labels.label(tenant) for tenant in asked]
    own = {label for label in given_out if label != "_other"}
    assert len(own - {"_unknown"}) <= most
    assert labels.refused == 2 * sum(
        label == "_other" != tenant for label, tenant in zip(given_out, asked, strict=True)
    )
    assert labels.max_tenants == most


def test_unknown_and_other_cost_no_budget() -> None:
    """The two reserved labels are there however small the budget."""
    labels = TenantLabels(1)
    assert [labels.label(TenantId(name)) for name in ("_unknown", "_other", "a", "b")] == [
        "_unknown",
        "_other",
        "a",
        "_other",
    ]


def test_threads_admit_no_more_than_the_budget() -> None:
    """Many threads asking for many tenants at once admit exactly the budget."""
    labels = TenantLabels(50)
    tenants = [TenantId(f"tenant-{number}") for number in range(200)]
    together(*[lambda: [labels.label(tenant) for tenant in tenants]] * 4)
    assert len({labels.label(tenant) for tenant in tenants}) == 51


def test_a_budget_of_nothing_is_refused() -> None:
    """A budget below one is refused by name."""
    with pytest.raises(ValueError, match="max_tenants must be at least 1, not 0"):
        TenantLabels(0)


def test_kinds_of_failure_are_bounded_too() -> None:
    """A message passed for a kind of failure by mistake makes a bounded number of labels."""
    labels = ErrorLabels()
    given_out = {labels.label(f"failed at {number}") for number in range(1000)}
    assert len(given_out) == MAX_ERROR_TYPES + 1
    assert "_other" in given_out
    assert labels.refused == 1000 - MAX_ERROR_TYPES
