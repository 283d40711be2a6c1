"""A carrier as light as can be, so that what it costs hardly falls on the gateway it is measured with.

It answers call control at once, opens a sideband for every call, and has calls talk: the real events of a turn, each a
frame of its own at its own moment, written as bytes made beforehand. Where a gateway exports to it over OTLP it takes
everything. It checks nothing; :mod:`service.simulator` is the carrier that does.
"""

import asyncio
import base64
import hashlib
import heapq
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Final, cast

from service.simulator import wire
from service.simulator.script import USAGE

TURN_SECONDS: Final = 6.0
EVENTS_A_TURN: Final = 26
_TICK_SECONDS: Final = 0.001
_DELTAS: Final = 8
_TEXT: Final = "You are booked for Thursday at ten in the morning."
_RESPONSE: Final = "resp_0000000000000000"
_CALLER_ITEM: Final = "item_caller"
_AGENT_ITEM: Final = "item_agent"
_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# RFC 6455, section 4.2.2.

Turn = Sequence[tuple[float, bytes]]
"""The frames of a turn, each with its moment in seconds; the response's id is to be filled in."""


def turn() -> Turn:
    """Return the 26 events of a turn of six seconds: two of the caller's speaking, four of the answer's."""
    agent, caller = wire.agent_item(_AGENT_ITEM, "completed", _TEXT), wire.caller_item(_CALLER_ITEM)
    done = wire.response(_RESPONSE, "completed", usage=wire.usage(USAGE), output=[agent])
    words = [_TEXT[start : start + 7] for start in range(0, len(_TEXT), 7)][:_DELTAS]
    timed = [
        (0.00, wire.speech_started(_CALLER_ITEM, 1000)),
        (2.00, wire.speech_stopped(_CALLER_ITEM, 3000)),
        (2.01, wire.committed(_CALLER_ITEM, None)),
        (2.02, wire.item_added(caller, None)),
        (2.03, wire.item_done(caller, None)),
        (2.05, wire.response_created(_RESPONSE)),
        (2.40, wire.output_item("added", _RESPONSE, wire.agent_item(_AGENT_ITEM, "in_progress"))),
        (2.41, wire.item_added(wire.agent_item(_AGENT_ITEM, "in_progress"), _CALLER_ITEM)),
        (2.42, wire.content("content_part.added", _RESPONSE, _AGENT_ITEM, part={"type": "audio", "transcript": ""})),
        (2.45, wire.playback("started", _RESPONSE)),
        *(
            (2.5 + 0.15 * number, wire.content("output_audio_transcript.delta", _RESPONSE, _AGENT_ITEM, delta=word))
            for number, word in enumerate(words)
        ),
        (3.80, wire.content("output_audio.done", _RESPONSE, _AGENT_ITEM)),
        (3.81, wire.content("output_audio_transcript.done", _RESPONSE, _AGENT_ITEM, transcript=_TEXT)),
        (3.82, wire.content("content_part.done", _RESPONSE, _AGENT_ITEM, part={"type": "audio", "transcript": _TEXT})),
        (3.83, wire.item_done(agent, _CALLER_ITEM)),
        (3.84, wire.output_item("done", _RESPONSE, agent)),
        (3.86, wire.response_done(done)),
        (3.87, wire.rate_limits(49_000)),
        (5.50, wire.playback("stopped", _RESPONSE)),
    ]
    made = [(at, _frame({"event_id": f"event_{number:016d}", **event})) for number, (at, event) in enumerate(timed)]
    assert len(made) == EVENTS_A_TURN, len(made)
    return made


def _frame(event: wire.Event) -> bytes:
    """Return an unmasked text frame (RFC 6455, section 5.2)."""
    payload = json.dumps(event).encode()
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    return b"\x81\x7e" + size.to_bytes(2, "big") + payload


class Carrier:
    """The calls that a gateway may accept and follow."""

    def __init__(self) -> None:
        self.sidebands: dict[str, Connection] = {}
        """The open sidebands by call."""
        self.accepted = 0
        """Calls accepted so far."""
        self.events = 0
        """Events sent so far."""
        self._responses = count()
        self._opened = asyncio.Event()

    async def attached(self, calls: int) -> None:
        """Wait until the gateway follows so many calls."""
        while len(self.sidebands) < calls:
            self._opened.clear()
            async with asyncio.timeout(120):
                await self._opened.wait()

    async def talk(self, seconds: float, *, turn_seconds: float = TURN_SECONDS) -> None:
        """Have every call talk for so long, each from a moment of its own within its first turn.

        Args:
            seconds: how long they talk.
            turn_seconds: what a turn takes; less than it naturally does makes more events of fewer calls.
        """
        script = [(at * turn_seconds / TURN_SECONDS, frame) for at, frame in turn()]
        lines, began = list(self.sidebands.values()), time.perf_counter()
        step = turn_seconds / max(1, len(lines))
        due = [(began + number * step, number, 0, b"") for number in range(len(lines))]
        heapq.heapify(due)
        while (now := time.perf_counter()) < began + seconds:
            while due and due[0][0] <= now:
                moment, number, index, response = due[0]
                if index == 0:
                    response = b"resp_%016d" % next(self._responses)
                at, frame = script[index]
                lines[number].send(frame.replace(_RESPONSE.encode(), response))
                self.events += 1
                following = (index + 1) % len(script)
                wait = (script[following][0] if following else turn_seconds) - at
                heapq.heapreplace(due, (moment + wait, number, following, response))
            await asyncio.sleep(_TICK_SECONDS)

    def opened(self, call_id: str, line: "Connection") -> None:
        """Note that the gateway follows a call."""
        self.sidebands[call_id] = line
        self._opened.set()

    def closed(self, call_id: str) -> None:
        """Note that the gateway left a call's sideband."""
        self.sidebands.pop(call_id, None)

    def hang_up(self) -> None:
        """End every call in good order."""
        for line in list(self.sidebands.values()):
            line.leave()


class Connection(asyncio.Protocol):
    """One connection of the gateway: requests, or the sideband of one call."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._received = b""
        self._call_id: str | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's signature
        """Forget the call."""
        if self._call_id is not None:
            self._carrier.closed(self._call_id)

    def send(self, frame: bytes) -> None:
        """Send a frame, unless the gateway has left."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def leave(self) -> None:
        """Close the sideband with code 1000."""
        self.send(b"\x88\x02\x03\xe8")

    def data_received(self, data: bytes) -> None:
        """Answer requests; of what comes on a sideband, pings and the gateway's leaving."""
        self._received += data
        if self._call_id is None:
            for response in self._requests():
                self.send(response)
        if self._call_id is not None:
            self._frames()

    def _requests(self) -> Iterator[bytes]:
        while self._call_id is None and b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
            length = int(fields.get(b"content-length", b"0"))
            if len(rest) < length:
                return
            self._received = rest[length:]
            path = lines[0].split(b" ")[1]
            if b"sec-websocket-key" in fields:
                self._call_id = path.rpartition(b"call_id=")[2].partition(b"&")[0].decode()
                key = base64.b64encode(hashlib.sha1(fields[b"sec-websocket-key"] + _MAGIC).digest())  # noqa: S324 -- RFC 6455
                yield b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + (
                    b"Sec-WebSocket-Accept: " + key + b"\r\n\r\n"
                )
                self._carrier.opened(self._call_id, self)
            elif path.endswith(b"/accept"):
                self._carrier.accepted += 1
                yield _OK
            else:
                yield _OK if b"/realtime/" in path else _TAKEN

    def _frames(self) -> None:
        """Read the gateway's frames; all of them are masked and short."""
        while len(self._received) >= 6:
            opcode, size, start = self._received[0] & 0x0F, self._received[1] & 0x7F, 2
            if size == 126:
                size, start = int.from_bytes(self._received[2:4], "big"), 4
            end = start + 4 + size
            if len(self._received) < end:
                return
            mask, payload = self._received[start : start + 4], self._received[start + 4 : end]
            self._received = self._received[end:]
            if opcode == 9:
                self.send(bytes((0x8A, size)) + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)))
            elif opcode == 8 and self._transport is not None:
                self._transport.close()


_OK: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
_TAKEN: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"


@asynccontextmanager
async def light_carrier() -> AsyncIterator[tuple[Carrier, str]]:
    """A carrier on a free port, with its address."""
    carrier = Carrier()
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(carrier), sock=listening)
    try:
        yield carrier, f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.close()
        for line in list(carrier.sidebands.values()):
            line.leave()
