"""Which response the caller is hearing, so that each is heard, ended and interrupted at most once."""

from telemetry.call import Call


class Playback:
    """Carriers report playback in pieces and sometimes twice; the call is told each fact once.

    Where the carrier does not report playback itself, the first audio of a response stands for its beginning, and the
    completion of the response for its end.
    """

    __slots__ = ("_call", "_exact", "_heard", "_playing")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._exact = False
        self._playing: str | None = None
        self._heard: str | None = None

    def started(self, response_id: str, *, exact: bool) -> None:
        """Audio of the response begins, or goes on."""
        self._exact = self._exact or exact
        if response_id == self._heard:
            return
        self._heard = self._playing = response_id
        self._call.agent_started_speaking()

    def stopped(self, response_id: str, *, interrupted: bool) -> None:
        """Audio of the response ended or was cut short."""
        if response_id == self._playing:
            self._playing = None
            self._call.agent_stopped_speaking(interrupted=interrupted)

    def response_done(self, response_id: str, *, interrupted: bool) -> None:
        """The response is complete; playback of it may go on where the carrier reports that."""
        if not self._exact:
            self.stopped(response_id, interrupted=interrupted)
