"""The OpenAPI document: valid, complete, and with examples that are what they claim to be."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import validate

from service.http.openapi import OPENAPI_TAGS

Json = dict[str, Any]


@pytest.fixture
def document(app: FastAPI) -> Json:
    return app.openapi()


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    """Every operation with its name."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def answers(document: Json) -> Iterator[tuple[str, Json]]:
    """Every answer of every operation, with its name."""
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            yield f"{name} {status}", answer


def test_the_document_is_valid(document: Json) -> None:
    """It is OpenAPI by the specification's own schema."""
    validate(document)


def test_every_operation_is_described(document: Json) -> None:
    """Each has a summary, a description, an id of its own and a tag that is explained."""
    explained = {tag["name"] for tag in OPENAPI_TAGS}
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert len(ids) == len(set(ids)) == 17
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert set(operation["tags"]) <= explained, name


def test_every_field_an_answer_can_have_is_in_a_closed_schema(document: Json) -> None:
    """No answer can have a field that the document does not know."""
    open_schemas = [
        name
        for name, schema in document["components"]["schemas"].items()
        if schema["type"] == "object" and schema.get("additionalProperties") is not False
    ]
    assert open_schemas == []


def test_admin_operations_declare_how_they_refuse(document: Json) -> None:
    """Whatever needs a token declares 401 and 503; what names a tenant declares that there may be none."""
    for name, operation in operations(document):
        if operation.get("security"):
            assert {"401", "503"} <= operation["responses"].keys(), name
        if "tenant_id" in name:
            assert {"404", "422"} <= operation["responses"].keys(), name


def test_every_answer_has_one_media_type_and_an_example_of_its_schema(document: Json) -> None:
    """Success is JSON, an error is problem details, and each example passes the schema beside it."""
    checked = 0
    for name, answer in answers(document):
        if name.startswith("HEAD "):
            assert "content" not in answer, name
            continue
        ((media_type, content),) = answer["content"].items()
        success = "image/svg+xml" if "timeline.svg" in name else "application/json"
        assert media_type == (success if name.endswith(" 200") else "application/problem+json"), name
        whole = content["schema"] | {"components": document["components"]}
        for example in examples(content):
            OAS31Validator(whole, format_checker=oas31_format_checker).validate(example)
            checked += 1
    assert checked > 50


def examples(content: Json) -> list[Any]:
    """The examples of one answer, be there one or several."""
    several = content.get("examples", {})
    return [example["value"] for example in several.values()] or [content["example"]]


def test_the_numbers_headers_are_declared(document: Json) -> None:
    """Every answer with numbers declares what they cover and how old they are."""
    for name, operation in operations(document):
        if "/metrics/" in name:
            declared = operation["responses"]["200"]["headers"]
            assert {f"X-Metrics-{said}" for said in ("Scope", "Age-Ms", "Processes", "Since")} <= declared.keys(), name
