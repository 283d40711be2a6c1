"""The carrier's notes on one call; every note is counted in the ground truth at once."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from service.gateway.carriers.carrier import REJECTION_REASON
from service.simulator.faults import NO_FAULTS, CallFaults
from service.simulator.ground_truth import CallReport, GroundTruth, ProtocolBreach
from service.simulator.script import CallScript, RunsIntoLimit, ScriptedUsage


class End(StrEnum):
    """The way a call came to its end."""

    CALLER_HUNG_UP = "caller_hung_up"
    AGENT_HUNG_UP = "agent_hung_up"
    REFERRED = "referred"
    EXPIRED = "expired"
    """The session reached its longest duration."""
    CLOSED = "closed"
    """The carrier closed the sideband, in good order or with an error code."""
    LEFT = "left"
    """The gateway closed the sideband; without a hang-up the caller is still on the line."""
    STOPPED = "stopped"
    """The simulator was stopped while the call ran: to the gateway, a caller's hang-up."""
    REJECTED = "rejected"
    ABANDONED = "abandoned"
    """Accepted, and the sideband never opened."""
    UNANSWERED = "unanswered"
    """Neither accepted nor rejected while the caller waited."""
    UNDELIVERED = "undelivered"
    """No webhook delivery was answered 2xx."""
    GONE = "gone"
    """The caller had left before the webhook was sent."""
    CANCELED = "canceled"
    """The caller gave up while the gateway decided."""


_COUNTED_ENDS = {
    End.ABANDONED: "abandoned",
    End.UNANSWERED: "unanswered",
    End.UNDELIVERED: "undelivered",
    End.GONE: "unanswered",
    End.CANCELED: "unanswered",
    End.LEFT: "left_open",
}
_REASONS = {
    End.CALLER_HUNG_UP: "hangup",
    End.STOPPED: "hangup",
    End.AGENT_HUNG_UP: "completed",
    End.REFERRED: "referred",
    End.EXPIRED: "error",
    End.CLOSED: "completed",
    End.LEFT: "shutdown",
}


@dataclass(frozen=True, slots=True)
class PlacedCall:
    """A call as it is placed, before anything happens to it."""

    call_id: str
    tenant_id: str
    number: str
    """The number the caller dialled."""
    script: CallScript
    faults: CallFaults = NO_FAULTS


class CallNotes:
    """The notes on one call."""

    def __init__(
        self, dialled: PlacedCall, *, ground_truth: GroundTruth, now: Callable[[], float], fallback: str | None
    ) -> None:
        self.dialled = dialled
        self.accepted = self.started = self.referred = self.failed = False
        self.end = End.UNANSWERED
        self.deliveries: list[int] = []
        """The status of each webhook delivery; 0 where no answer came."""
        self._ground_truth, self._now, self._fallback = ground_truth, now, fallback
        self._fell_back = self._canceled = False
        self._counts: dict[str, float] = {}
        self._rejection_status: int | None = None
        self._rang_at = now()
        self._first_audio: float | None = None
        self._turns: list[float] = []
        self._seconds = 0.0
        self._handshake_at: float | None = None
        self._first_message_at: float | None = None
        self._cut_at: float | None = None

    def count(self, field: str, amount: float = 1) -> None:
        """Count something that happened so many times."""
        self._counts[field] = self._counts.get(field, 0) + amount
        self._ground_truth.add(self.dialled.tenant_id, field, amount)

    def spent(self, usage: ScriptedUsage) -> None:
        """Count the tokens of a response."""
        for kind, tokens in usage.by_kind().items():
            self.count(f"tokens_{kind}", tokens)

    def violated(self, what: str) -> None:
        """Note a breach of the protocol by the gateway."""
        self._counts["violations"] = self._counts.get("violations", 0) + 1
        self._ground_truth.violated(self.dialled.tenant_id, ProtocolBreach(self.dialled.call_id, what))

    def heard(self, since_speech: float | None) -> None:
        """Note that the caller hears the agent, ``since_speech`` seconds after having spoken."""
        if self._first_audio is None:
            self._first_audio = self._now() - self._rang_at
        if since_speech is not None:
            self._turns.append(since_speech)

    def accept_requested(self, instructions: str | None) -> None:
        """Note that an accept was asked for; its instructions show if the gateway fell back to its general ones."""
        if self._fallback is not None and instructions == self._fallback and not self._fell_back:
            self._fell_back = True
            self.count("fallback_instructions_used")

    def rejected(self, status: int) -> None:
        """Note that a reject was asked for; the first one's status tells the gateway's reason."""
        if self._rejection_status is None and not self.accepted:
            self._rejection_status = status
            self.count(f"rejected_calls_{REJECTION_REASON.get(status, 'other')}")

    def cancel_known(self) -> None:
        """Note that the gateway learns that the caller is gone: its accept found nobody."""
        if not (self.accepted or self._canceled or self.end is End.REJECTED):
            self._canceled = True
            self.count("unanswered_calls_canceled")

    def accept_known(self) -> None:
        """Note that the gateway knows that its accept succeeded."""
        if not self.accepted:
            self.accepted = True
            self.count("accepted_calls")
            self._ground_truth.began(self.dialled.tenant_id, self.dialled.call_id)

    def refer_known(self) -> None:
        """Note that the gateway knows that its refer was taken; it is a transfer unless nothing comes of it."""
        if not self.referred and not self.dialled.faults.refer_ignored:
            self.referred = True
            self.count("referred_calls")

    def answers_handshake(self) -> None:
        """Note that a handshake is about to be answered."""
        if self._handshake_at is None:
            self._handshake_at = self._now()

    def heard_from_gateway(self) -> None:
        """Note that a message of the gateway has arrived."""
        if self._first_message_at is None:
            self._first_message_at = self._now()

    def cuts(self) -> None:
        """Note that an open sideband is about to be closed or broken."""
        self._cut_at = self._now()

    def ends(self) -> None:
        """Note that nobody is on the line any more, which the gateway is about to learn."""
        self._ground_truth.over(self.dialled.call_id)

    def opened(self) -> None:
        """Note that the sideband is open."""
        self.started = True
        self._ground_truth.started(self.dialled.tenant_id, self.dialled.call_id)

    def closed(self, *, failed: bool) -> None:
        """Note that the sideband is closed; ``failed`` when an error of the carrier's own closed it."""
        self.failed = failed
        self._seconds = self._ground_truth.ended(self.dialled.tenant_id, self.dialled.call_id)
        if failed:
            self.count("failed_calls")

    def finished(self, end: End) -> None:
        """Note that the call is over. An accept the gateway never learned of leaves nothing it could abandon."""
        self.ends()
        self.end = end
        field = _COUNTED_ENDS.get(end)
        if field is not None and (end is not End.ABANDONED or self.accepted):
            self.count(field)
        if self.started:
            self.count(f"ended_calls_{self._reason()}")

    def _reason(self) -> str:
        """Return the reason for which a gateway sees the started call end."""
        if self.failed:
            return "error"
        ending = self.dialled.script.ending
        limit = ending.limit if isinstance(ending, RunsIntoLimit) and self.end is End.AGENT_HUNG_UP else None
        return limit or _REASONS[self.end]

    def hung_up_after_leaving(self) -> None:
        """Note that the gateway closed the sideband first and asked for the hang-up then."""
        self.end = End.AGENT_HUNG_UP
        self.count("left_open", -1)

    def report(self) -> CallReport:
        """Return the notes so far."""
        return CallReport(
            call_id=self.dialled.call_id,
            tenant_id=self.dialled.tenant_id,
            number=self.dialled.number,
            script=self.dialled.script.kind,
            end=self.end.value,
            accepted=self.accepted,
            started=self.started,
            referred=self.referred,
            failed=self.failed,
            rejection_status=self._rejection_status,
            seconds=self._seconds,
            handshake_at=self._handshake_at,
            first_message_at=self._first_message_at,
            cut_at=self._cut_at,
            first_audio_seconds=self._first_audio,
            turn_seconds=tuple(self._turns),
            deliveries=tuple(self.deliveries),
            counts=dict(self._counts),
        )
