"""The whole service's OpenAPI document: valid, complete, closed, with examples that are what they claim to be."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import validate

from service.app import app_of
from service.container import build_container
from service.http.openapi import OPENAPI_TAGS
from service.settings import Settings
from service.simulator.script import AgentGreets, AgentSpeaks, CallerSpeaks, CallScript
from tests.service.gateway.harness import announcement, fresh_id, running_harness
from tests.support.contract import Contract

Json = dict[str, Any]

WEBHOOK = "/api/v1/openai/webhook"


@pytest.fixture(scope="module")
def module_document(tmp_path_factory: pytest.TempPathFactory) -> Json:
    """The document of a service that has not started."""
    folder = tmp_path_factory.mktemp("document")
    chosen = {
        "app_env": "test",
        "database_url": f"sqlite+aiosqlite:///{folder / 'callscope.db'}",
        "spill_folder": folder / "spill",
    }

    async def made() -> Json:
        container = build_container(Settings.model_validate(chosen))
        try:
            return app_of(container).openapi()
        finally:
            await container.stop()

    return asyncio.run(made())


@pytest.fixture
def document(module_document: Json) -> Json:
    """The same, for one test that reads it."""
    return module_document


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    """Every operation with its name."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def contents(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Every content of every answer, with its name and media type."""
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            for media_type, content in answer.get("content", {}).items():
                yield f"{name} {status}", media_type, content


def examples(content: Json) -> list[Any]:
    """The examples of one content, be there one or several."""
    several = content.get("examples", {})
    return [example["value"] for example in several.values()] or [
        content[key] for key in ("example",) if key in content
    ]


def test_the_document_is_valid(document: Json) -> None:
    """It is OpenAPI by the specification's own schema."""
    validate(document)


def test_every_operation_is_described(document: Json) -> None:
    """Each has a summary, a description, an id of its own and tags that the document explains."""
    assert document["tags"] == OPENAPI_TAGS
    explained = {tag["name"] for tag in OPENAPI_TAGS}
    found = dict(operations(document))
    undescribed = [name for name, operation in found.items() if not (operation["summary"] and operation["description"])]
    assert undescribed == []
    assert len({operation["operationId"] for operation in found.values()}) == len(found)
    assert {tag for operation in found.values() for tag in operation["tags"]} == explained


def test_every_answer_is_closed(document: Json) -> None:
    """No answer can have a field that the document does not know."""
    open_schemas = [
        name
        for name, schema in document["components"]["schemas"].items()
        if schema.get("type") == "object" and schema.get("additionalProperties") is not False
    ]
    assert open_schemas == []


def test_every_answer_has_examples_of_its_schema(document: Json) -> None:
    """Each example passes the schema beside it, no answer lacks one, and errors are problem details of a path alone."""
    missing, checked = [], 0
    for name, media_type, content in contents(document):
        if name[-3] in "45":
            assert media_type == "application/problem+json", name
        missing += [] if examples(content) else [name]
        whole = content["schema"] | {"components": document["components"]}
        for example in examples(content):
            OAS31Validator(whole, format_checker=oas31_format_checker).validate(example)
            assert name[-3] not in "45" or re.fullmatch(r"(/|/(?!.*%3F)[\w/.%-]+)", example["instance"]), example
            checked += 1
    assert missing == []
    assert checked > 100


def test_the_webhooks_request_is_described(document: Json) -> None:
    """Its three signed headers, and a body whose example passes its schema."""
    webhook = document["paths"][WEBHOOK]["post"]
    assert [parameter["name"] for parameter in webhook["parameters"]] == [
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    ]
    content = webhook["requestBody"]["content"]["application/json"]
    OAS31Validator(content["schema"]).validate(content["example"])


async def test_the_webhook_answers_as_declared(document: Json, tmp_path: Path) -> None:
    """Taken, duplicate, ignored, malformed, unsigned, too large and refused: each answer is one of the document's."""
    async with running_harness(tmp_path) as harness:
        answers = [
            await harness.deliver(announcement(), webhook_id="wh_1"),
            await harness.deliver(announcement(), webhook_id="wh_1"),
            await harness.deliver(b'{"type": "response.completed"}'),
            await harness.deliver(b"{}"),
            await harness.client.post(WEBHOOK, content=announcement()),
            await harness.client.post(WEBHOOK, content=b" " * (256 * 1024 + 1)),
        ]
        await harness.container.manager.drain()
        answers.append(await harness.deliver(announcement()))
    assert [answer.status_code for answer in answers] == [200, 200, 200, 400, 401, 413, 503]
    contract = Contract(document)
    for answer in answers:
        contract.check(answer)


LONG = re.compile(r"\d\.\d{7,}")


async def test_no_answer_has_more_decimal_places_than_mean_anything(document: Json, tmp_path: Path) -> None:
    """After real calls, every route that needs no parameter, and every view of a call, answers numbers for people."""
    async with running_harness(tmp_path) as harness:
        call_id = fresh_id()
        script = CallScript("talk", (AgentGreets(AgentSpeaks("Hello")), CallerSpeaks("Hi"), AgentSpeaks("Yes?")))
        await harness.call(script, call_id=call_id)
        await harness.container.records.flush(60)
        await harness.container.sampler.sample()
        plain = [path for path, known in document["paths"].items() if "get" in known and "{" not in path]
        assert len(plain) > 12, plain
        for path in (*plain, f"/api/v1/calls/{call_id}", f"/api/v1/calls/{call_id}/timeline.svg"):
            answer = await harness.client.get(path, params=FILTERED.get(path, {}))
            assert answer.status_code == 200, (path, answer.text)
            assert re.findall(r".{60}\d\.\d{7,}", answer.text) == [], path


FILTERED = {"/api/v1/usage": {"from": "2025-11-01", "to": "2025-12-01"}}
"""Other parameters that a route with a filter by tenant needs."""


async def test_a_filter_by_a_tenant_that_there_is_not_is_answered_404(document: Json, tmp_path: Path) -> None:
    """Every route of the document with such a filter says so; a configured tenant without a call is merely empty."""
    async with running_harness(tmp_path) as harness:
        contract = Contract(document)
        paths = [
            path
            for path, methods in document["paths"].items()
            if any(parameter["name"] == "tenant_id" for parameter in methods.get("get", {}).get("parameters", ()))
            and "{" not in path
        ]
        assert len(paths) >= 4, paths
        for path in paths:
            # Calls of no tenant are nobody's to bill.
            nobodys = 404 if path in FILTERED else 200
            for tenant_id, status in (("nosuch", 404), ("tenant-001", 200), ("_unknown", nobodys)):
                answer = await harness.client.get(path, params=FILTERED.get(path, {}) | {"tenant_id": tenant_id})
                contract.check(answer)
                assert answer.status_code == status, (path, tenant_id, answer.text)
