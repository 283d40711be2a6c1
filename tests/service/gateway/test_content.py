"""What a caller says is asked of the carrier, and kept, only for tenants that switched it on."""

from pathlib import Path

import pytest

from service.simulator.script import (
    AgentSpeaks,
    AgentUsesTool,
    CallerHangsUp,
    CallerPressesKey,
    CallerSpeaks,
    CallScript,
)
from service.tenants.spec import TenantSpec
from telemetry.calls.events import Content
from tests.service.gateway.harness import GatewayHarness, fresh_id, running_harness

SAID_TO_ITS_END = 40.0
"""Natural seconds of playback: however busy the machine, the words are written down before anybody cuts in."""

TALK = CallScript(
    "talk",
    (
        CallerSpeaks("What time is it?"),
        CallerPressesKey("#"),
        AgentUsesTool("current_time", '{"zone": "UTC"}'),
        AgentSpeaks("Noon.", speak_seconds=SAID_TO_ITS_END),
    ),
    CallerHangsUp(),
)


def heard(harness: GatewayHarness, call_id: str) -> list[tuple[str, str]]:
    """The content on the call's spans, and the kind of span it is on."""
    trace = harness.record(call_id).trace
    assert trace is not None
    kinds = {kind.value for kind in Content}
    return [(span.name, event.name) for span in trace.spans for event in span.events if event.name in kinds]


@pytest.mark.parametrize("feature", [True, False], ids=repr)
async def test_content_is_kept_only_where_it_is_switched_on(tmp_path: Path, feature: bool) -> None:
    """Switched on, everything is on the span it belongs to; else nothing is kept, or even asked for."""
    async with running_harness(tmp_path) as harness:
        switched = TenantSpec.model_validate({"tenant_id": "tenant-001", "features": {"capture_content": feature}})
        await harness.container.tenants.import_all([switched], actor="tests")
        call_id = fresh_id()
        await harness.call(TALK, call_id=call_id)
        transcribed = harness.carrier.ground_truth()["global"]["tokens_transcription"]
        if not feature:
            assert (heard(harness, call_id), transcribed) == ([], 0)
            return
        assert transcribed > 0
        ground_truth, tokens = harness.carrier.ground_truth()["global"], harness.record(call_id).tokens
        assert tokens.usage.input is not None
        assert tokens.usage.output is not None
        spent = tokens.usage.input + tokens.usage.output
        assert spent == ground_truth["tokens_input"] + ground_truth["tokens_output"] + transcribed
        assert set(tokens.models) == {"gpt-realtime-2.1", "gpt-transcribe"}
        assert sorted(heard(harness, call_id)) == [
            ("execute_tool current_time", "tool.arguments"),
            ("execute_tool current_time", "tool.result"),
            ("turn", "agent.said"),
            ("turn", "caller.said"),
            ("turn", "key.pressed"),
        ]
