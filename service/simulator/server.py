"""The carrier's HTTP and WebSocket interface for call control, as an ASGI application."""

import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from service.simulator.conversation import Sidebands
from service.simulator.faults import ControlFault, DropConnection, NeverAnswer, Operation, Refuse
from service.simulator.leg import CallLeg, CallRegistry, ControlRefusedError, call_not_found, refusal
from service.simulator.listener import abort
from service.simulator.timing import TimeScale

ANSWER_SECONDS = 0.08
"""Natural seconds the carrier takes to answer a control request."""
DECLINE = 603
"""The SIP status of a reject that names none."""
SIP_ERRORS = range(300, 700)
"""SIP statuses a caller can be turned away with."""
DESTINATIONS = ("tel:", "sip:", "sips:")
"""Beginnings of a refer's ``target_uri``."""
Body = Mapping[str, Any]
"""The JSON object of a request; empty where there was none."""


class CarrierApi:
    """Serves the calls of a registry."""

    def __init__(
        self, registry: CallRegistry, sidebands: Sidebands, *, time_scale: TimeScale, api_key: str | None = None
    ) -> None:
        self._registry, self._sidebands, self._time_scale, self._api_key = registry, sidebands, time_scale, api_key

    def app(self) -> Starlette:
        """Return the application; ``/truth`` is the ground truth so far, which no real carrier has."""
        control = [
            Route(f"/v1/realtime/calls/{{call_id:path}}/{operation}", self._control(operation), methods=["POST"])
            for operation in Operation
        ]
        rest = [WebSocketRoute("/v1/realtime", self._sideband), Route("/truth", self._ground_truth)]
        return Starlette(
            routes=[*control, *rest], exception_handlers={HTTPException: _unknown_url, ClientDisconnect: _gone}
        )

    def _control(self, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            await self._time_scale.pause(ANSWER_SECONDS)
            try:
                self._authenticate(request)
                leg = self._registry.find(request.path_params["call_id"])
                return await serve(request, leg, operation, await _body_of(request))
            except ControlRefusedError as error:
                return error_response(error)

        return endpoint

    async def _sideband(self, socket: WebSocket) -> None:
        try:
            self._authenticate(socket)
            if "openai-beta" in socket.headers:
                raise call_not_found()
            leg = self._registry.find(socket.query_params.get("call_id", ""))
            await self._sidebands.open(socket, leg)
        except ControlRefusedError as error:
            await socket.send_denial_response(error_response(error))

    async def _ground_truth(self, _: Request) -> JSONResponse:
        return JSONResponse(self._registry.ground_truth.as_json())

    def _authenticate(self, connection: HTTPConnection) -> None:
        scheme, _, key = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise ControlRefusedError(401, None, "Missing bearer or basic authentication in header")
        if self._api_key is not None and not hmac.compare_digest(key.encode(), self._api_key.encode()):
            raise ControlRefusedError(401, "invalid_api_key", "Incorrect API key provided.")


async def _body_of(request: Request) -> Body:
    text = await request.body()
    try:
        body = json.loads(text) if text else {}
    except ValueError as error:
        raise ControlRefusedError(400, None, "We could not parse the JSON body of your request.") from error
    if not isinstance(body, dict):
        raise ControlRefusedError(400, None, "We could not parse the JSON body of your request.")
    return body


async def serve(request: Request, leg: CallLeg, operation: Operation, body: Body) -> Response:
    """Answer a control request as the call's faults say, or not at all; raises :class:`ControlRefusedError`."""
    control, fault = CONTROLS[operation], leg.ask(operation)
    control.requested(leg, body)
    if fault is None:
        control.carry_out(leg, body)
        control.known(leg)
        return Response()
    if fault.processed:
        control.carry_out(leg, body)
        control.lost(leg)
    elif operation is Operation.ACCEPT and isinstance(fault, Refuse) and fault.denies_the_call:
        leg.not_found()
    return await _go_wrong(request, fault)


async def _go_wrong(request: Request, fault: ControlFault) -> Response:
    match fault:
        case Refuse():
            return error_response(refusal(fault.status))
        case NeverAnswer():
            while (await request.receive())["type"] != "http.disconnect":
                pass
        case DropConnection():
            await abort(request)
    return Response()


@dataclass(frozen=True, slots=True)
class Control:
    """One operation, in the order its parts happen."""

    requested: Callable[[CallLeg, Body], None]
    """Note the request, whatever comes of it; raises for a body that cannot be served."""
    carry_out: Callable[[CallLeg, Body], None]
    """Do it; raises :class:`ControlRefusedError` where the call's state forbids it."""
    known: Callable[[CallLeg], None]
    """Note that the gateway learns that it succeeded."""
    lost: Callable[[CallLeg], None]
    """Note that it was done and the gateway does not learn of it."""


def _nothing(_: CallLeg) -> None:
    """Note nothing."""


def _accept_requested(leg: CallLeg, body: Body) -> None:
    if body.get("type") != "realtime":
        raise invalid("type", "expected 'realtime'")
    leg.record.accept_requested(body.get("instructions"))


def _reject_requested(leg: CallLeg, body: Body) -> None:
    status = body.get("status_code", DECLINE)
    if status not in SIP_ERRORS:
        raise invalid("status_code", "expected a SIP status from 300 to 699")
    leg.record.rejected(status)


def _refer_requested(_: CallLeg, body: Body) -> None:
    if not str(body.get("target_uri", "")).startswith(DESTINATIONS):
        raise invalid("target_uri", "expected a tel: or sip: URI")


CONTROLS: Mapping[Operation, Control] = {
    Operation.ACCEPT: Control(
        requested=_accept_requested,
        carry_out=lambda leg, body: leg.accept(body),
        known=lambda leg: leg.record.accept_known(),
        lost=lambda leg: leg.record.count("accepts_lost"),
    ),
    Operation.REJECT: Control(
        requested=_reject_requested, carry_out=lambda leg, _: leg.reject(), known=_nothing, lost=_nothing
    ),
    Operation.REFER: Control(
        requested=_refer_requested,
        carry_out=lambda leg, _: leg.refer(),
        known=lambda leg: leg.record.refer_known(),
        lost=_nothing,
    ),
    Operation.HANGUP: Control(
        requested=lambda leg, _: _nothing(leg), carry_out=lambda leg, _: leg.hang_up(), known=_nothing, lost=_nothing
    ),
}
"""Every control request a gateway can make."""


def invalid(param: str, problem: str) -> ControlRefusedError:
    """Return the error of a request whose body cannot be served."""
    return ControlRefusedError(400, "invalid_value", f"Invalid value for '{param}': {problem}.")


def error_response(error: ControlRefusedError) -> JSONResponse:
    """Return an error as the carrier words it."""
    what = {"message": error.message, "type": error.kind, "param": None, "code": error.code}
    return JSONResponse({"error": what}, status_code=error.status)


async def _gone(_request: Request, _error: Exception) -> Response:
    """Answer a gateway that has hung up on its own request, as one that is killed does: nobody reads this."""
    return Response()


async def _unknown_url(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    message = f"Invalid URL ({request.method} {request.url.path})"
    return error_response(ControlRefusedError(status, "unknown_url", message))
