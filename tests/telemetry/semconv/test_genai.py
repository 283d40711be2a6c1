"""The choice between the sets of GenAI names, and tokens by modality."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.metrics.sink import MetricsSink
from telemetry.semconv.genai import AUDIO, TEXT, GenAiSets, by_modality, chosen_sets
from telemetry.setup import start_telemetry


@pytest.mark.parametrize(
    ("opt_in", "chosen"),
    [
        (None, GenAiSets.V1_41),
        ("", GenAiSets.V1_41),
        ("http", GenAiSets.V1_41),
        ("gen_ai_latest_experimental", GenAiSets.V0_1),
        ("http, gen_ai_latest_experimental ", GenAiSets.V0_1),
        ("gen_ai_latest_experimental/dup", GenAiSets.V1_41 | GenAiSets.V0_1),
        ("gen_ai_latest_experimental,gen_ai_latest_experimental/dup", GenAiSets.V1_41 | GenAiSets.V0_1),
    ],
)
def test_the_standard_variable_chooses(opt_in: str | None, chosen: GenAiSets) -> None:
    """The older names unless the newer are asked for; with ``/dup`` both."""
    assert chosen_sets(opt_in) is chosen


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_modalities_add_up_to_the_total(text: int, audio: int, rest: int) -> None:
    """Whatever is known of the parts, the counts of the modalities sum to what was billed, none of them zero."""
    parts = by_modality(text + audio + rest, text, audio)
    assert sum(count for _, count in parts) == text + audio + rest
    assert all(count > 0 for _, count in parts)
    assert dict(parts).get(TEXT, 0) == text
    assert dict(parts).get(AUDIO, 0) == audio


def test_what_is_unknown_has_no_modality() -> None:
    """A total without parts counts under no modality at all."""
    assert by_modality(7, None, None) == ((None, 7),)


def test_the_library_reads_the_variable_at_its_start() -> None:
    """What the environment chooses is what the sink of metrics records."""
    with start_telemetry({"OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental/dup"}) as telemetry:
        (chosen,) = [sink._genai for sink in telemetry.sinks._sinks if isinstance(sink, MetricsSink)]
    assert chosen == GenAiSets.V1_41 | GenAiSets.V0_1
