"""Plans: reproducible, in the shares asked for, refused when they make no sense."""

from collections import Counter
from itertools import islice

import pytest

from service.simulator.call import Delivery, SimulatedCall
from service.simulator.faults import CallFaults, Refuse
from service.simulator.script import (
    AgentHangsUp,
    AgentSpeaks,
    AgentTransfers,
    CallerHangsUp,
    CallerSpeaks,
    RunsIntoLimit,
    SessionExpires,
    SidebandCloses,
)
from service.simulator.script_writer import Shares
from service.simulator.traffic import Plan

NUMBERS = ("+18005550000", "+18005550001")


def _calls(plan: Plan, count: int = 600) -> list[SimulatedCall]:
    return [plan.call(index, NUMBERS) for index in islice(plan.indices(), count)]


def test_the_same_seed_gives_the_same_calls() -> None:
    """Scripts, numbers, headers, ids, deliveries and gaps are the same in two plans of one seed and run."""
    one, other = Plan("run", seed=3), Plan("run", seed=3)
    assert _calls(one, 50) == _calls(other, 50)
    assert [one.gap(index) for index in range(50)] == [other.gap(index) for index in range(50)]


def test_another_seed_gives_other_calls_and_another_run_other_ids_alone() -> None:
    """The seed decides what happens; the run only what calls are called."""
    calls, seeded, rerun = (_calls(plan, 50) for plan in (Plan("a", seed=1), Plan("a", seed=2), Plan("b", seed=1)))
    assert [call.script for call in calls] != [call.script for call in seeded]
    assert [call.script for call in calls] == [call.script for call in rerun]
    assert not {call.call_id for call in calls} & {call.call_id for call in rerun}


def test_a_call_does_not_depend_on_those_before_it() -> None:
    """A call is the same whether the plan is read from its beginning or at that place alone."""
    assert Plan("run").call(7, NUMBERS) == _calls(Plan("run"), 8)[7]


def test_shares_are_kept() -> None:
    """Over many calls each kind comes about as often as its share says."""
    calls = _calls(Plan("run", shares=Shares(hangups=0.3, refers=0.3, errors=0.2, silent=0.1, unknown=0.5)))
    kinds = Counter(call.script.kind for call in calls)
    assert kinds["hangups"] / 600 == pytest.approx(0.3, abs=0.08)
    assert kinds["errors"] / 600 == pytest.approx(0.2, abs=0.08)
    assert kinds["agent_ends"] / 600 == pytest.approx(0.1, abs=0.08)
    assert sum(call.number not in NUMBERS for call in calls) / 600 == pytest.approx(0.5, abs=0.08)


def test_every_kind_has_its_ending() -> None:
    """The kind a script is drawn as decides how it ends."""
    endings: dict[str, set[type]] = {}
    for call in _calls(Plan("run", shares=Shares(errors=0.2))):
        endings.setdefault(call.script.kind, set()).add(type(call.script.ending))
    assert endings == {
        "hangups": {CallerHangsUp},
        "refers": {AgentTransfers},
        "errors": {SessionExpires, SidebandCloses},
        "silent": {CallerHangsUp},
        "agent_ends": {AgentHangsUp},
    }


def test_calls_run_into_limits_and_are_canceled_as_their_shares_say() -> None:
    """Kinds that need a gateway's limits, and callers who give up, come only where they are asked for."""
    limited = _calls(Plan("run", shares=Shares(hangups=0, overlong=0.5, mute=0.3, canceled=0.5)))
    kinds = Counter(call.script.kind for call in limited)
    assert kinds["overlong"] / 600 == pytest.approx(0.5, abs=0.08)
    assert {call.script.ending for call in limited if call.script.kind == "mute"} == {RunsIntoLimit("silence")}
    assert sum(call.faults.canceled for call in limited) / 600 == pytest.approx(0.5, abs=0.08)
    usual = _calls(Plan("run"))
    assert not any(call.faults.canceled or isinstance(call.script.ending, RunsIntoLimit) for call in usual)


def test_an_answer_is_cut_off_only_where_the_caller_speaks_next() -> None:
    """After every interrupted answer the script has the caller's speech that interrupts it."""
    plan = Plan("run", shares=Shares(interruptions=1.0))
    cuts = 0
    for call in _calls(plan, 100):
        steps = call.script.steps
        for number, step in enumerate(steps):
            if isinstance(step, AgentSpeaks) and step.cut_after is not None:
                cuts += 1
                assert isinstance(steps[number + 1], CallerSpeaks)
    assert cuts > 50


def test_deliveries_follow_their_shares() -> None:
    """Late webhooks come late; the rest may be repeated; without shares each comes once."""
    assert {call.delivery for call in _calls(Plan("run", shares=Shares(late=1.0)), 20)} == {Delivery(late=True)}
    repeated = {call.delivery for call in _calls(Plan("run", shares=Shares(late=0, duplicates=1.0)), 100)}
    assert repeated == {
        Delivery(repeats=1),
        Delivery(repeats=2),
        Delivery(repeats_after_end=1),
        Delivery(under_new_ids=1),
    }
    assert {call.delivery for call in _calls(Plan("run", shares=Shares(late=0, duplicates=0)), 20)} == {Delivery()}


def test_faults_come_in_their_share() -> None:
    """A share of calls is faulty, the others are not."""
    faulty = CallFaults(accept=Refuse(500))
    drawn = Counter(call.faults == faulty for call in _calls(Plan("run", faults=((0.5, faulty),))))
    assert drawn[True] / 600 == pytest.approx(0.5, abs=0.08)


def test_without_numbers_every_call_is_to_nobody() -> None:
    """A plan can be played before there is any tenant."""
    assert Plan("run").call(0, ()).number.startswith("+1212555")


def test_a_plan_has_as_many_places_as_calls() -> None:
    """The number of calls bounds the plan."""
    assert len(list(Plan("run", calls=3).indices())) == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hangups": 1.5}, "'hangups' must be from 0 to 1"),
        ({"tools": -0.1}, "'tools' must be from 0 to 1"),
        ({"hangups": 0.6, "refers": 0.6}, "together must not exceed 1"),
    ],
)
def test_impossible_shares_are_refused(wrong: dict[str, float], message: str) -> None:
    """A share that cannot be is refused by name."""
    with pytest.raises(ValueError, match=message):
        Shares(**wrong)


def test_impossible_plans_are_refused() -> None:
    """No rate, no room and more faulty calls than calls are refused."""
    with pytest.raises(ValueError, match="calls per second"):
        Plan("run", calls_per_second=0)
    with pytest.raises(ValueError, match="calls at a time"):
        Plan("run", max_running=0)
    with pytest.raises(ValueError, match="faulty calls"):
        Plan("run", faults=((0.6, CallFaults()), (0.6, CallFaults())))
