"""Declarations of responses for the OpenAPI document."""

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote

import fastapi.routing
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel

from service.http.problems import PROBLEM_JSON, ProblemError, invalid_request, problem_content

JSON: Final = "application/json"
Document = dict[str, Any]
Responses = dict[int | str, Document]
"""Responses by status, as FastAPI's ``responses`` takes them."""


class Tag(StrEnum):
    """The groups the endpoints are documented in."""

    METRICS = "metrics"
    CALLS = "calls"
    CARRIER = "carrier"
    HEALTH = "health"
    USAGE = "usage"
    TENANTS = "tenants"


OPENAPI_TAGS: Final = [
    {"name": Tag.METRICS.value, "description": "What has been counted, and the registry of calls behind it."},
    {"name": Tag.CALLS.value, "description": "The calls under way and over: listed, found, and each by itself."},
    {"name": Tag.CARRIER.value, "description": "Where the carrier announces calls; signed, without a token."},
    {"name": Tag.USAGE.value, "description": "How long calls ran, for billing: exact, rounded, frozen and corrected."},
    {
        "name": Tag.TENANTS.value,
        "description": "Who may be called: numbers, limits, instructions, features; and who changed what.",
    },
    {"name": Tag.HEALTH.value, "description": "Whether the service is there, alive and ready; public."},
]
"""The value of FastAPI's argument ``openapi_tags``."""

_INVALID = "HTTPValidationError"
_FRAMEWORKS_OWN = frozenset({_INVALID, "ValidationError"})
_COMPONENT = "#/components/schemas/{model}"


def success(model: type[BaseModel], description: str, example: object, headers: object = None) -> Document:
    """Declare a response of the schema ``model``."""
    declaration = {"model": model, "description": description, "content": {JSON: {"example": example}}}
    return declaration | ({"headers": headers} if headers else {})


def header(description: str, example: str, **schema: object) -> Document:
    """Declare a header of a response."""
    return {"description": description, "required": True, "schema": {"type": "string", **schema}, "example": example}


def declared(
    error: ProblemError, description: str, instance: str, *, headers: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """Declare an error response for the OpenAPI document, with ``error`` as its example.

    ``instance`` is the address that was asked for, of which a problem names the path alone.
    Its schema is the same for all, and :func:`describe_problems` adds it: to state it here would have FastAPI make a
    validator of it for every response of every route: an eighth of the time it takes to build the application.
    """
    content = {PROBLEM_JSON: {"example": problem_content(quote(instance.partition("?")[0]), error)}}
    return {"description": description, "content": content, "headers": dict(headers or {})}


def declared_invalid(instance: str, field: str, detail: str) -> dict[str, Any]:
    """Declare the response to a request whose parts are not what they should be, with an example of it."""
    error = invalid_request([{"loc": field.split("."), "msg": detail}])
    return declared(error, "A part of the request is not what it should be.", instance)


def describe_problems(app: FastAPI, problem: type[BaseModel], *, invalid: Document) -> None:
    """Make the document of ``app`` declare every error response as problem details of the schema ``problem``.

    ``invalid`` is what it says of requests that fail validation where a route does not say so itself.
    """
    generate = app.openapi

    def openapi() -> Document:
        if app.openapi_schema is None:
            app.openapi_schema = _with_whole_examples(app, _with_problems(generate(), problem, invalid))
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # the documented way of changing it


def _with_problems(document: Document, problem: type[BaseModel], invalid: Document) -> Document:
    reference = {"$ref": _COMPONENT.format(model=problem.__name__)}
    for response in _error_responses(document):
        if _is_frameworks_own(response):
            response.update(description=invalid["description"], content=deepcopy(invalid["content"]))
        content = response.setdefault("content", {})
        schema = content.pop(JSON, {}).get("schema", reference)
        content.setdefault(PROBLEM_JSON, {}).setdefault("schema", schema)
    components = document.setdefault("components", {})
    schemas = components.get("schemas", {}) | _components(problem)
    components["schemas"] = {name: schemas[name] for name in sorted(schemas.keys() - _FRAMEWORKS_OWN)}
    return document


def _with_whole_examples(app: FastAPI, document: Document) -> Document:
    """Give the examples their nulls back: FastAPI leaves every ``None`` out of the document, also out of those."""
    for route in _routes(app):
        operations = document.get("paths", {}).get(route.path_format, {})
        for method in {method.lower() for method in route.methods or ()} & operations.keys():
            _restore(operations[method]["responses"], route.responses)
    return document


def _routes(app: FastAPI) -> Iterable[Any]:
    """Return every route with its whole path; newer versions of FastAPI keep included routers apart."""
    contexts = getattr(fastapi.routing, "iter_route_contexts", None)
    return contexts(app.routes) if contexts else (route for route in app.routes if isinstance(route, APIRoute))


def _restore(responses: Document, declared: Mapping[int | str, Document]) -> None:
    for status, response in declared.items():
        for media_type, content in response.get("content", {}).items():
            whole = {key: content[key] for key in ("example", "examples") if key in content}
            if not whole:
                continue  # older versions of FastAPI note the media types that they derive in the declaration itself
            declared_content = responses[str(status)].setdefault("content", {})
            declared_content.setdefault(media_type, {}).update(deepcopy(whole))


def _error_responses(document: Document) -> Iterator[Document]:
    for path in document.get("paths", {}).values():
        for method, operation in path.items():
            if method == "head":
                continue  # its responses have no bodies (RFC 9110 §9.3.2)
            for status, response in operation["responses"].items():
                if status[0] in "45":
                    yield response


def _is_frameworks_own(response: Document) -> bool:
    schema = response.get("content", {}).get(JSON, {}).get("schema", {})
    return bool(schema.get("$ref", "") == _COMPONENT.format(model=_INVALID))


def _components(model: type[BaseModel]) -> Document:
    schema = model.model_json_schema(ref_template=_COMPONENT, mode="serialization")
    return {**schema.pop("$defs", {}), model.__name__: schema}
