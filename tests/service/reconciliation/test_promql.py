"""Asking a metrics backend: what it answers, and that whatever it does becomes a state with a reason."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from service.reconciliation import promql
from service.reconciliation.ledgers import State
from service.reconciliation.promql import BackendError, PrometheusBackend, Sample
from tests.support.server import serving

SECRET = "do-not-print-me"

Answer = Callable[[Request], Awaitable[Response]]


def _vector(*result: dict[str, Any]) -> Answer:
    async def answer(_request: Request) -> Response:
        return JSONResponse({"status": "success", "data": {"resultType": "vector", "result": list(result)}})

    return answer


def _text(text: str, status: int = 200) -> Answer:
    async def answer(_request: Request) -> Response:
        return PlainTextResponse(text, status)

    return answer


async def _asked(answer: Answer, *, token: str | None = None) -> list[Sample]:
    app = Starlette(routes=[Route("/prefix/api/v1/query", answer)])
    with serving(app) as url:
        address = f"{url}/prefix/".replace("://", f"://user:{SECRET}@")
        return await PrometheusBackend(address, token).query("up", 1_790_000_000_123)


async def test_a_vector_is_read() -> None:
    """Each series has its labels and its value; the query, its moment and the credentials are sent along."""
    seen: dict[str, str] = {}

    async def answer(request: Request) -> Response:
        seen.update(request.query_params, authorization=request.headers["authorization"])
        return await _vector({"metric": {"tenant_id": "acme"}, "value": [1_790_000_000.123, "41.5"]})(request)

    assert await _asked(answer) == [Sample({"tenant_id": "acme"}, 41.5)]
    assert (seen["query"], seen["time"]) == ("up", "1790000000.123")
    assert seen["authorization"].startswith("Basic ")
    assert await _asked(_vector()) == []


async def test_a_token_is_sent() -> None:
    """Where the address has no user, the token of the settings goes along."""
    seen: dict[str, str] = {}

    async def answer(request: Request) -> Response:
        seen["authorization"] = request.headers["authorization"]
        return await _vector()(request)

    with serving(Starlette(routes=[Route("/api/v1/query", answer)])) as url:
        await PrometheusBackend(url, SECRET).query("up", 0)
    assert seen["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (_text('{"status": "error", "error": "parse error: unexpected end"}', 400), "400: parse error"),
        (_text("<html>Sign in</html>"), "200: not an answer of Prometheus"),
        (_text("[]"), "200: not an answer of Prometheus"),
        (_text("", 503), "503: not an answer of Prometheus"),
        (_text('{"status": "success", "data": {"result": [{"metric": {}, "value": [1]}]}}'), "not an answer"),
        (_vector({"metric": {}, "value": [1, "NaN"]}), "not an answer"),
        (_vector({"metric": 3, "value": [1, "1"]}), "not an answer"),
    ],
)
async def test_what_is_no_answer_is_refused(answer: Answer, told: str) -> None:
    """An error is told in the backend's words, anything else by its status; never with the address."""
    with pytest.raises(BackendError, match=told) as refused:
        await _asked(answer)
    assert refused.value.state is State.REFUSED
    assert SECRET not in str(refused.value)


async def test_an_answer_without_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound the rest is left, and the state says why."""
    monkeypatch.setattr(promql, "MAX_BYTES", 2**20)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 65536
            await asyncio.sleep(0)

    async def answer(_request: Request) -> Response:
        return StreamingResponse(endless())

    with pytest.raises(BackendError, match="longer than 1 MiB") as refused:
        await _asked(answer)
    assert refused.value.state is State.TOO_LARGE


async def test_an_answer_that_does_not_come_is_waited_for_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that drips is no better: the whole of it has to come in time."""
    monkeypatch.setattr(promql, "TIMEOUT_SECONDS", 0.3)

    async def dripping() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" "
            await asyncio.sleep(0.05)

    async def answer(_request: Request) -> Response:
        return StreamingResponse(dripping())

    with pytest.raises(BackendError, match="no answer within") as refused:
        await _asked(answer)
    assert refused.value.state is State.UNREACHABLE


@pytest.mark.parametrize("url", [f"http://user:{SECRET}@127.0.0.1:1", f"http://{SECRET}.invalid", "http://[::1"])
async def test_a_backend_that_is_not_there_is_unreachable(url: str) -> None:
    """Nobody listens, no such name, no address at all: the reason is told without what the address may hold."""
    with pytest.raises(BackendError) as refused:
        await PrometheusBackend(url).query("up", 0)
    assert refused.value.state is State.UNREACHABLE
    assert SECRET not in str(refused.value)
