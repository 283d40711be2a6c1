"""Errors as problem details: the right shape and type for each, and nothing in them that is nobody's business."""

import logging
from collections.abc import AsyncIterator, Iterator
from enum import StrEnum
from typing import Annotated

import httpx2
import pytest
from fastapi import APIRouter, Body, FastAPI, HTTPException, Query
from pydantic import BaseModel, ConfigDict, field_validator
from starlette.responses import StreamingResponse

from service.http.errors import use_problem_details
from service.http.problems import MAX_FIELD_PROBLEMS, FieldProblem, Problem, ProblemError
from tests.support.server import TIMEOUT_SECONDS, TLS, serving

CALLER = "+4915112345678"


class Order(BaseModel):
    """A body with something to get wrong."""

    model_config = ConfigDict(extra="forbid")

    amount: int

    @field_validator("amount")
    @classmethod
    def _positive(cls, value: int) -> int:
        if value < 1:
            raise ValueError("must be positive")
        return value


routes = APIRouter()


@routes.get("/teapot")
async def teapot() -> None:
    raise HTTPException(418, headers={"X-Pot": "tea"})


@routes.get("/own")
async def own() -> None:
    raise ProblemError(
        409,
        "It exists.",
        kind="https://callscope.example/problems/exists",
        title="Exists",
        errors=[FieldProblem(field="body.name", detail="is taken")],
        members={"version": 3},
        headers={"Retry-After": "7"},
    )


@routes.get("/odd")
async def odd() -> None:
    raise HTTPException(499, {"reason": "no text"})


@routes.get("/not-modified")
async def not_modified() -> None:
    raise HTTPException(304, headers={"ETag": '"1"'})


@routes.get("/items")
async def items(limit: Annotated[int, Query(ge=1)]) -> int:
    return limit


class Shape(StrEnum):
    CIRCLE = "circle"
    RED = "red"


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"
    BLUE = "blue"


@routes.get("/filtered")
async def filtered(by: Annotated[Shape | Colour | None, Query()] = None) -> str | None:
    return by


@routes.post("/orders")
async def orders(order: Order) -> int:
    return order.amount


@routes.post("/numbers")
async def numbers(values: Annotated[list[int], Body()]) -> int:
    return sum(values)


@routes.get("/broken/{caller}")
async def broken(caller: str) -> None:
    raise RuntimeError(f"cannot reach {caller}")


@routes.get("/cut-off")
async def cut_off() -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"half"
        raise RuntimeError(CALLER)

    return StreamingResponse(chunks())


def failing_app() -> FastAPI:
    """An app whose every route fails in its own way."""
    app = FastAPI()
    use_problem_details(app)
    app.include_router(routes)
    return app


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    with (
        serving(failing_app()) as url,
        httpx2.Client(verify=TLS, base_url=url, trust_env=False, timeout=TIMEOUT_SECONDS) as client,
    ):
        yield client


def problem(response: httpx2.Response) -> Problem:
    """The answer as a problem, if it is one that RFC 9457 would know."""
    assert response.headers["content-type"] == "application/problem+json"
    found = Problem.model_validate_json(response.content)
    assert found.status == response.status_code
    return found


def test_an_unknown_path_is_a_problem(client: httpx2.Client) -> None:
    """The router's own 404 says in words what it means, and where."""
    found = problem(client.get("/nowhere?secret=1"))
    assert (found.status, found.title, found.instance) == (404, "Not Found", "/nowhere")
    assert found.detail == "There is nothing at this path."


def test_a_wrong_method_is_a_problem_that_names_the_right_ones(client: httpx2.Client) -> None:
    """The router's own 405 keeps its Allow header."""
    answer = client.delete("/orders")
    assert (problem(answer).status, answer.headers["allow"]) == (405, "POST")


def test_exceptions_of_the_framework_become_problems(client: httpx2.Client) -> None:
    """A bare HTTPException has its status's name for title and keeps its headers."""
    answer = client.get("/teapot")
    assert (problem(answer).title, answer.headers["x-pot"]) == ("I'm a Teapot", "tea")


def test_a_status_without_a_name_and_a_detail_that_is_no_text_are_taken(client: httpx2.Client) -> None:
    """Whatever an HTTPException holds, the answer keeps the problem's shape."""
    found = problem(client.get("/odd"))
    assert (found.title, found.detail) == ("Status 499", "{'reason': 'no text'}")


def test_what_is_no_error_is_no_problem(client: httpx2.Client) -> None:
    """An HTTPException below 400 stays the bare answer it is."""
    answer = client.get("/not-modified")
    assert (answer.status_code, answer.headers["etag"], answer.content) == (304, '"1"', b"")


def test_a_problem_can_say_all_that_the_standard_knows(client: httpx2.Client) -> None:
    """Type, title, fields, extension members and headers arrive as they were raised."""
    answer = client.get("/own")
    assert answer.headers["retry-after"] == "7"
    assert answer.json() == {
        "type": "https://callscope.example/problems/exists",
        "title": "Exists",
        "status": 409,
        "detail": "It exists.",
        "instance": "/own",
        "errors": [{"field": "body.name", "detail": "is taken"}],
        "version": 3,
    }


@pytest.mark.parametrize(
    ("method", "url", "body", "field", "detail"),
    [
        ("GET", "/items", b"", "query.limit", "Field required"),
        ("GET", "/items?limit=0", b"", "query.limit", "Input should be greater than or equal to 1"),
        ("GET", "/filtered?by=x", b"", "query.by", "Input should be 'circle', 'red', 'green' or 'blue'"),
        ("POST", "/orders", b'{"amount": 0}', "body.amount", "must be positive"),
        ("POST", "/orders", b'{"amount": 1, "x": 1}', "body.x", "Extra inputs are not permitted"),
        ("POST", "/orders", b"{", "body.1", "JSON decode error"),
    ],
)
def test_each_wrong_part_of_a_request_is_named(
    client: httpx2.Client, method: str, url: str, body: bytes, field: str, detail: str
) -> None:
    """Validation answers 422 and says which part is wrong and how."""
    found = problem(client.request(method, url, content=body, headers={"content-type": "application/json"}))
    assert (found.status, found.errors) == (422, (FieldProblem(field=field, detail=detail),))


def test_wrong_values_are_never_repeated(client: httpx2.Client) -> None:
    """The value that was wrong may be personal; the answer names only where it stood."""
    assert CALLER not in client.post("/orders", json={"amount": f"{CALLER} called"}).text


def test_half_a_surrogate_pair_as_a_name_is_answered(client: httpx2.Client) -> None:
    """JSON lets in names that have no UTF-8 form; the answer to them has."""
    answer = client.post(
        "/orders", content=rb'{"amount": 1, "\ud800": 1}', headers={"content-type": "application/json"}
    )
    assert problem(answer).status in {400, 422}


def test_a_body_with_endless_mistakes_gets_a_short_answer(client: httpx2.Client) -> None:
    """No more than the bound of wrong parts is listed, nor more than the bound of a name repeated."""
    found = problem(client.post("/numbers", json=["x"] * 1_000))
    assert len(found.errors) == MAX_FIELD_PROBLEMS
    endless = problem(client.post("/orders", json={"amount": 1, "y" * 10_000: 1}))
    assert len(endless.errors[0].field) <= 200


def test_an_error_nobody_handled_is_a_bare_500(client: httpx2.Client, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the answer nor the log has the error's message or the path's values; the log has its class and place."""
    with caplog.at_level(logging.ERROR):
        answer = client.get(f"/broken/{CALLER}")
    found = problem(answer)
    assert (found.status, found.title) == (500, "Internal Server Error")
    assert "Traceback" not in answer.text
    assert "RuntimeError" not in answer.text
    (line,) = [record.getMessage() for record in caplog.records if record.name == "service.http.errors"]
    assert line.startswith("unhandled RuntimeError in GET /broken/{caller}\n")
    assert "in broken\n" in line
    assert CALLER not in caplog.text


def test_an_error_after_the_answer_has_begun_breaks_it_off(
    client: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """A half-sent answer does not end as if it were whole, and the error is logged."""
    with pytest.raises(httpx2.RemoteProtocolError):
        client.get("/cut-off")
    assert any(record.name == "service.http.errors" for record in caplog.records)


@pytest.mark.parametrize("host", ["a/b?c", "[", "evil/../..", "x:99999999", "\\"])
def test_the_instance_does_not_depend_on_the_host(client: httpx2.Client, host: str) -> None:
    """A hostile Host header neither breaks the answer nor gets into it."""
    answer = client.get("/nowhere", headers={"Host": host})
    assert answer.status_code < 500
    if answer.headers["content-type"] == "application/problem+json":
        assert problem(answer).instance == "/nowhere"


def test_without_the_handlers_the_status_is_right_all_the_same() -> None:
    """In an app that does not use problem details, a problem is still an HTTPException the framework answers."""
    app = FastAPI()

    @app.get("/own")
    async def own() -> None:
        raise ProblemError(409, "It exists.", headers={"Retry-After": "7"})

    with serving(app) as url:
        answer = httpx2.get(f"{url}/own", trust_env=False)
    assert (answer.status_code, answer.json(), answer.headers["retry-after"]) == (409, {"detail": "It exists."}, "7")


def test_the_document_speaks_of_problems_alone() -> None:
    """Every error answer is declared as problem details, and the framework's own shape of errors is gone."""
    document = failing_app().openapi()
    answer = document["paths"]["/items"]["get"]["responses"]["422"]
    assert list(answer["content"]) == ["application/problem+json"]
    assert answer["content"]["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}
    assert answer["content"]["application/problem+json"]["example"]["errors"]
    assert {"HTTPValidationError", "ValidationError"}.isdisjoint(document["components"]["schemas"])


def test_the_document_is_made_once() -> None:
    """Asked again, the app answers with the document it has, described once."""
    app = failing_app()
    assert app.openapi() is app.openapi()
