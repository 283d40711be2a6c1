"""The carrier's HTTP and WebSocket interface for call control, as an ASGI application."""

import hmac
import json
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from service.simulator.control import Body, error_response, serve
from service.simulator.exchange import Exchange
from service.simulator.faults import Operation
from service.simulator.leg import CarrierError, call_not_found
from service.simulator.pace import Pace
from service.simulator.sideband import Sidebands

ANSWER_SECONDS = 0.08
"""Natural seconds the carrier takes to answer a control request."""


class CarrierApi:
    """Serves the calls of an exchange."""

    def __init__(self, exchange: Exchange, sidebands: Sidebands, *, pace: Pace, api_key: str | None = None) -> None:
        self._exchange, self._sidebands, self._pace, self._api_key = exchange, sidebands, pace, api_key

    def app(self) -> Starlette:
        """The application; ``/truth`` is the truth so far, which no real carrier has."""
        control = [
            Route(f"/v1/realtime/calls/{{call_id:path}}/{operation}", self._control(operation), methods=["POST"])
            for operation in Operation
        ]
        rest = [WebSocketRoute("/v1/realtime", self._sideband), Route("/truth", self._truth)]
        return Starlette(
            routes=[*control, *rest], exception_handlers={HTTPException: _unknown_url, ClientDisconnect: _gone}
        )

    def _control(self, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            await self._pace.pause(ANSWER_SECONDS)
            try:
                self._authenticate(request)
                leg = self._exchange.find(request.path_params["call_id"])
                return await serve(request, leg, operation, await _body_of(request))
            except CarrierError as error:
                return error_response(error)

        return endpoint

    async def _sideband(self, socket: WebSocket) -> None:
        try:
            self._authenticate(socket)
            if "openai-beta" in socket.headers:
                raise call_not_found()
            leg = self._exchange.find(socket.query_params.get("call_id", ""))
            await self._sidebands.open(socket, leg)
        except CarrierError as error:
            await socket.send_denial_response(error_response(error))

    async def _truth(self, _: Request) -> JSONResponse:
        return JSONResponse(self._exchange.tally.as_json())

    def _authenticate(self, connection: HTTPConnection) -> None:
        scheme, _, key = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise CarrierError(401, None, "Missing bearer or basic authentication in header")
        if self._api_key is not None and not hmac.compare_digest(key.encode(), self._api_key.encode()):
            raise CarrierError(401, "invalid_api_key", "Incorrect API key provided.")


async def _body_of(request: Request) -> Body:
    text = await request.body()
    try:
        body = json.loads(text) if text else {}
    except ValueError as error:
        raise CarrierError(400, None, "We could not parse the JSON body of your request.") from error
    if not isinstance(body, dict):
        raise CarrierError(400, None, "We could not parse the JSON body of your request.")
    return body


async def _gone(_request: Request, _error: Exception) -> Response:
    """The gateway has hung up on its own request, as one that is killed does: nobody reads this."""
    return Response()


async def _unknown_url(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    message = f"Invalid URL ({request.method} {request.url.path})"
    return error_response(CarrierError(status, "unknown_url", message))
