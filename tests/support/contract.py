"""Holds real answers against what an OpenAPI document declares of them."""

import re
from collections.abc import Mapping
from typing import Any, Final, Self

import httpx2
from fastapi import FastAPI
from openapi_schema_validator import OAS31Validator, oas31_format_checker

PROBLEM = "#/components/schemas/Problem"

Json = dict[str, Any]


_documents: Final[dict[str, Json]] = {}


class Contract:
    """The document of one app; :meth:`check` is fit to be a client's response hook."""

    @classmethod
    def of(cls, kind: str, app: FastAPI) -> Self:
        """Return the contract of an app whose routes are those of every app of its kind: they share a document.

        To make one takes 0.3 s.
        """
        if kind not in _documents:
            _documents[kind] = app.openapi()
        return cls(_documents[kind])

    def __init__(self, document: Json) -> None:
        self._document = document
        self._paths = [(_pattern(template), operations) for template, operations in document["paths"].items()]
        self.checked = 0

    def check(self, response: httpx2.Response) -> None:
        """Fail unless status, content type, headers and body are what the document declares for this request."""
        response.read()
        declared = self._answer(response)
        if "content" not in declared:
            assert response.content == b"", f"{_request(response)} answered a body where none is declared"
        else:
            self._check_content(response, declared)
        for name, header in declared.get("headers", {}).items():
            if name not in response.headers and header.get("required") is False:
                continue
            self._valid(header["schema"], response.headers[name], f"{_request(response)}, header {name}")
        self.checked += 1

    def _check_content(self, response: httpx2.Response, declared: Json) -> None:
        media_type = response.headers["content-type"]
        assert media_type in declared["content"], f"{_request(response)} answered {media_type}, declared: {declared}"
        body = response.json() if media_type.endswith("json") else response.text
        self._valid(declared["content"][media_type]["schema"], body, _request(response))

    def _answer(self, response: httpx2.Response) -> Json:
        operations = self._operations(response.request.url.raw_path.decode().partition("?")[0])
        operation = operations.get(response.request.method.lower())
        if operation is None:
            # What the router answers by itself is no operation's; it must be a problem all the same.
            assert response.status_code in {404, 405}
            return {"content": {"application/problem+json": {"schema": {"$ref": PROBLEM}}}}
        declared: Mapping[str, Json] = operation["responses"]
        assert str(response.status_code) in declared, f"{_request(response)} answered {response.status_code}"
        return declared[str(response.status_code)]

    def _operations(self, path: str) -> Json:
        return next((operations for pattern, operations in self._paths if pattern.fullmatch(path)), {})

    def _valid(self, schema: Json, value: object, what: str) -> None:
        whole = schema | {"components": self._document["components"]}
        errors = list(OAS31Validator(whole, format_checker=oas31_format_checker).iter_errors(value))
        assert not errors, f"{what}: {errors[0].message} at {list(errors[0].absolute_path)}"


def _pattern(template: str) -> re.Pattern[str]:
    literals = re.split(r"\{[^}]+\}", template)
    return re.compile("[^/]+".join(re.escape(literal) for literal in literals), re.DOTALL)


def _request(response: httpx2.Response) -> str:
    return f"{response.request.method} {response.request.url.path}"
