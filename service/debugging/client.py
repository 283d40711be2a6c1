"""Asks a running service about a call."""

import re
from typing import Final
from urllib.parse import quote

import httpx2
from pydantic import ValidationError

from service.debugging.detail import CallDetail
from service.debugging.writing import CALLS, TRACES
from service.security import HEADER

PATIENCE_SECONDS: Final = 10.0
"""How long an answer may take."""

_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")


class RefusedError(Exception):
    """There is no answer; the message says why, in a sentence for people."""


class CallClient:
    """The admin endpoints of one service, as far as single calls go."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._token = token

    def call(self, name: str) -> CallDetail:
        """The call with this id, or with this trace id.

        Raises:
            RefusedError: if the service cannot be reached, refuses, knows no such call, or is another service.
        """
        path = f"{TRACES}/{name}" if _TRACE_ID.fullmatch(name) else f"{CALLS}/{quote(name, safe='')}"
        answer = self._get(path)
        if not answer.is_success:
            raise RefusedError(f"{answer.status_code}: {_told(answer)}")
        try:
            # A newer service may say more than this client knows.
            return CallDetail.model_validate_json(answer.content, extra="ignore")
        except ValidationError:
            raise RefusedError(f"{self._url} does not answer as this service does; is it another version?") from None

    def _get(self, path: str) -> httpx2.Response:
        try:
            return httpx2.get(self._url + path, headers={HEADER: self._token}, timeout=PATIENCE_SECONDS)
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise RefusedError(f"cannot reach {self._url}: {str(error) or type(error).__name__}") from None


def _told(answer: httpx2.Response) -> str:
    """What the service said is wrong."""
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase or "no reason given"
