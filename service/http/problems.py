"""Every error is answered with problem details (RFC 9457): what went wrong, in a form that programs can read too."""

import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.http.schemas import FrozenSchema

PROBLEM_JSON: Final = "application/problem+json"
"""The media type of problem details (RFC 9457 §3)."""
BLANK = "about:blank"
"""The type of a problem that means no more than its status (RFC 9457 §4.2.1)."""
MAX_FIELD_PROBLEMS = 50
"""Wrong fields that one response lists; a hostile body can have any number."""
MAX_ECHO = 200
"""Characters of a path or of a field's name that a response repeats."""
_ENUM: Final = "str-enum["
_QUOTED: Final = re.compile(r"'[^']*'")
_INVALID = "The request is not what this endpoint takes."


class FieldProblem(FrozenSchema):
    """A fault in one part of a request."""

    field: str = Field(description="Where: `query`, `path`, `header` or `body`, then the names that lead to it.")
    detail: str = Field(description="What is wrong there; never the value itself.")


class Problem(FrozenSchema):
    """Problem details as RFC 9457 defines them."""

    type: str = Field(description="What kind of problem; `about:blank` means no more than the status does.")
    title: str = Field(description="The kind in a few words; the same for every occurrence.")
    status: int = Field(description="The HTTP status, once more.")
    detail: str = Field(description="This occurrence, for people.")
    instance: str = Field(description="The path of the request.")
    errors: tuple[FieldProblem, ...] = Field((), description="The wrong parts of the request, where it is about parts.")


class ProblemError(HTTPException):
    """Raised anywhere below a route to answer with a problem.

    It is an HTTPException, so an app without :func:`use_problem_details` still answers with the right status.
    ``detail`` is for the client's eyes: it never quotes what a caller said or dialled.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        kind: str = BLANK,
        title: str | None = None,
        errors: Sequence[FieldProblem] = (),
        members: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.kind = kind
        self.title = title or phrase(status)
        self.errors = tuple(errors)
        self.members = dict(members or {})
        """Extension members (RFC 9457 §3.2)."""


def phrase(status: int) -> str:
    """Return the status in words."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Status {status}"


def problem_response(path: str, error: ProblemError) -> Response:
    """Return the response that ``error`` stands for, to a request for ``path``, percent-encoded."""
    # ASCII with escapes: half a surrogate pair, which a JSON body can smuggle in, has no UTF-8 form.
    body = json.dumps(problem_content(path, error)).encode("ascii")
    return Response(body, error.status_code, error.headers, PROBLEM_JSON)


def problem_content(path: str, error: ProblemError) -> dict[str, object]:
    """Return the body of that response."""
    content: dict[str, object] = {
        "type": error.kind,
        "title": error.title,
        "status": error.status_code,
        "detail": error.detail,
        "instance": path,
    }
    if error.errors:
        content["errors"] = [problem.model_dump() for problem in error.errors]
    return content | error.members


def invalid_request(problems: Sequence[Mapping[str, Any]]) -> ProblemError:
    """Return the 422 problem of pydantic's errors, without the values it found."""
    errors = [
        FieldProblem(field=_field(problem["loc"]), detail=str(problem["msg"]).removeprefix("Value error, "))
        for problem in _enums_joined(problems)[:MAX_FIELD_PROBLEMS]
    ]
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, _INVALID, errors=errors)


def _enums_joined(problems: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the errors with one for a value that may be of several enumerations; pydantic has one for each of them."""
    permitted: dict[tuple[int | str, ...], dict[str, None]] = {}
    joined: list[Mapping[str, Any]] = []
    for problem in problems:
        *outer, last = problem["loc"]
        if problem.get("type") != "enum" or not str(last).startswith(_ENUM):
            joined.append(problem)
            continue
        values = permitted.setdefault(tuple(outer), {})
        if not values:
            joined.append({"loc": outer, "values": values})
        values.update(dict.fromkeys(_QUOTED.findall(problem["ctx"]["expected"])))
    return [_one_of(problem) if "values" in problem else problem for problem in joined]


def _one_of(problem: Mapping[str, Any]) -> Mapping[str, Any]:
    *others, last = problem["values"]
    return {"loc": problem["loc"], "msg": f"Input should be {', '.join(others)} or {last}"}


def writable(text: str) -> str:
    r"""Return ``text`` with half surrogate pairs spelled out (``\ud800``), which UTF-8 cannot encode."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _field(location: Sequence[int | str]) -> str:
    return writable(".".join(str(part) for part in location)[:MAX_ECHO])
