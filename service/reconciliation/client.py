"""Asks a running service for the comparison."""

from collections.abc import Mapping
from typing import Any, Final

import httpx2

from service.security import HEADER

PATH: Final = "/api/v1/metrics/reconcile"

PATIENCE_SECONDS: Final = 120.0
"""How long the answer may take: every record of the window is added up."""


class RefusedError(Exception):
    """There is no answer; the message says why, in a sentence for people."""


class ParameterError(RefusedError):
    """The service does not take what was asked for; ``field`` is the parameter that is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


def ask(url: str, token: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    """The comparison as the service answers it.

    Raises:
        RefusedError: if the service cannot be reached, refuses, or is another service.
        ParameterError: if a parameter is wrong.
    """
    base = url.rstrip("/")
    try:
        answer = httpx2.get(base + PATH, params=parameters, headers={HEADER: token}, timeout=PATIENCE_SECONDS)
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise RefusedError(f"cannot reach {base}: {str(error) or type(error).__name__}") from None
    told = _json(base, answer)
    if answer.is_success:
        return told
    for problem in told.get("errors", ()):
        raise ParameterError(str(problem["field"]).removeprefix("query."), str(problem["detail"]))
    raise RefusedError(f"{answer.status_code}: {told.get('detail') or answer.reason_phrase}")


def _json(base: str, answer: httpx2.Response) -> dict[str, Any]:
    try:
        told = answer.json()
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise RefusedError(f"{answer.status_code}: {base} does not answer as this service does")
    return told
