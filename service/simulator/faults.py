"""The faults of a carrier, as data; a call is given one :class:`CallFaults`."""

from dataclasses import dataclass
from enum import StrEnum

ALWAYS = 1_000_000
"""More times than any call asks."""


class Operation(StrEnum):
    """A request of a gateway about a call."""

    ACCEPT = "accept"
    REJECT = "reject"
    REFER = "refer"
    HANGUP = "hangup"


@dataclass(frozen=True, slots=True)
class Refuse:
    """The request is answered with an error status."""

    status: int
    times: int = ALWAYS
    """So many requests fail; later ones are served."""
    processed: bool = False
    """The carrier did what was asked before it answered with the error."""

    @property
    def denies_the_call(self) -> bool:
        """True if every request is answered that there is no such call (RFC 9110 §15.5.5, §15.5.11)."""
        return self.status in (404, 410) and self.times == ALWAYS and not self.processed


@dataclass(frozen=True, slots=True)
class NeverAnswer:
    """The request is read and never answered; the client's own timeout has to end it."""

    times: int = ALWAYS
    processed: bool = False


@dataclass(frozen=True, slots=True)
class DropConnection:
    """The connection is reset instead of an answer."""

    times: int = ALWAYS
    processed: bool = True


ControlFault = Refuse | NeverAnswer | DropConnection
"""The fault of one control request."""


@dataclass(frozen=True, slots=True)
class SocketCut:
    """The sideband is cut after so many events, wherever the conversation is by then."""

    after_events: int
    code: int | None = None
    """The close code; ``None`` breaks the connection without a close frame, as a caller's hang-up does."""


@dataclass(frozen=True, slots=True)
class SidebandBreak:
    """The sideband breaks after so many events of the call while the call goes on; a gateway may attach again."""

    after_events: int
    code: int | None = None
    """The close code; ``None`` breaks the connection without a close frame."""
    refusals: tuple[int, ...] = ()
    """The statuses that the next handshakes are answered with before one is let in."""


@dataclass(frozen=True, slots=True)
class CallFaults:
    """Everything that goes wrong with one call."""

    accept: ControlFault | None = None
    reject: ControlFault | None = None
    refer: ControlFault | None = None
    hangup: ControlFault | None = None
    handshake_refusals: int = 0
    """So many sideband handshakes are answered 404 ``call_id_not_found`` before one succeeds."""
    cut: SocketCut | None = None
    breaks: tuple[SidebandBreak, ...] = ()
    output: DropConnection | None = None
    """The sideband breaks as the output of a tool arrives; nothing behind it on that sideband is read."""
    refer_ignored: bool = False
    """A refer is answered 200 and nothing comes of it, as with a trunk where REFER is not enabled."""
    canceled: bool = False
    """The caller gives up while the gateway decides: its accept finds nobody."""

    def of(self, operation: Operation) -> ControlFault | None:
        """Return the fault of one control request."""
        return {
            Operation.ACCEPT: self.accept,
            Operation.REJECT: self.reject,
            Operation.REFER: self.refer,
            Operation.HANGUP: self.hangup,
        }[operation]


NO_FAULTS = CallFaults()
"""A carrier that works."""
