"""What the OpenAPI document says of errors: not the framework's own shape in plain JSON, but problem details."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel

PROBLEM_JSON = "application/problem+json"
"""The media type of problem details (RFC 9457 §3)."""

_JSON = "application/json"
_FRAMEWORKS_OWN = ("HTTPValidationError", "ValidationError")
_COMPONENT = "#/components/schemas/{model}"

Document = dict[str, Any]


def describe_problems(app: FastAPI, problem: type[BaseModel], *, invalid: Document) -> None:
    """Make the document of ``app`` declare every error answer as problem details of the shape ``problem``.

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
    for answer in _error_answers(document):
        if _is_frameworks_own(answer):
            answer.update(description=invalid["description"], content=deepcopy(invalid["content"]))
        content = answer.setdefault("content", {})
        schema = content.pop(_JSON, {}).get("schema", reference)
        content.setdefault(PROBLEM_JSON, {}).setdefault("schema", schema)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in _FRAMEWORKS_OWN:
        schemas.pop(name, None)
    schemas.update(_components(problem))
    return document


def _with_whole_examples(app: FastAPI, document: Document) -> Document:
    """Give the examples their nulls back: FastAPI leaves every ``None`` out of the document, also out of those."""
    for route in iter_route_contexts(app.routes):
        operations = document.get("paths", {}).get(route.path_format, {})
        for method in {method.lower() for method in route.methods or ()} & operations.keys():
            _restore(operations[method]["responses"], route.responses)
    return document


def _restore(answers: Document, declared: Mapping[int | str, Document]) -> None:
    for status, answer in declared.items():
        for media_type, content in answer.get("content", {}).items():
            whole = {key: content[key] for key in ("example", "examples") if key in content}
            answers[str(status)]["content"][media_type].update(deepcopy(whole))


def _error_answers(document: Document) -> Iterator[Document]:
    for path in document.get("paths", {}).values():
        for operation in path.values():
            for status, answer in operation["responses"].items():
                if status[0] in "45":
                    yield answer


def _is_frameworks_own(answer: Document) -> bool:
    schema = answer.get("content", {}).get(_JSON, {}).get("schema", {})
    return bool(schema.get("$ref", "") == _COMPONENT.format(model=_FRAMEWORKS_OWN[0]))


def _components(model: type[BaseModel]) -> Document:
    schema = model.model_json_schema(ref_template=_COMPONENT, mode="serialization")
    return {**schema.pop("$defs", {}), model.__name__: schema}
