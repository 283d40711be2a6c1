"""The last boundary of a request: an error nobody handled is logged without its message, and answered."""

import logging
import traceback
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_logger = logging.getLogger(__name__)


class UnhandledErrors:
    """Middleware that gives the answer ``failure`` makes for the path, and logs where the error came from.

    The log has no message of an error, which may quote what a caller said or dialled. After the answer has begun, the
    error is raised on too: only the server can still break the connection off.
    """

    def __init__(self, app: ASGIApp, failure: Callable[[str], ASGIApp]) -> None:
        self._app = app
        self._failure = failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            _log(scope, error)
            if begun:
                raise
            await self._failure(scope["path"])(scope, receive, send)


def _log(scope: Scope, error: Exception) -> None:
    route = getattr(scope.get("route"), "path", "no route")
    frames = "".join(traceback.format_tb(error.__traceback__))
    _logger.error("unhandled %s in %s %s\n%s", type(error).__name__, scope["method"], route, frames)
