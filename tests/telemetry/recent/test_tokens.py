"""The sum of token usage, in which unknown is not zero."""

from telemetry.calls.events import CallRef, TokensUsed, TokenUsage
from telemetry.clock import Instant
from telemetry.recent.retained import TokenCounter
from telemetry.semconv.attributes import CallId, TenantId

CALL = CallRef(CallId("rtc_1"), TenantId("acme"))


def counter(*usages: TokenUsage, model: str = "gpt-realtime-2.1") -> TokenCounter:
    made = TokenCounter()
    for usage in usages:
        made.add(TokensUsed(Instant(0, 0), CALL, usage, model))
    return made


def test_without_responses_everything_is_unknown() -> None:
    """A call that used no tokens knows none of its sums, rather than zeros."""
    total = counter().total()
    assert (total.usage, total.responses, total.partial, total.models) == (TokenUsage(), 0, (), ())


def test_kinds_are_added_up_and_unreported_ones_stay_unknown() -> None:
    """Reported kinds are summed over responses, a reported zero among them; the others stay ``None``."""
    total = counter(TokenUsage(input=10, output=0), TokenUsage(input=5, output=0)).total()
    assert (total.usage, total.responses, total.partial) == (TokenUsage(input=15, output=0), 2, ())


def test_a_kind_that_only_some_responses_reported_is_named() -> None:
    """Whichever response lacks a kind, the sum is known to be a lower bound."""
    full, half = TokenUsage(input=10, output=4), TokenUsage(input=10)
    assert counter(full, half).total().partial == ("output",)
    assert counter(half, full).total().partial == ("output",)
    assert counter(half, half, full).total().usage.output == 4


def test_models_are_few() -> None:
    """Models are listed once each, and no more than a handful of them."""
    made = TokenCounter()
    for number in range(100):
        made.add(TokensUsed(Instant(0, 0), CALL, TokenUsage(), f"model-{number // 2}"))
    assert made.total().models == ("model-0", "model-1", "model-2", "model-3")
