"""The admin endpoints of a running service, as commands ask them."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, NoReturn, TypeVar
from urllib.parse import quote

import httpx2
import typer
from pydantic import BaseModel, ValidationError

from service.http.tokens import HEADER
from telemetry.terminal import printable

DEFAULT_URL: Final = "http://127.0.0.1:8000"
TIMEOUT_SECONDS: Final = 10.0
"""Seconds an answer may take, unless a command says otherwise."""

Url = Annotated[str, typer.Option("--url", envvar="CALLSCOPE_URL", help="Where the service answers.")]
Token = Annotated[
    str, typer.Option("--token", envvar=["CALLSCOPE_TOKEN", "ADMIN_TOKEN"], help="An admin token.", show_envvar=True)
]
M = TypeVar("M", bound=BaseModel)

_UNAUTHORIZED: Final = 401


class RefusedError(Exception):
    """There is no answer; the message says why, in a sentence for people."""


class ParameterError(RefusedError):
    """The service does not take what was asked for; ``field`` is the parameter that is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


class ServiceClient:
    """Asks one service, with one token; of a list such as ``ADMIN_TOKEN`` has, the first, without its attributes."""

    def __init__(self, url: str, token: str, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._url = url.rstrip("/")
        self._token = re.split("[,;]", token, maxsplit=1)[0].strip()
        self._timeout = timeout

    def get(self, path: str, parameters: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Return the answer; parameters that are None are left out.

        Raises:
            RefusedError: if the service cannot be reached, refuses, or is another service.
            ParameterError: if a parameter is wrong.
        """
        wanted = {name: str(value) for name, value in (parameters or {}).items() if value is not None}
        try:
            headers = {HEADER: self._token}
            answer = httpx2.get(self._url + path, params=wanted, headers=headers, timeout=self._timeout)
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            reason = str(error).rstrip(".") or type(error).__name__
            raise RefusedError(f"cannot reach {self._url}: {reason}; name the service with --url") from None
        body = _json(answer)
        if answer.is_success and body is not None:
            return body
        if answer.is_success:
            raise RefusedError(f"{self._url} does not answer as this service does; name the service with --url")
        for problem in (body or {}).get("errors", ()):
            raise ParameterError(str(problem["field"]).removeprefix("query."), str(problem["detail"]))
        detail = (body or {}).get("detail") or answer.reason_phrase or "no reason given"
        cure = " Name one with --token or CALLSCOPE_TOKEN." if answer.status_code == _UNAUTHORIZED else ""
        raise RefusedError(f"{answer.status_code}: {detail}{cure}")

    def read(self, model: type[M], path: str, parameters: Mapping[str, object] | None = None) -> M:
        """Return the answer as the service's own schema; raises as :meth:`get` does."""
        body = self.get(path, parameters)
        try:
            # A newer service may say more than this client knows.
            return model.model_validate(body, extra="ignore")
        except ValidationError:
            raise RefusedError(f"{self._url} does not answer as this service does; is it another version?") from None

    def demand_tenant(self, tenant_id: str | None) -> None:
        """Raise :class:`ParameterError` for a tenant that is neither configured nor seen; None is every tenant.

        A mistyped name would find nothing, and nothing looks like good news.
        """
        if tenant_id is None:
            return
        try:
            self.get(f"/api/v1/metrics/live/{quote(tenant_id, safe='')}")
        except ParameterError as error:
            raise ParameterError("tenant_id", str(error)) from None
        except RefusedError as error:
            if str(error).startswith("404: "):
                raise ParameterError("tenant_id", f"there is no tenant {tenant_id!r}") from None
            raise


def _json(answer: httpx2.Response) -> dict[str, Any] | None:
    try:
        body = answer.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def refuse(error: RefusedError, *, code: int = 1) -> NoReturn:
    """End the command: with code 2 if an option is wrong, else with ``code`` and the reason on standard error."""
    if isinstance(error, ParameterError):
        raise typer.BadParameter(
            printable(str(error)), param_hint=f"--{error.field.removesuffix('_id').replace('_', '-')}"
        ) from None
    typer.echo(printable(str(error)), err=True)
    raise typer.Exit(code)
