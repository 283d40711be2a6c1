"""OpenAI Realtime over SIP, through the official SDK."""

import asyncio
import hashlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import httpx2
import openai
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import RealtimeAudioConfigParam, RealtimeSessionCreateRequestParam
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from service.gateway.carriers.carrier import (
    CarrierError,
    CarrierSession,
    SessionClosedError,
    SessionFault,
    Signal,
    Tool,
    Tries,
    untimed,
)
from service.gateway.carriers.proxy import connected_through
from service.gateway.carriers.realtime_events import TRANSCRIPTION_MODEL, translate
from service.gateway.carriers.signatures import check_headers, no_match
from telemetry.semconv.attributes import CallId

CONTROL_RETRIES: Final = 2
"""Saying no or hanging up twice does no harm; accepting or referring twice might."""

ATTACH_DELAYS: Final = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Right after an accept the session may not be known yet (404); attaching is tried again this often."""

_MAX_FRAME_BYTES: Final = 8 * 2**20
# Audio deltas are large; without a bound one frame could take the process's memory.

_TRANSCRIBED: Final[RealtimeAudioConfigParam] = {"input": {"transcription": {"model": TRANSCRIPTION_MODEL}}}

_CREATE_RESPONSE: Final = json.dumps({"type": "response.create"})
_CHANGE_NOTHING: Final = json.dumps({"type": "session.update", "session": {"type": "realtime"}})
# Sent on every call and at many heartbeats; making them anew through the SDK's types takes a third of a millisecond.

_NORMAL_CLOSURE: Final = 1000
_WITHOUT_ERROR: Final = frozenset({_NORMAL_CLOSURE, 1001, 1005})
# RFC 6455 §7.4.1: done; one side is going away; no code given.


@dataclass(frozen=True, slots=True)
class CarrierTimeouts:
    """The time the carrier may take to answer, in seconds."""

    accept: float = 10.0
    """It has been seen to take over five seconds, if only to say 404."""
    control: float = 5.0
    """Reject, refer, hang-up, per try; also opening a session."""


class OpenAIRealtimeCarrier:
    """Call control and sessions of one OpenAI project."""

    def __init__(
        self,
        client: AsyncOpenAI,
        http: httpx2.AsyncClient,
        model: str,
        timeouts: CarrierTimeouts | None = None,
        *,
        webhook_secrets: Sequence[str] = (),
        proxy: str | None = None,
    ) -> None:
        """Speak to the carrier through the client.

        What every call needs, its acceptance and its session, is asked for directly: the SDK makes address and headers
        anew each time and looks through tools for names to translate, which takes longer than the request itself.

        Args:
            client: the SDK's client, with the key.
            http: the client that it makes its requests with.
            model: the model of sessions.
            timeouts: time-outs, unless the usual ones will do.
            webhook_secrets: secrets that deliveries may be signed with.
            proxy: the way to sessions, which is to be the client's.
        """
        self._client = client
        self._http = http
        # The SDK loads its parts when they are first used, which takes a fifth of a second of the processor's time. So
        # that is now, and not with the first call at hand.
        self._webhooks, _ = client.webhooks, client.realtime.calls
        base = client.base_url
        query = f"{base.query.decode()}&" if base.query else ""
        self._calls = f"{base.copy_with(query=None)}realtime/calls/"
        self._accept = f"/accept?{query}".rstrip("?&")
        scheme = "wss" if base.scheme == "https" else "ws"
        self._sessions = f"{base.copy_with(scheme=scheme, query=None)}realtime?{query}call_id="
        self._headers = {
            name: value
            for name, value in {**client.default_headers, **client.auth_headers}.items()
            if isinstance(value, str)
        }
        self._webhook_secrets = webhook_secrets
        self._model = model
        self._proxy = proxy
        self._timeouts = timeouts or CarrierTimeouts()

    def verify(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Check a webhook delivery's signature (Standard Webhooks, HMAC-SHA-256, five minutes' tolerance).

        While secrets are rotated there are several; one that matches will do.
        """
        check_headers(headers)
        failure: Exception | None = None
        for secret in self._webhook_secrets:
            try:
                self._webhooks.verify_signature(body, dict(headers), secret=secret)
            except (ValueError, TypeError) as error:
                # The SDK's own error is a ValueError; a header that is not ASCII makes it raise a TypeError instead.
                failure = error
            else:
                return
        raise no_match(headers.get("webhook-signature", "")) from failure

    async def accept(
        self, call_id: CallId, instructions: str, tools: Sequence[Tool], *, transcribe: bool = False
    ) -> None:
        """Take the call, with what the caller says as text if ``transcribe``."""
        session: RealtimeSessionCreateRequestParam = {
            "type": "realtime",
            "model": self._model,
            "instructions": instructions,
            "tools": [
                {"type": "function", "name": t.name, "description": t.description, "parameters": dict(t.parameters)}
                for t in tools
            ],
            "tool_choice": "auto",
        }
        if transcribe:
            session["audio"] = _TRANSCRIBED
        address = self._calls + _segment(call_id) + self._accept
        body = json.dumps(session)
        try:
            response = await self._http.post(
                address, content=body, headers=self._headers, timeout=self._timeouts.accept
            )
        except httpx2.TimeoutException as error:
            raise CarrierError("timeout") from error
        except httpx2.HTTPError as error:
            raise CarrierError("connection") from error
        if not response.is_success:
            raise CarrierError(str(response.status_code), response.status_code)

    async def reject(self, call_id: CallId, sip_status: int) -> None:
        """Turn the call away."""
        await _controlled(self._insistent.realtime.calls.reject(call_id, status_code=sip_status))

    async def refer(self, call_id: CallId, target_uri: str) -> None:
        """Hand the caller to another destination."""
        once = self._client.with_options(max_retries=0, timeout=self._timeouts.control)
        await _controlled(once.realtime.calls.refer(call_id, target_uri=target_uri))

    async def hangup(self, call_id: CallId) -> None:
        """End the call."""
        await _controlled(self._insistent.realtime.calls.hangup(call_id))

    @asynccontextmanager
    async def session(
        self, call_id: CallId, *, fresh: bool = True, tries: Tries = untimed
    ) -> AsyncIterator[CarrierSession]:
        """Attach to the accepted call's session; to a ``fresh`` one again and again for a few seconds."""
        connection = await (self._attach(call_id, tries) if fresh else self._connect(call_id))
        try:
            yield RealtimeSession(connection)
        finally:
            await connection.close()

    async def close(self) -> None:
        """Give up connections."""
        await self._client.close()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """The TLS of all sidebands. Making one reads every certificate of the machine, which takes 20 ms."""
        return ssl.create_default_context()

    @property
    def _insistent(self) -> AsyncOpenAI:
        return self._client.with_options(max_retries=CONTROL_RETRIES, timeout=self._timeouts.control)

    async def _attach(self, call_id: CallId, tries: Tries) -> AsyncRealtimeConnection:
        for resends, delay in enumerate(ATTACH_DELAYS):
            try:
                with tries(resends):
                    return await self._connect(call_id)
            except CarrierError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
            await asyncio.sleep(delay)
        with tries(len(ATTACH_DELAYS)):
            return await self._connect(call_id)

    async def _connect(self, call_id: CallId) -> AsyncRealtimeConnection:
        seconds = self._timeouts.control
        options: dict[str, Any] = {"ssl": self._tls} if self._sessions.startswith("wss:") else {}
        options["proxy"] = self._proxy
        try:
            if self._proxy is not None:
                tunnel = await connected_through(self._proxy, str(self._client.base_url), seconds)
                options |= {} if tunnel is None else {"proxy": None, "sock": tunnel}
            connection = await _Handshake(
                self._sessions + _segment(call_id),
                additional_headers=self._headers,
                user_agent_header=None,
                open_timeout=seconds,
                max_size=_MAX_FRAME_BYTES,
                # Events are short, and a compressor's windows would take more memory than all else of a call.
                compression=None,
                **options,
            )
            return AsyncRealtimeConnection(connection)
        except InvalidStatus as error:
            status = error.response.status_code
            raise CarrierError(str(status), status) from error
        except TimeoutError as error:
            raise CarrierError("timeout") from error
        except (OSError, WebSocketException, openai.OpenAIError) as error:
            raise CarrierError("connection") from error


class _Handshake(connect):
    """A handshake that follows no redirect: the key is for the carrier alone."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Return what the handshake ends with."""
        return exc


class RealtimeSession:
    """The sideband of one call."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self._connection = connection
        self._left = False

    async def signals(self) -> AsyncIterator[Signal]:
        """Yield what happens on the call, until the connection ends."""
        fatal: str | None = None
        try:
            while True:
                for signal in translate(await self._connection.recv_bytes()):
                    if isinstance(signal, SessionFault) and signal.fatal:
                        fatal = signal.code
                    yield signal
        except ConnectionClosed as error:
            if self._left:
                raise SessionClosedError(orderly=True) from error
            raise _closed(error, fatal) from error

    async def respond(self) -> None:
        """Let the agent speak."""
        await self._send(self._connection.send_raw(_CREATE_RESPONSE))

    async def answer_tool(self, tool_call_id: str, output: str) -> None:
        """Give the model a tool's output and let it go on.

        The item has an id that follows from the call's, so that one that is sent again is refused, and not there twice.
        """
        await self._send(
            self._connection.conversation.item.create(
                item={
                    "id": _item_id(tool_call_id),
                    "type": "function_call_output",
                    "call_id": tool_call_id,
                    "output": output,
                }
            )
        )
        await self.respond()

    async def probe(self) -> None:
        """Send an update that changes nothing: a session that is alive answers it with ``session.updated``."""
        await self._send(self._connection.send_raw(_CHANGE_NOTHING))

    async def close(self) -> None:
        """Leave the session; :meth:`signals` ends in good order."""
        self._left = True
        await self._connection.close()

    async def _send(self, sending: Awaitable[None]) -> None:
        # The reading side learns of a connection that ended, too, and says how the session did.
        with suppress(ConnectionClosed):
            await sending


def _item_id(tool_call_id: str) -> str:
    """Return an id for a tool's output; the carrier takes 32 characters."""
    return "tool_" + hashlib.sha256(tool_call_id.encode()).hexdigest()[:27]


def _closed(error: ConnectionClosed, fatal: str | None) -> SessionClosedError:
    if fatal is not None:
        return SessionClosedError(orderly=True, error_type=fatal)
    if error.rcvd is not None:
        code = error.rcvd.code
        without_error = code in _WITHOUT_ERROR
        return SessionClosedError(
            orderly=without_error, error_type=None if without_error else f"ws_{code}", broken=code != _NORMAL_CLOSURE
        )
    # No close frame: a caller's hang-up looks like this, and so does a network that failed.
    return SessionClosedError(orderly=False, broken=True)


def _segment(call_id: CallId) -> str:
    """Return the id as a part of an address; raise :class:`CarrierError` for one that would lead elsewhere."""
    if call_id in {"", ".", ".."}:
        raise CarrierError("invalid_call_id")
    return quote(call_id, safe="")


async def _controlled(request: Awaitable[object]) -> None:
    try:
        await request
    except openai.APITimeoutError as error:
        raise CarrierError("timeout") from error
    except openai.APIStatusError as error:
        raise CarrierError(str(error.status_code), error.status_code) from error
    except openai.OpenAIError as error:
        raise CarrierError("connection") from error
    except ValueError as error:
        # The SDK refuses ids that cannot stand in a path.
        raise CarrierError("invalid_call_id") from error
