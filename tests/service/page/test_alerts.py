"""Alert conditions on the page: the shipped rules' own thresholds, judged by what one process knows."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.page import alerts as module
from service.page.alerts import SHIPPED, AlertFacts, WorstTenants, alert_conditions, worst_tenants
from service.records.calls import RecordsHealth, RecordsState
from service.tenants.limits import CallLimits
from telemetry.export.health import ExportHealth, SignalHealth
from telemetry.export.signals import Signal
from telemetry.metrics.history import History
from telemetry.metrics.past import WindowName
from telemetry.semconv.attributes import EndReason, RejectionReason
from telemetry.testing import TelemetryKit

PROMETHEUS = Path(__file__).parents[3] / "collector-config" / "prometheus"
NO_TENANT = WorstTenants(None, None, None)
WELL = RecordsHealth(RecordsState.WRITING, 0, 0, 0, 0, 0, 0, 0, 0, None, None, None)


def shipped() -> dict[str, dict[str, Any]]:
    """The rules by name."""
    return {rule["alert"]: rule for rule in _rules("alerts")}


def expression(rule: str) -> str:
    """What a rule looks at, with what the recordings it names look at."""
    recorded = {each["record"]: each["expr"] for each in _rules("recording")}
    expr: str = shipped()[rule]["expr"]
    return "\n".join([expr, *(text for name, text in recorded.items() if name in expr)])


def _rules(name: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / f"{name}.rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def not_exported(signal: Signal) -> SignalHealth:
    """The health of a signal that is exported nowhere."""
    return SignalHealth(signal, False, None, None, None, 0.0, 0, None, 0, 0, thread_alive=False)


@pytest.fixture
def facts(kit: TelemetryKit) -> AlertFacts:
    """A process without a call."""
    windows = History(kit._refreshed(), kit.tracker, CallLimits(100), kit.clock.now()).of(kit.clock.now())
    return AlertFacts(
        hour=windows[WindowName.HOUR],
        five_minutes=windows[WindowName.FIVE_MINUTES],
        worst=NO_TENANT,
        in_use=0,
        limit=100,
        oldest_silence_seconds=0.0,
        other_received=0,
        sizes=kit._refreshed().size(),
        export=ExportHealth(*map(not_exported, Signal)),
        records=WELL,
        spill_room_bytes=2**30,
        store_away_seconds=None,
        fleet=True,
    )


def held(facts: AlertFacts) -> set[str]:
    """The rules whose conditions hold."""
    return {one.rule for one in alert_conditions(facts) if one.holds}


def test_conditions_are_those_of_the_shipped_rules(facts: AlertFacts) -> None:
    """Each names a rule, with its severity and the time it waits; the number of rules that are left is right."""
    rules = shipped()
    assert len(rules) == SHIPPED
    conditions = list(alert_conditions(facts))
    assert len({one.rule for one in conditions}) == len(conditions)
    for one in conditions:
        rule = rules[one.rule]
        waits = re.fullmatch(r"(\d+)m", rule.get("for", "0m"))
        assert waits is not None
        assert (one.severity, one.minutes) == (rule["labels"]["severity"], int(waits[1])), one.rule


@pytest.mark.parametrize(
    ("rule", "thresholds"),
    [
        ("CallAnswerBudgetBurnsFast", [f"> 14.4 * {module.ANSWER_BURN / 14.4:g}", f"> {module.CALLS_TO_JUDGE}"]),
        ("CallSuccessBudgetBurnsFast", [f"> 14.4 * {module.SUCCESS_BURN / 14.4:g}", f"> {module.CALLS_TO_JUDGE}"]),
        ("TurnLatencyBudgetBurnsFast", [f"> 14.4 * {module.LATENCY_BURN / 14.4:g}", f"> {module.TURNS_TO_JUDGE}"]),
        ("TenantCallsRejected", [f">= {module.REJECTED_CALLS}"]),
        ("NumbersNotConfigured", [f">= {module.REJECTED_CALLS}", f">= {module.UNCONFIGURED_CALLS}", "> 0.5"]),
        ("TenantAnswersSlow", [f">= {module.SLOW_TURNS}", f"> {module.SLOW_SHARE}"]),
        ("CallWithoutSignOfLife", [f"> {module.SILENT_SECONDS:g}"]),
        ("CapacityAbove80Percent", [f">= {module.NEARLY_FULL}"]),
        ("CapacityAbove95Percent", [f">= {module.FULL}"]),
        ("TenantCapacityAbove80Percent", [f">= {module.NEARLY_FULL}", f">= {module.SLOTS_TO_JUDGE}"]),
        ("TenantCapacityAbove95Percent", [f">= {module.FULL}", f">= {module.SLOTS_TO_JUDGE}"]),
        ("TelemetryExportFails", [f">= {module.FAILED_EXPORTS}"]),
        ("DatabaseAway", [f"> {module.DATABASE_AWAY_SECONDS:g}"]),
        ("SpillRoomShort", [f"< {module.SPILL_ROOM_BYTES // module.MIB} * 1024 * 1024"]),
    ],
)
def test_thresholds_are_those_of_the_shipped_rules(rule: str, thresholds: list[str]) -> None:
    """Whoever changes one of the two is told of the other."""
    looked_at = expression(rule)
    assert [one for one in thresholds if one not in looked_at] == []


def test_a_process_without_calls_holds_nothing(facts: AlertFacts) -> None:
    """What there is nothing to judge by is not known, and no condition holds."""
    assert held(facts) == set()
    unknown = {one.rule for one in alert_conditions(facts) if one.holds is None}
    assert {"CallAnswerBudgetBurnsFast", "TenantAnswersSlow", "TenantCapacityAbove95Percent"} <= unknown


@pytest.mark.parametrize(
    ("changed", "rules"),
    [
        ({"in_use": 79}, set()),
        ({"in_use": 80}, {"CapacityAbove80Percent"}),
        ({"in_use": 95}, {"CapacityAbove80Percent", "CapacityAbove95Percent"}),
        ({"oldest_silence_seconds": 300.0}, set()),
        ({"oldest_silence_seconds": 301.0}, {"CallWithoutSignOfLife"}),
        ({"other_received": 1}, {"TenantBudgetExceeded"}),
        ({"spill_room_bytes": 16 * 2**20 - 1}, {"SpillRoomShort"}),
        ({"store_away_seconds": 1.0}, {"CapacityStoreAway"}),
        ({"records": replace(WELL, database_away_seconds=119.0)}, set()),
        ({"records": replace(WELL, database_away_seconds=121.0)}, {"DatabaseAway"}),
        ({"records": replace(WELL, state=RecordsState.REFUSING)}, {"RecordsRefusing"}),
        ({"worst": replace(NO_TENANT, rejected=("acme", 3))}, {"TenantCallsRejected"}),
        ({"worst": replace(NO_TENANT, slow=("acme", 0.51))}, {"TenantAnswersSlow"}),
        ({"worst": replace(NO_TENANT, full=("acme", 0.8))}, {"TenantCapacityAbove80Percent"}),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value)[:60],
)
def test_a_condition_holds_from_its_threshold_on(facts: AlertFacts, changed: dict[str, Any], rules: set[str]) -> None:
    """And not before it."""
    assert held(replace(facts, **changed)) == rules


def test_error_budgets_are_judged_by_what_was_counted(kit: TelemetryKit, facts: AlertFacts) -> None:
    """Calls without instructions burn the answers' budget, failed ones the success', and wrong numbers neither."""
    limits = CallLimits(100)
    history = History(kit._refreshed(), kit.tracker, limits, kit.clock.now())
    for index in range(30):
        call = kit.tracker.received(f"rtc_{index}", "acme")
        if index < 8:
            call.rejected(RejectionReason.INSTRUCTIONS_MISSING)
            continue
        call.accepted()
        call.started()
        call.finish(EndReason.ERROR if index < 12 else EndReason.HANGUP, error_type="X" if index < 12 else None)
    for index in range(3):
        kit.tracker.received(f"rtc_full_{index}", "full").rejected(RejectionReason.CAPACITY)
    for index in range(40):
        kit.tracker.received(f"rtc_no_{index}", "_unknown").rejected(RejectionReason.TENANT_NOT_CONFIGURED)
    kit._refreshed()
    windows = history.of(kit.clock.now())
    counted = replace(
        facts,
        hour=windows[WindowName.HOUR],
        five_minutes=windows[WindowName.FIVE_MINUTES],
        worst=worst_tenants(kit.tracker, history, limits),
    )
    assert held(counted) == {
        "CallAnswerBudgetBurnsFast",
        "CallSuccessBudgetBurnsFast",
        "TenantCallsRejected",
        "NumbersNotConfigured",
    }
    said = {one.rule: one.now for one in alert_conditions(counted)}
    assert said["TenantCallsRejected"] == "full: 3 calls"
    assert said["NumbersNotConfigured"] == "40 of 73 calls"
    assert said["CallSuccessBudgetBurnsFast"] == "18 % of 22 calls; 18 % in 5 min"
