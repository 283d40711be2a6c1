"""The OpenAPI document of the tenants' endpoints: valid, complete, and with examples that are what they claim to be."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import validate

from service.api.tenants import schemas as tenants_schemas
from service.http.openapi import OPENAPI_TAGS, Tag
from service.tenants.spec import TenantSpec, checked_spec
from tests.service.api.tenants.harness import TenantsHarness

pytestmark = pytest.mark.xdist_group("document")  # they share what takes seconds to make

Json = dict[str, Any]


@pytest.fixture(scope="module")
def document(migrated_file: str) -> Json:
    app: FastAPI = TenantsHarness(f"sqlite+aiosqlite:///{migrated_file}").app
    return app.openapi()


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    """Every operation with its name."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_the_document_is_valid(document: Json) -> None:
    """It is OpenAPI by the specification's own schema."""
    validate(document)


def test_every_operation_is_described(document: Json) -> None:
    """Each has a summary, a description, an id of its own, and the tag that is explained."""
    assert Tag.TENANTS in {tag["name"] for tag in OPENAPI_TAGS}
    found = dict(operations(document))
    assert len({operation["operationId"] for operation in found.values()}) == len(found) == 17
    for name, operation in found.items():
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"] == [Tag.TENANTS], name


def test_parameters_are_described(document: Json) -> None:
    """Every parameter says what it means; every operation that changes something takes the conditions and the actor."""
    for name, operation in operations(document):
        parameters = {parameter["name"]: parameter for parameter in operation["parameters"]}
        for parameter in parameters.values():
            assert parameter["description"], (name, parameter["name"])
        headers = {key for key, parameter in parameters.items() if parameter["in"] == "header"}
        expected = {"If-None-Match"} if name.startswith("GET") else {"If-Match", "If-None-Match", "X-Admin-Actor"}
        assert headers == expected, name


def test_every_answer_is_declared(document: Json) -> None:
    """Refusals that any request may meet, those of changes, those of bodies, and the version on every success."""
    for name, operation in operations(document):
        declared = operation["responses"].keys()
        assert {"401", "422", "503"} <= declared, name
        if name.startswith("GET"):
            assert "304" in declared, name
        else:
            assert {"404", "412", "428"} <= declared, name
        assert ({"413", "415"} <= declared) == ("requestBody" in operation), name
        for status, answer in operation["responses"].items():
            if status in {"200", "201", "304"}:
                assert "ETag" in answer["headers"], (name, status)


def test_examples_pass_the_schemas_beside_them(document: Json) -> None:
    """Of answers and of bodies alike."""
    checked = 0
    for _, operation in operations(document):
        described = [*operation["responses"].values(), operation.get("requestBody", {})]
        for content in (content for part in described for content in part.get("content", {}).values()):
            whole = content["schema"] | {"components": document["components"]}
            OAS31Validator(whole, format_checker=oas31_format_checker).validate(content["example"])
            checked += 1
    assert checked > 100


def test_every_schema_is_closed(document: Json) -> None:
    """No answer can have a field that the document does not know."""
    for name, schema in document["components"]["schemas"].items():
        assert schema["type"] != "object" or schema.get("additionalProperties") is False, name


def test_the_documented_fields_are_those_of_a_tenant() -> None:
    """What is documented of statements and answers are the fields that are checked, and those that are shown."""
    fields = list(TenantSpec.model_fields)
    assert sorted(tenants_schemas.TenantStatement.model_fields) == sorted(fields)
    assert sorted(tenants_schemas.TenantEntry.model_fields) == sorted(fields)


def test_the_example_is_a_tenant() -> None:
    """The documented example can be stated, and is shown as it is."""
    example = tenants_schemas.ENTRY
    spec = checked_spec(example["tenant_id"], {k: v for k, v in example.items() if k != "tenant_id"})
    assert spec.stated() | {"tenant_id": "acme"} == example | {"numbers": tuple(example["numbers"])}
