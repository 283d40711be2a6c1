"""Every kind of script, followed by the official SDK's client."""

from tests.simulator.stand import Stand

from service.simulator.script import AgentGreets, AgentSpeaks, CallerSpeaks, CallScript

GREETING = AgentGreets(AgentSpeaks("Hello, how can I help?"))


async def test_a_conversation_is_counted_alike_at_both_ends(stand: Stand) -> None:
    """A greeting and one turn give both ends the same calls, turns and tokens."""
    script = CallScript("plain", (GREETING, CallerSpeaks("Hi"), AgentSpeaks("Hello")))
    report = await stand.call(script)
    await stand.gateway.settled()
    assert report.end == "caller_hung_up"
    seen = stand.gateway.seen
    assert (seen["accepted"], seen["started"], seen["ended"]) == (1, 1, 1)
    assert seen["tokens_input"] == stand.totals["tokens_input"] == 320
    assert stand.gateway.closes[0].rcvd is None
