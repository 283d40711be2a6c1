"""The caller's side of a conversation: speech, keys and silence, as the carrier reports them."""

from service.simulator import wire
from service.simulator.agent import Agent
from service.simulator.gateway_events import GatewayEvents
from service.simulator.script import CallerPressesKey, CallerSpeaks, CallerStaysSilent
from service.simulator.stage import Stage

AUDIO_TOKENS_A_SECOND = 10
"""What a second of speech costs when it is transcribed."""


class Caller:
    """The person on the line."""

    def __init__(self, stage: Stage, gateway: GatewayEvents, agent: Agent) -> None:
        self._stage, self._gateway, self._agent = stage, gateway, agent
        self._last_item: str | None = None

    async def speak(self, step: CallerSpeaks) -> None:
        """Say something, over the agent's voice if it is still audible."""
        item_id = self._stage.new_id("item")
        await self._stage.send(wire.speech_started(item_id, self._stage.now_ms()))
        await self._agent.cut_off()
        await self._stage.pause(step.seconds)
        self._stage.record.count("turns")
        self._agent.asked()
        await self._stage.send(wire.speech_stopped(item_id, self._stage.now_ms()))
        await self._commit(item_id)
        if self._gateway.transcribes:
            await self._transcribe(item_id, step)

    async def press_key(self, step: CallerPressesKey) -> None:
        """Press a key."""
        self._stage.record.count("keys_pressed")
        await self._stage.send_as_is(wire.dtmf(step.digit, self._stage.unix()))

    async def stay_silent(self, step: CallerStaysSilent) -> None:
        """Say nothing until the carrier remarks on it."""
        started, item_id = self._stage.now_ms(), self._stage.new_id("item")
        await self._stage.pause(step.seconds)
        self._stage.record.count("silences")
        await self._stage.send(wire.silence(item_id, started, self._stage.now_ms()))
        await self._commit(item_id)

    async def _commit(self, item_id: str) -> None:
        previous, self._last_item = self._last_item, item_id
        item = wire.caller_item(item_id)
        await self._stage.send(wire.committed(item_id, previous))
        await self._stage.send(wire.item_added(item, previous))
        await self._stage.send(wire.item_done(item, previous))

    async def _transcribe(self, item_id: str, step: CallerSpeaks) -> None:
        heard, written = round(step.seconds * AUDIO_TOKENS_A_SECOND), len(step.transcript.split())
        self._stage.record.count("tokens_transcription", heard + written)
        await self._stage.send(wire.transcription(item_id, step.transcript, heard, written))
