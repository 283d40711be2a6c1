"""The catalogue is what users were promised: the names, kinds, units and attributes, written out here once more."""

import re
from itertools import chain

import pytest

from telemetry.semconv import attributes as attr
from telemetry.semconv import catalogue, genai
from telemetry.semconv.attributes import ATTRIBUTES, CONVENTION_ATTRIBUTES, Attribute, Exposure
from telemetry.semconv.catalogue import INSTRUMENTS
from telemetry.semconv.genai import GENAI_ATTRIBUTES
from telemetry.semconv.instrument import Instrument, Kind

TENANT = "tenant.id"
INFERENCE = (TENANT, "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")
ORIGIN = ("voice.call.direction", "voice.call.source")

PROMISED = {
    "voice.call.received": ("Counter", "{call}", {TENANT, *ORIGIN}),
    "voice.call.unanswered": ("Counter", "{call}", {TENANT, "voice.call.unanswered.reason", *ORIGIN}),
    "voice.call.taken_over": ("Counter", "{call}", {TENANT, "voice.call.state"}),
    "voice.call.handed_over": ("Counter", "{call}", {TENANT, "voice.call.state"}),
    "voice.call.pending": ("UpDownCounter", "{call}", {TENANT}),
    "voice.call.active": ("UpDownCounter", "{call}", {TENANT}),
    "voice.call.accepted": ("Counter", "{call}", {TENANT}),
    "voice.call.rejected": ("Counter", "{call}", {TENANT, "voice.call.rejection.reason", *ORIGIN}),
    "voice.instructions.errors": ("Counter", "{error}", {TENANT}),
    "voice.instructions.fallbacks": ("Counter", "{fallback}", {TENANT}),
    "voice.call.started": ("Counter", "{call}", {TENANT}),
    "voice.call.ended": (
        "Counter",
        "{call}",
        {TENANT, "voice.call.end.reason", "error.type", "voice.call.fault", "gen_ai.request.model", *ORIGIN},
    ),
    "voice.call.referred": ("Counter", "{call}", {TENANT}),
    "voice.call.abandoned": ("Counter", "{call}", {TENANT, "voice.call.end.reason"}),
    "voice.call.time": ("Counter", "s", {TENANT}),
    "voice.call.duration": ("Histogram", "s", {TENANT, "voice.call.end.reason", *ORIGIN}),
    "voice.call.setup.duration": ("Histogram", "s", {TENANT, "voice.call.outcome"}),
    "voice.call.time_to_first_audio": ("Histogram", "s", {TENANT}),
    "voice.turn.time_to_first_audio": ("Histogram", "s", {TENANT}),
    "voice.turn.interruptions": ("Counter", "{interruption}", {TENANT, "voice.speaker"}),
    "voice.conversation.dead_air": ("Histogram", "s", {TENANT}),
    "voice.conversation.talk_over": ("Histogram", "s", {TENANT}),
    "voice.call.talk.share": ("Histogram", "1", {TENANT, "voice.speaker"}),
    "voice.turn.stage.duration": ("Histogram", "s", {TENANT, "voice.turn.stage"}),
    "voice.capacity.limit": ("ObservableGauge", "{call}", {TENANT, "voice.capacity.scope"}),
    "voice.capacity.utilization": ("ObservableGauge", "1", {TENANT, "voice.capacity.scope"}),
    "voice.webhook.received": ("Counter", "{event}", {"voice.webhook.outcome"}),
    "voice.lifecycle.inferred": ("Counter", "{transition}", {TENANT, "voice.lifecycle.transition"}),
    "voice.lifecycle.violations": ("Counter", "{violation}", {TENANT, "voice.lifecycle.violation"}),
    "gen_ai.client.token.usage": (
        "Histogram",
        "{token}",
        {TENANT, "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.token.type"},
    ),
    "gen_ai.client.inference.usage.input_tokens": ("Counter", "{token}", {*INFERENCE, "gen_ai.token.modality"}),
    "gen_ai.client.inference.usage.output_tokens": ("Counter", "{token}", {*INFERENCE, "gen_ai.token.modality"}),
    "gen_ai.client.inference.usage.cache_read.input_tokens": ("Counter", "{token}", {*INFERENCE}),
    "gen_ai.client.inference.operation.input_tokens": ("Histogram", "{token}", {*INFERENCE}),
    "gen_ai.client.inference.operation.output_tokens": ("Histogram", "{token}", {*INFERENCE}),
    "gen_ai.execute_tool.duration": ("Histogram", "s", {TENANT, "gen_ai.tool.name", "gen_ai.tool.type", "error.type"}),
}

LIVE = {
    "active_calls": ("voice.call.active", None, None),
    "accepted_calls": ("voice.call.accepted", None, None),
    "rejected_calls_capacity": ("voice.call.rejected", "voice.call.rejection.reason", "capacity"),
    "rejected_calls_tenant_not_configured": (
        "voice.call.rejected",
        "voice.call.rejection.reason",
        "tenant_not_configured",
    ),
    "rejected_calls_instructions_missing": (
        "voice.call.rejected",
        "voice.call.rejection.reason",
        "instructions_missing",
    ),
    "instructions_db_errors": ("voice.instructions.errors", None, None),
    "fallback_instructions_used": ("voice.instructions.fallbacks", None, None),
    "started_calls": ("voice.call.started", None, None),
    "ended_calls": ("voice.call.ended", None, None),
    "failed_calls": ("voice.call.ended", "error.type", None),
    "referred_calls": ("voice.call.referred", None, None),
    "minutes_processed": ("voice.call.time", None, None),
}

VOCABULARIES = {
    "voice.call.rejection.reason": {
        "capacity",
        "tenant_not_configured",
        "tenant_lookup_failed",
        "instructions_missing",
        "carrier_error",
    },
    "voice.call.end.reason": {
        "completed",
        "hangup",
        "referred",
        "error",
        "stale",
        "shutdown",
        "operator",
        "max_duration",
        "silence",
        "voicemail",
    },
    "voice.call.unanswered.reason": {"canceled", "busy", "no_answer", "declined", "unreachable"},
    "voice.call.state": {"pending", "accepted", "started"},
    "voice.call.direction": {"inbound", "outbound"},
    "voice.call.fault": {"caller", "agent", "model", "carrier", "service"},
    "voice.call.outcome": {"accepted", "rejected"},
    "voice.capacity.scope": {"tenant", "global"},
}

IDS_AND_FREE_TEXT = ("voice.call.id", "voice.caller.number", "voice.dialled.number", "gen_ai.tool.call.id")

EVERY_ATTRIBUTE: tuple[Attribute, ...] = (*ATTRIBUTES, *GENAI_ATTRIBUTES, *CONVENTION_ATTRIBUTES)
CLASSIFIED = {attribute.key: attribute for attribute in EVERY_ATTRIBUTE}


def by_name(name: str) -> Instrument:
    (found,) = [instrument for instrument in INSTRUMENTS if instrument.name == name]
    return found


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_each_promised_instrument_is_there_as_promised(name: str) -> None:
    """Kind, unit and attributes of a promised instrument are a contract with dashboards: change them there too."""
    instrument = by_name(name)
    assert (instrument.kind.value, instrument.unit, set(instrument.attributes)) == PROMISED[name]


def test_what_is_not_promised_is_of_the_library_itself() -> None:
    """Any further instrument tells of the library or watches for leaks; a new promise is written down here first."""
    further = {instrument.name for instrument in INSTRUMENTS} - set(PROMISED)
    assert further == {
        "voice.call.oldest_silence",
        "voice.capacity.store.available",
        "voice.capacity.in_doubt",
        "callscope.export.consecutive_failures",
        "callscope.export.age",
        "callscope.export.dropped",
        "callscope.export.rejected",
        "callscope.sink.failures",
        "callscope.session.unusable_messages",
        "callscope.records.database_away",
        "callscope.process.stopping",
        "callscope.records.refused",
        "callscope.records.spill.room",
        "callscope.records.spill.size",
        "callscope.records.state",
        "callscope.records.unkept",
        "callscope.records.waiting",
    }


def test_the_twelve_live_fields_count_what_was_promised() -> None:
    """Each field of the live endpoints comes from the instrument, and of it the part, that the design names."""
    found = {
        live.field: (instrument.name, live.key, live.value)
        for instrument in INSTRUMENTS
        for live in instrument.live
        if live.public
    }
    assert found == LIVE
    assert tuple(LIVE) == catalogue.LIVE_FIELDS
    assert {live.scale for live in by_name("voice.call.time").live} == {60}


def test_instruments_are_declared_once_and_named_well() -> None:
    """Names are unique, lower-case and dotted, and have no unit in them; each says what it counts."""
    names = [instrument.name for instrument in INSTRUMENTS]
    assert len(set(names)) == len(names)
    for instrument in INSTRUMENTS:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*(\.[a-z]+(_[a-z]+)*)+", instrument.name), instrument.name
        assert not re.search(r"seconds|minutes|_s$|_ratio|_total|count", instrument.name), f"unit in {instrument.name}"
        assert instrument.description.endswith("."), instrument.name


def test_histograms_suit_what_they_measure() -> None:
    """Every histogram has boundaries of its own, rising, for waits from 50 ms to 30 s and for calls from 1 s to 4 h."""
    for instrument in INSTRUMENTS:
        assert bool(instrument.boundaries) == (instrument.kind is Kind.HISTOGRAM), instrument.name
        assert list(instrument.boundaries) == sorted(set(instrument.boundaries)), instrument.name
    assert (catalogue.WAIT_BOUNDARIES[0], catalogue.WAIT_BOUNDARIES[-1]) == (0.05, 30)
    assert (catalogue.CALL_BOUNDARIES[0], catalogue.CALL_BOUNDARIES[-1]) == (1, 4 * 3600)


def test_every_attribute_is_classified_once() -> None:
    """Whoever adds a key to a vocabulary says there what it means and where it may go."""
    keys = [attribute.key for attribute in EVERY_ATTRIBUTE]
    assert len(set(keys)) == len(keys)
    constants = {
        value: name
        for module in (attr, genai)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str) and "." in value and value not in PROMISED
    }
    unclassified = {name for value, name in constants.items() if value not in CLASSIFIED}
    assert not unclassified, f"declare them in ATTRIBUTES: {unclassified}"
    assert all(attribute.meaning.endswith(".") for attribute in EVERY_ATTRIBUTE)


def test_only_attributes_for_metrics_stand_on_metrics() -> None:
    """No instrument declares an id, free text or personal data: its series would be without number."""
    used = set(chain.from_iterable(instrument.attributes for instrument in INSTRUMENTS))
    misplaced = {key for key in used if CLASSIFIED[key].exposure is not Exposure.METRIC}
    assert not misplaced, f"not fit for metrics: {misplaced}"
    assert all(CLASSIFIED[key].exposure is not Exposure.METRIC for key in IDS_AND_FREE_TEXT)


@pytest.mark.parametrize("key", sorted(VOCABULARIES))
def test_closed_vocabularies_are_as_promised(key: str) -> None:
    """The legal values of a closed vocabulary are a contract: rules and dashboards select by them."""
    assert set(CLASSIFIED[key].values) == VOCABULARIES[key]


def test_call_tenants_and_reasons_stay_below_the_readers_limits() -> None:
    """The live reader has room for every series its budgets allow, so that it never merges any."""
    tenants = 1_000
    assert all(
        (tenants + 2) * instrument.series_per_tenant <= catalogue.cardinality_limit(tenants)
        for instrument in INSTRUMENTS
    )
    closed = {key: len(CLASSIFIED[key].values) for key in CLASSIFIED if CLASSIFIED[key].values}
    for instrument in INSTRUMENTS:
        sizes = [closed.get(key, 1) for key in instrument.attributes if key in closed]
        combinations = 1
        for size in sizes:
            combinations *= size
        if instrument.live and instrument.series_per_tenant:
            assert instrument.series_per_tenant >= combinations, instrument.name
