"""The HTTP API of a Prometheus-compatible backend."""

import asyncio
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import httpx2

from service.reconciliation.ledgers import State

TIMEOUT_SECONDS: Final = 10.0
"""Seconds that one query may take, from connecting to the last byte."""
MAX_BYTES: Final = 32 * 2**20
"""The longest answer that is read: a hundred thousand series or more."""
MAX_ERROR_CHARACTERS: Final = 200
"""Characters of a backend's complaint that are passed on."""


class BackendError(Exception):
    """A backend that cannot be compared with; ``state`` says in which way, the message why."""

    def __init__(self, state: State, detail: str) -> None:
        super().__init__(detail)
        self.state = state


@dataclass(frozen=True, slots=True)
class Sample:
    """One series at one moment."""

    labels: Mapping[str, str]
    value: float


class Backend(Protocol):
    """Answers PromQL."""

    async def query(self, expression: str, at_ms: int) -> list[Sample]:
        """The instant vector an expression has at a moment.

        Raises:
            BackendError: if there is no answer, or none that can be used.
        """
        ...


class PrometheusBackend:
    """The HTTP API of Prometheus, which others speak too.

    ``url`` is what ``/api/v1/query`` is appended to and may hold a user and a password; ``token`` is sent as a bearer
    token.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self._url = url.rstrip("/") + "/api/v1/query"
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    async def query(self, expression: str, at_ms: int) -> list[Sample]:
        """The instant vector an expression has at a moment; raises :class:`BackendError`."""
        parameters = {"query": expression, "time": f"{at_ms / 1000:.3f}", "timeout": f"{TIMEOUT_SECONDS:g}s"}
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status, body = await self._get(parameters)
        except TimeoutError:
            raise BackendError(State.UNREACHABLE, f"no answer within {TIMEOUT_SECONDS:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            # Its message may repeat the URL, and with it a password.
            raise BackendError(State.UNREACHABLE, f"cannot be reached: {type(error).__name__}") from None
        return _samples(status, body)

    async def _get(self, parameters: Mapping[str, str]) -> tuple[int, bytes]:
        body = bytearray()
        async with (
            httpx2.AsyncClient(timeout=TIMEOUT_SECONDS, headers=self._headers) as client,
            client.stream("GET", self._url, params=parameters) as response,
        ):
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > MAX_BYTES:
                    raise BackendError(State.TOO_LARGE, f"an answer is longer than {MAX_BYTES // 2**20} MiB")
            return response.status_code, bytes(body)


def _samples(status: int, body: bytes) -> list[Sample]:
    try:
        answer = json.loads(body)
        if answer["status"] != "success":
            raise BackendError(State.REFUSED, f"{status}: {str(answer.get('error', ''))[:MAX_ERROR_CHARACTERS]}")
        return [_sample(series) for series in answer["data"]["result"]]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise BackendError(State.REFUSED, f"{status}: not an answer of Prometheus' query API") from None


def _sample(series: Mapping[str, Any]) -> Sample:
    value = float(series["value"][1])
    if not math.isfinite(value):
        raise ValueError("a counter is a number")
    return Sample({str(name): str(text) for name, text in series["metric"].items()}, value)
