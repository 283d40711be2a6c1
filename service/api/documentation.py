"""The OpenAPI document, and a page that shows it; both ask nothing of any other origin."""

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, Response

from service.http.openapi import Document
from service.http.parameters import known_parameters
from service.http.responses import NO_STORE, json_response
from service.http.security import AdminCheck

DOCUMENT_PATH: Final = "/openapi.json"
PAGE_PATH: Final = "/docs"

_HEADERS: Final = {
    **NO_STORE,
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_STYLE: Final = """
:root{color-scheme:light dark;--line:light-dark(#d5d9de,#3a4048);--dim:light-dark(#57606a,#9aa4af)}
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
nav ul{columns:3 14rem;padding:0;list-style:none}summary{cursor:pointer;padding:.4rem 0;overflow-wrap:anywhere}
details{border-top:1px solid var(--line)}code,pre{font:14px/1.4 ui-monospace,monospace}
pre{overflow:auto;padding:.6rem;border:1px solid var(--line)}
b.method{display:inline-block;min-width:4.5rem}.dim{color:var(--dim)}
table{border-collapse:collapse}td,th{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top}
"""
_READING: Final = ["GET", "HEAD"]
_METHODS: Final = ("get", "head", "post", "put", "patch", "delete")


def documentation_router(*, admin: AdminCheck | None) -> APIRouter:
    """Return the routes ``/openapi.json`` and ``/docs``; ``admin``, if there is one, decides who may read them."""
    guards = [] if admin is None else [Depends(admin)]
    router = APIRouter(include_in_schema=False, dependencies=[*guards, Depends(known_parameters)])

    @router.api_route(DOCUMENT_PATH, methods=_READING)
    def document(request: Request) -> Response:
        """Show the OpenAPI document."""
        return json_response(request.app.openapi())

    @router.api_route(PAGE_PATH, methods=_READING)
    def page(request: Request) -> Response:
        """Show it for people."""
        return HTMLResponse("".join(_page(request.app.openapi())), headers=_HEADERS)

    return router


def _page(document: Document) -> Iterator[str]:
    info = document["info"]
    title = escape(f"{info['title']} {info['version']}")
    yield '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    yield f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>"
    yield f'<p>{escape(info.get("description", ""))} The same for programs: <a href="{DOCUMENT_PATH}">OpenAPI</a>.</p>'
    tagged = _by_tag(document)
    yield "<nav><ul>" + "".join(f'<li><a href="#{escape(tag)}">{escape(tag)}</a>' for tag in tagged) + "</ul></nav>"
    about = {tag["name"]: tag.get("description", "") for tag in document.get("tags", ())}
    for tag, operations in tagged.items():
        yield f'<h2 id="{escape(tag)}">{escape(tag)}</h2><p>{escape(about.get(tag, ""))}</p>'
        for method, path, operation in operations:
            yield from _operation(method, path, operation)


def _by_tag(document: Document) -> dict[str, list[tuple[str, str, Document]]]:
    tagged: dict[str, list[tuple[str, str, Document]]] = {}
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                for tag in operations[method].get("tags", ["other"]):
                    tagged.setdefault(tag, []).append((method, path, operations[method]))
    return tagged


def _operation(method: str, path: str, operation: Document) -> Iterator[str]:
    yield f'<details id="{escape(operation["operationId"])}"><summary><b class="method">{method.upper()}</b>'
    yield f'<code>{escape(path)}</code> <span class="dim">{escape(operation.get("summary", ""))}</span></summary>'
    yield "".join(f"<p>{escape(text)}</p>" for text in operation.get("description", "").split("\n\n"))
    if operation.get("security"):
        yield '<p class="dim">Needs an admin token.</p>'
    yield from _parameters(operation.get("parameters", ()))
    if "requestBody" in operation:
        yield f"<h3>Body</h3><p>{escape(operation['requestBody'].get('description', ''))}</p>"
        yield from _examples(operation["requestBody"].get("content", {}))
    yield "<h3>Responses</h3>"
    for status, response in operation["responses"].items():
        yield f"<p><b>{escape(status)}</b> {escape(response.get('description', ''))}</p>"
        if status.startswith("2"):
            yield from _examples(response.get("content", {}))
    yield "</details>"


def _parameters(parameters: Sequence[Document]) -> Iterator[str]:
    if not parameters:
        return
    yield "<h3>Parameters</h3><table><tr><th>Name<th>In<th>Meaning"
    for one in parameters:
        needed = " (required)" if one.get("required") else ""
        meaning = one.get("description") or one.get("schema", {}).get("description", "")
        yield f"<tr><td><code>{escape(one['name'])}</code><td>{escape(one['in'])}{needed}<td>{escape(meaning)}"
    yield "</table>"


def _examples(content: Mapping[str, Any]) -> Iterator[str]:
    for media_type, described in content.items():
        several = described.get("examples") or {"": {"value": described.get("example")}}
        for example in several.values():
            value = example["value"]
            shown = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
            if value is not None:
                yield f'<p class="dim">{escape(media_type)} {escape(example.get("summary", ""))}</p>'
                yield f"<pre>{escape(shown)}</pre>"
