"""Rounding rules: what a call costs under each, and what holds under all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.usage.rules import PER_SECOND, Rounding, RoundingError

RULES = st.builds(
    lambda initial, step: Rounding(initial * 1000, step * 1000), st.integers(1, 7200), st.integers(1, 7200)
)
DURATIONS = st.integers(0, 20_000_000)


@pytest.mark.parametrize(
    ("rule", "duration_ms", "expected_ms"),
    [
        ("per_second", 1, 1000),
        ("per_second", 1000, 1000),
        ("per_second", 1001, 2000),
        ("per_started_minute", 1, 60_000),
        ("per_started_minute", 60_000, 60_000),
        ("per_started_minute", 60_001, 120_000),
        ("6/6", 5999, 6000),
        ("6/6", 6001, 12_000),
        ("60/60", 61_000, 120_000),
        ("60/1", 2000, 60_000),
        ("60/1", 60_500, 61_000),
        ("30/6", 31_000, 36_000),
    ],
)
def test_a_call_costs_its_first_interval_and_begun_steps(rule: str, duration_ms: int, expected_ms: int) -> None:
    """Each rule rounds a call as its name says."""
    assert Rounding.parse(rule).rounded(duration_ms) == expected_ms


@given(RULES, DURATIONS)
def test_rounding_never_takes_away_and_never_adds_a_whole_step(rule: Rounding, duration_ms: int) -> None:
    """The rounded length is at least the length, and by less than a step or the first interval more."""
    rounded = rule.rounded(duration_ms)
    assert duration_ms <= rounded < duration_ms + max(rule.initial_ms, rule.step_ms) or rounded == duration_ms == 0


@given(RULES, DURATIONS, DURATIONS)
def test_a_longer_call_never_costs_less(rule: Rounding, one: int, other: int) -> None:
    """Rounding keeps the order of lengths."""
    assert rule.rounded(min(one, other)) <= rule.rounded(max(one, other))


@given(RULES, DURATIONS)
def test_what_is_rounded_stays_as_it_is(rule: Rounding, duration_ms: int) -> None:
    """Rounding a rounded length changes nothing."""
    rounded = rule.rounded(duration_ms)
    assert rule.rounded(rounded) == rounded


@given(RULES)
def test_a_rule_reads_as_it_is_written(rule: Rounding) -> None:
    """A rule's name, read again, is the same rule."""
    assert Rounding.parse(str(rule)) == rule


def test_started_minutes_are_sixty_sixty() -> None:
    """The two names for whole minutes mean the same rule, and so do those for whole seconds."""
    assert Rounding.parse("60/60") == Rounding.parse("per_started_minute")
    assert Rounding.parse("1/1") == PER_SECOND


@pytest.mark.parametrize("text", ["", "6", "6/", "0/6", "6/0", "6/6/6", "-6/6", "6.5/6", "100000/1", "per_hour"])
def test_what_is_no_rule_is_refused_with_what_is_one(text: str) -> None:
    """The error says which forms there are."""
    with pytest.raises(RoundingError, match="per_started_minute, or INITIAL/STEP"):
        Rounding.parse(text)
