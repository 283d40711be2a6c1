"""A call that runs, as a backend sees it: announced by a log line, told span by span, each once."""

import asyncio
from collections import Counter
from pathlib import Path
from random import Random

from service.simulator.call import dial
from service.simulator.script import AgentGreets, AgentSpeaks, CallerHangsUp, CallerSpeaks, CallScript, Pause
from tests.peers.gateway import eventually, gateway
from tests.peers.peers import Peers
from tests.peers.received import LogRecord, Received

TALK = (AgentGreets(AgentSpeaks("Hello")), CallerSpeaks("Hi"), AgentSpeaks("Yes?"), CallerSpeaks("And?"))
ON_AND_ON = CallScript("running", (*TALK, AgentSpeaks("So."), Pause(100_000.0)), CallerHangsUp())


async def test_a_running_call_is_seen_and_no_span_is_sent_twice(peers: Peers, tmp_path: Path) -> None:
    """A backend has `call.started` with its trace, then each span as it ends; the root comes last."""
    collector = peers.collector("base", "local")
    received = collector.received
    async with gateway(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_http}) as line:
        number = next(iter(line.carrier.numbers))
        call = dial(number, ON_AND_ON, rng=Random())  # noqa: S311 -- an id nobody else has
        placed = asyncio.create_task(line.carrier.place_call(call))

        async def under_way() -> bool:
            names = {span.name for span in await asyncio.to_thread(received.spans)}
            return {"accept", "turn"} <= names

        await eventually(under_way, "the first turn to arrive")
        started: LogRecord = await eventually(lambda: asyncio.to_thread(_started, received), "`call.started`")
        assert started.attributes["voice.call.id"] == call.call_id
        seen = await line.get(f"/api/v1/calls/{call.call_id}")
        assert (seen["state"], seen["trace"]["trace_id"]) == ("started", started.trace_id)
        (root,) = seen["trace"]["spans"]
        assert (root["name"], root["open"]) == ("call", True)
        assert {span.name for span in received.spans() if span.trace_id == started.trace_id}.isdisjoint(
            {"call", "session"}
        )
        line.carrier.hang_up_all()
        await placed
        await line.quiet()

        async def over() -> bool:
            return bool(await asyncio.to_thread(received.spans, "call"))

        await eventually(over, "the root")
    sent = Counter(span.span_id for span in received.spans())
    assert [span_id for span_id, times in sent.items() if times > 1] == []
    trace = [span for span in received.spans() if span.trace_id == started.trace_id]
    assert {span.parent_id for span in trace} - {span.span_id for span in trace} == {""}


def _started(received: Received) -> LogRecord | None:
    return next((record for record in received.logs() if record.event == "call.started"), None)
