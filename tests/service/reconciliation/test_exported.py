"""A metrics backend as a ledger: the right questions, the right sums, and what it cannot know yet."""

import pytest

from service.reconciliation.exported import PrometheusLedger
from service.reconciliation.figures import Field, ReconcileQuery, Scope
from service.reconciliation.ledgers import Ledger, State
from service.reconciliation.promql import (
    COUNTERS,
    ENDED,
    EXPORTS,
    REJECTED,
    TAKEN_OVER,
    UNANSWERED,
    BackendError,
    Sample,
    ServiceSelector,
    gained,
    set_back,
)
from tests.collector.names import catalogue_names
from tests.service.reconciliation.harness import FakeBackend, ReconciliationHarness, figures, told

SPEAKER = ServiceSelector("callscope", "instance-1")
WINDOW = ReconcileQuery(Scope.FLEET, 1_790_000_000_000, 1_790_000_060_000)


def test_every_series_that_is_asked_for_is_in_the_catalogue() -> None:
    """The names are those the catalogue's instruments have in Prometheus."""
    asked = {counted.metric for counted in (*COUNTERS.values(), REJECTED, UNANSWERED, ENDED, TAKEN_OVER)} | {EXPORTS}
    assert asked <= catalogue_names()


def test_a_tenants_name_cannot_leave_its_quotes() -> None:
    """Whatever a tenant is called, the query asks for that label and nothing else."""
    asked = ReconcileQuery(Scope.FLEET, 0, 1, 'a"} or up{x="\\')
    assert 'tenant_id="a\\"} or up{x=\\"\\\\"}' in gained(COUNTERS[Field.STARTED], asked, SPEAKER)


def _answers(instance: str, at_ms: int, counts: dict[str, float]) -> dict[str, list[Sample]]:
    """What a backend has that was sent these counts at this moment."""
    acme = {"tenant_id": "acme"}
    plain = {f"{name}{{": [Sample(acme, value)] for name, value in counts.items()}
    return {"timestamp(": [Sample({"instance": instance}, at_ms / 1000)]} | plain


async def _exported(harness: ReconciliationHarness, at_ms: int, **counts: float) -> None:
    labelled = {
        "voice_call_received_total": counts.get("received", 0),
        "voice_call_accepted_total": counts.get("accepted", 0),
        "voice_call_started_total": counts.get("started", 0),
        "voice_call_time_seconds_total": counts.get("seconds", 0),
    }
    answers = _answers(str(harness.instance), at_ms, labelled)
    ended = [Sample({"tenant_id": "acme", "voice_call_end_reason": "hangup"}, counts.get("ended", 0))]
    failed: dict[str, list[Sample]] = {'error_type!=""': []}
    harness.exports_to(FakeBackend(failed | {"voice_call_ended_total{": ended} | answers))


async def test_what_was_not_exported_yet_is_no_difference(harness: ReconciliationHarness) -> None:
    """A call that ended after the last export may be missing; the margin is as wide as that and no wider."""
    harness.talked()
    harness.clock.advance(5)
    exported_ms = harness.now_ms
    harness.clock.advance(20)
    harness.talked()
    harness.clock.advance(5)
    await _exported(harness, exported_ms, received=1, accepted=1, started=1, ended=1, seconds=61.25)
    found = await harness.compared()
    assert found.consistent, told(found)
    column = found.columns[Ledger.PROMETHEUS]
    assert column.state is State.COMPARED
    assert column.age_seconds == pytest.approx(87, abs=0.01)
    ended = column.rows["acme"][Field.ENDED]
    assert (ended.value, ended.low, ended.high) == (1, 1, 2)
    assert figures(found, "prometheus", "acme")["minutes"] == pytest.approx(61.25 / 60)


async def test_what_should_have_been_exported_is_a_difference(harness: ReconciliationHarness) -> None:
    """A call that was over long before the last export and is not in the backend differs, and so does one too many."""
    harness.talked()
    harness.talked()
    harness.clock.advance(60)
    await _exported(harness, harness.now_ms, received=1, accepted=2, started=3, ended=2, seconds=122.5)
    found = await harness.compared()
    assert told(found) == [("acme", "received", (2, 1)), ("acme", "started", (2, 3))]


async def test_takeovers_are_taken_off() -> None:
    """Calls taken over count as far as another process had counted them, and no further."""
    taken = [
        Sample({"tenant_id": "acme", "voice_call_state": state}, value)
        for state, value in (("pending", 4), ("accepted", 2), ("started", 1))
    ]
    counted = {"received": 10, "accepted": 8, "started": 7, "handed_over": 3}
    answers = _answers("one", WINDOW.end_ms, {f"voice_call_{name}_total": value for name, value in counted.items()})
    backend = FakeBackend({"resets(": [], "voice_call_taken_over_total": taken} | answers)
    row = (await PrometheusLedger(backend, SPEAKER).read(WINDOW)).amounts["acme"]
    assert (row[Field.RECEIVED], row[Field.ACCEPTED], row[Field.STARTED]) == (10 - 7, 8 - 3, 7 - 1)
    assert (row[Field.TAKEN_OVER], row[Field.HANDED_OVER]) == (7, 3)


async def test_unanswered_calls_are_told_apart_by_reason() -> None:
    """Each reason is a figure of its own; one that this version does not know is left out."""
    samples = [
        Sample({"tenant_id": "acme", "voice_call_unanswered_reason": reason}, value)
        for reason, value in (("canceled", 2), ("busy", 3), ("lost_in_space", 5))
    ]
    answers = {"resets(": [], "voice_call_unanswered_total{": samples} | _answers("one", WINDOW.end_ms, {})
    row = (await PrometheusLedger(FakeBackend(answers), SPEAKER).read(WINDOW)).amounts["acme"]
    unanswered = {field: value for field, value in row.items() if field.startswith("unanswered") and value}
    assert unanswered == {Field.UNANSWERED_CANCELED: 2, Field.UNANSWERED_BUSY: 3}


async def test_a_backend_that_knows_nothing_of_the_service_says_so() -> None:
    """Without one sample there is nothing to compare: that is a state, not a list of differences."""
    with pytest.raises(BackendError) as refused:
        await PrometheusLedger(FakeBackend(), SPEAKER).read(WINDOW)
    assert refused.value.state is State.NO_SAMPLES


async def test_processes_that_share_an_id_are_refused() -> None:
    """A counter that went back under one id cannot be added up, and the id is named."""
    answers = _answers("shared", WINDOW.end_ms, {}) | {"resets(": [Sample({"instance": "shared"}, 2)]}
    with pytest.raises(BackendError, match="shared") as refused:
        await PrometheusLedger(FakeBackend(answers), SPEAKER).read(WINDOW)
    assert refused.value.state is State.REFUSED
    assert "resets(" in set_back(WINDOW, SPEAKER)


async def test_what_the_sdk_merged_counts_under_other() -> None:
    """A series without a tenant is that of all tenants past a limit."""
    answers = _answers("one", WINDOW.end_ms, {}) | {"voice_call_received_total{": [Sample({}, 4)]}
    exported = await PrometheusLedger(FakeBackend({"resets(": []} | answers), SPEAKER).read(WINDOW)
    assert exported.amounts["_other"][Field.RECEIVED] == 4
