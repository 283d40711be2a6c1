"""The shipped alert rules as far as one process can tell: the same thresholds, over what it has counted itself.

Rules over days, over several processes or over a quarter of an hour need a backend's memory, and are left to it. A
condition that holds here is not yet an alert: a rule waits for its ``for``, and counts every process.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from service.page.verdicts import counted, percent
from service.records.calls import RecordsHealth, RecordsState
from service.timeline.explain import span_of_time
from telemetry.calls.tracker import CallTracker
from telemetry.clock import Instant
from telemetry.export.health import ExportHealth
from telemetry.metrics.figures import Window
from telemetry.metrics.gauges import Limits
from telemetry.metrics.history import History
from telemetry.metrics.live_table import BOUNDS, Selection, StoreSize
from telemetry.metrics.past import WindowName
from telemetry.semconv import catalogue
from telemetry.semconv.attributes import OTHER, UNKNOWN_TENANT, RejectionReason

SHIPPED: Final = 46
"""Rules in ``collector-config/prometheus/alerts.rules.yml``; a test counts them."""

ANSWER_BURN: Final = 14.4 * 0.01
SUCCESS_BURN: Final = 14.4 * 0.01
LATENCY_BURN: Final = 14.4 * 0.05
"""Shares of errors, in an hour and in the last five minutes, at which a month's error budget is gone within days."""
CALLS_TO_JUDGE: Final = 20
TURNS_TO_JUDGE: Final = 50
SLOW_TURN_SECONDS: Final = 1.5
NEARLY_FULL: Final = 0.8
FULL: Final = 0.95
SLOTS_TO_JUDGE: Final = 5
"""Tenants with fewer slots are left out."""
SILENT_SECONDS: Final = 300.0
REJECTED_CALLS: Final = 3
UNCONFIGURED_CALLS: Final = 10
UNCONFIGURED_SHARE: Final = 0.5
SLOW_SHARE: Final = 0.5
SLOW_TURNS: Final = 10
FAILED_EXPORTS: Final = 3
DATABASE_AWAY_SECONDS: Final = 120.0
SPILL_ROOM_BYTES: Final = 16 * 1024 * 1024
MIB: Final = 1024 * 1024

_REJECTED: Final = tuple(f"rejected_calls_{reason}" for reason in RejectionReason)
_UNCONFIGURED: Final = _REJECTED.index(f"rejected_calls_{RejectionReason.TENANT_NOT_CONFIGURED}")
_TURNS: Final = catalogue.TURN_FIRST_AUDIO.name
_IN_TIME: Final = BOUNDS[_TURNS].index(SLOW_TURN_SECONDS) + 1
"""Buckets of answers that came in time."""
_BY_TENANT: Final = Selection(("accepted_calls", *_REJECTED), (_TURNS,))


class Severity(StrEnum):
    """The urgency of a rule."""

    PAGE = "page"
    """Somebody is woken."""
    TICKET = "ticket"
    """It can wait for the morning."""


@dataclass(frozen=True, slots=True)
class AlertCondition:
    """One rule's condition, and what it finds now."""

    rule: str
    severity: Severity
    condition: str
    """The condition in words, with its threshold."""
    now: str | None
    """The finding; None if there is nothing to judge by."""
    holds: bool | None
    """True while the condition is met here; None if there is nothing to judge by."""
    minutes: int
    """For how long it has to hold before the rule fires."""


@dataclass(frozen=True, slots=True)
class AlertFacts:
    """The facts that conditions are judged by."""

    hour: Window
    """All tenants together, every number."""
    five_minutes: Window
    worst: "WorstTenants"
    in_use: int
    limit: int
    oldest_silence_seconds: float
    other_received: int
    """Calls of the last hour of tenants past the bound."""
    sizes: StoreSize
    export: ExportHealth
    records: RecordsHealth
    spill_room_bytes: int
    store_away_seconds: float | None
    """Seconds since the fleet's store went away; None while it answers."""
    fleet: bool
    """True if there is one."""


@dataclass(frozen=True, slots=True)
class WorstTenants:
    """The tenants that come nearest to a threshold, each with its figure; None if there is none to judge."""

    rejected: tuple[str, int] | None
    """With calls of the last hour that were turned away, of a tenant none of whose calls was accepted."""
    slow: tuple[str, float] | None
    """With the share of its answers of the last hour that were late."""
    full: tuple[str, float] | None
    """With the share of its slots in use."""


def worst_tenants(tracker: CallTracker, history: History, limits: Limits) -> WorstTenants:
    """Return the worst of all tenants; looks at each, which takes some milliseconds for a thousand of them."""
    now = tracker.clock.now()
    rejected: tuple[str, int] | None = None
    slow: tuple[str, float] | None = None
    for tenant_id, window in history.every(WindowName.HOUR, now, _BY_TENANT):
        accepted, turned_away = window.numbers[0], sum(window.numbers[1 : 1 + len(_REJECTED)])
        if not accepted and turned_away and tenant_id != UNKNOWN_TENANT and (not rejected or turned_away > rejected[1]):
            rejected = tenant_id, turned_away
        turns = window.numbers[1 + len(_REJECTED) :]
        answered = sum(turns)
        if answered >= SLOW_TURNS:
            share = 1 - sum(turns[:_IN_TIME]) / answered
            if slow is None or share > slow[1]:
                slow = tenant_id, share
    usages = tracker.tenant_usage()
    uses = {
        tenant_id: usage.in_use / limits.of(tenant_id)
        for tenant_id, usage in usages.items()
        if limits.of(tenant_id) >= SLOTS_TO_JUDGE
    }
    fullest = max(uses, key=lambda tenant_id: uses[tenant_id], default=None)
    return WorstTenants(rejected, slow, None if fullest is None else (fullest, uses[fullest]))


def other_received(history: History, now: Instant) -> int:
    """Return the calls of the last hour that were counted under ``_other``."""
    window = history.of(now, OTHER)[WindowName.HOUR]
    (received,) = _numbers(window, "received_calls")
    return received


def alert_conditions(facts: AlertFacts) -> Iterator[AlertCondition]:
    """Yield the conditions of every rule that can be judged here, in the order of the rules' file."""
    yield from _levels(facts)
    yield from _calls(facts)
    yield from _leaks(facts)
    yield from _capacity(facts)
    yield from _telemetry(facts)
    yield from _records(facts)


def _numbers(window: Window, *names: str) -> Sequence[int]:
    return [window.numbers[column] for column in Selection(names).columns()] if window.known else [0] * len(names)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:g} min"


def _levels(facts: AlertFacts) -> Iterator[AlertCondition]:
    answers = [_answer_errors(window) for window in (facts.hour, facts.five_minutes)]
    yield _burns(
        "CallAnswerBudgetBurnsFast", "turned away, wrong numbers left out", ANSWER_BURN, CALLS_TO_JUDGE, answers
    )
    ends = [_numbers(window, "failed_calls", "ended_calls") for window in (facts.hour, facts.five_minutes)]
    yield _burns("CallSuccessBudgetBurnsFast", "failed", SUCCESS_BURN, CALLS_TO_JUDGE, ends)
    turns = [_late_turns(window) for window in (facts.hour, facts.five_minutes)]
    yield _burns(
        "TurnLatencyBudgetBurnsFast",
        f"later than {SLOW_TURN_SECONDS:g} s",
        LATENCY_BURN,
        TURNS_TO_JUDGE,
        turns,
        unit="answer",
    )


def _answer_errors(window: Window) -> tuple[int, int]:
    accepted, *rejected = _numbers(window, "accepted_calls", *_REJECTED)
    errors = sum(rejected) - rejected[_UNCONFIGURED]
    return errors, accepted + errors


def _late_turns(window: Window) -> tuple[int, int]:
    counts = [window.numbers[column] for column in Selection((), (_TURNS,)).columns()] if window.known else [0]
    return sum(counts[_IN_TIME:]), sum(counts)


def _burns(
    rule: str, what: str, most: float, to_judge: int, counts: Sequence[Sequence[int]], *, unit: str = "call"
) -> AlertCondition:
    """Judge an error budget by the last hour and the last five minutes, each as errors and all."""
    (_, of_hour), _ = counts
    shares = [errors / whole if whole else None for errors, whole in counts]
    condition = f"over {percent(most)} of more than {to_judge} {unit}s in 1 h {what}, and in the last 5 min"
    if shares[0] is None:
        return AlertCondition(rule, Severity.PAGE, condition, None, None, 2)
    recent = "none" if shares[1] is None else percent(shares[1], most)
    now = f"{percent(shares[0], most)} of {counted(of_hour, unit)}; {recent} in 5 min"
    holds = of_hour > to_judge and all(share is not None and share > most for share in shares)
    return AlertCondition(rule, Severity.PAGE, condition, now, holds, 2)


def _calls(facts: AlertFacts) -> Iterator[AlertCondition]:
    rejected = facts.worst.rejected
    yield AlertCondition(
        "TenantCallsRejected",
        Severity.PAGE,
        f"a tenant had {REJECTED_CALLS} calls or more turned away within 1 h, and none accepted",
        "no tenant" if rejected is None else f"{rejected[0]}: {counted(rejected[1], 'call')}",
        rejected is not None and rejected[1] >= REJECTED_CALLS,
        2,
    )
    accepted, *turned_away = _numbers(facts.hour, "accepted_calls", *_REJECTED)
    unknown, all_ = turned_away[_UNCONFIGURED], accepted + sum(turned_away)
    alone = unknown >= REJECTED_CALLS and not accepted
    most = unknown >= UNCONFIGURED_CALLS and unknown > UNCONFIGURED_SHARE * all_
    yield AlertCondition(
        "NumbersNotConfigured",
        Severity.PAGE,
        f"{REJECTED_CALLS} calls within 1 h to numbers no tenant has and none to others, or {UNCONFIGURED_CALLS} and "
        f"over {percent(UNCONFIGURED_SHARE)}",
        f"{unknown:,} of {counted(all_, 'call')}",
        alone or most,
        2,
    )
    slow = facts.worst.slow
    yield AlertCondition(
        "TenantAnswersSlow",
        Severity.TICKET,
        f"over {percent(SLOW_SHARE)} of a tenant's answers later than {SLOW_TURN_SECONDS:g} s, of {SLOW_TURNS} or more "
        "within 1 h",
        None if slow is None else f"{slow[0]}: {percent(slow[1], SLOW_SHARE)}",
        None if slow is None else slow[1] > SLOW_SHARE,
        5,
    )


def _leaks(facts: AlertFacts) -> Iterator[AlertCondition]:
    yield AlertCondition(
        "CallWithoutSignOfLife",
        Severity.TICKET,
        f"a running call shows no sign of life for {_minutes(SILENT_SECONDS)}",
        f"{span_of_time(facts.oldest_silence_seconds)} at most" if facts.oldest_silence_seconds else "no call runs",
        facts.oldest_silence_seconds > SILENT_SECONDS,
        2,
    )


def _capacity(facts: AlertFacts) -> Iterator[AlertCondition]:
    use = facts.in_use / facts.limit if facts.limit else None
    levels = (("80", NEARLY_FULL, Severity.TICKET, 10), ("95", FULL, Severity.PAGE, 2))
    for name, share, severity, minutes in levels:
        yield AlertCondition(
            f"CapacityAbove{name}Percent",
            severity,
            f"{percent(share)} of all slots in use",
            None if use is None else f"{facts.in_use:,} of {facts.limit:,}, {percent(use, share)}",
            None if use is None else use >= share,
            minutes,
        )
    if facts.fleet:
        away = facts.store_away_seconds
        yield AlertCondition(
            "CapacityStoreAway",
            Severity.PAGE,
            "slots are decided upon without the fleet's store",
            "it answers" if away is None else f"away for {span_of_time(away)}",
            away is not None,
            1,
        )
    full = facts.worst.full
    for name, share, minutes in (("80", NEARLY_FULL, 10), ("95", FULL, 5)):
        yield AlertCondition(
            f"TenantCapacityAbove{name}Percent",
            Severity.TICKET,
            f"{percent(share)} of the slots of a tenant with {SLOTS_TO_JUDGE} or more in use",
            None if full is None else f"{full[0]}: {percent(full[1], share)}",
            None if full is None else full[1] >= share,
            minutes,
        )


def _telemetry(facts: AlertFacts) -> Iterator[AlertCondition]:
    enabled = [signal for signal in facts.export.signals if signal.enabled]
    failed = max(enabled, key=lambda signal: signal.consecutive_failures, default=None)
    yield AlertCondition(
        "TelemetryExportFails",
        Severity.TICKET,
        f"the export of a signal fails {FAILED_EXPORTS} times in a row",
        None
        if failed is None
        else f"{failed.signal.value}: {counted(failed.consecutive_failures, 'time')}"
        if failed.consecutive_failures
        else "none fails",
        None if failed is None else failed.consecutive_failures >= FAILED_EXPORTS,
        5,
    )
    yield AlertCondition(
        "MetricCardinalityOverflow",
        Severity.TICKET,
        "an instrument has more series than its limit",
        f"{counted(facts.sizes.overflowed, 'data point')} since the start",
        facts.sizes.overflowed > 0,
        0,
    )
    yield AlertCondition(
        "TenantBudgetExceeded",
        Severity.TICKET,
        "calls within 1 h of tenants past the bound, counted together",
        counted(facts.other_received, "call"),
        facts.other_received > 0,
        0,
    )


def _records(facts: AlertFacts) -> Iterator[AlertCondition]:
    away = facts.records.database_away_seconds
    yield AlertCondition(
        "DatabaseAway",
        Severity.PAGE,
        f"the database is away for {_minutes(DATABASE_AWAY_SECONDS)}",
        "it answers" if away is None else f"away for {span_of_time(away)}",
        away is not None and away > DATABASE_AWAY_SECONDS,
        0,
    )
    yield AlertCondition(
        "RecordsRefusing",
        Severity.PAGE,
        "neither database nor disk takes call records",
        facts.records.state.value.replace("_", " "),
        facts.records.state is RecordsState.REFUSING,
        1,
    )
    yield AlertCondition(
        "SpillRoomShort",
        Severity.TICKET,
        f"room for less than {SPILL_ROOM_BYTES // MIB} MiB of call records on the disk",
        f"{facts.spill_room_bytes / MIB:,.0f} MiB",
        facts.spill_room_bytes < SPILL_ROOM_BYTES,
        10,
    )
