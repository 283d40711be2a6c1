"""What a browser does at the page, without one: signing in, forms, and reading what a page shows."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from html.parser import HTMLParser
from typing import Any, Final

import httpx2

from tests.service.gateway.harness import GatewayHarness
from tests.support.server import TLS

TOKENS: Final = {
    "all": "token-of-the-tests",
    "reads all": "token-that-reads;read",
    "one": "token-of-one;tenants=tenant-001",
    "reads one": "token-that-reads-one;read;tenants=tenant-001",
    "both": "token-of-both;tenants=tenant-001|tenant-002",
}
"""A token of each kind, as ``ADMIN_TOKEN`` has it."""

SAME: Final = {"Sec-Fetch-Site": "same-origin"}
"""What a browser says of a form on a page of the service."""

SignedIn = Callable[[str], AbstractAsyncContextManager[httpx2.AsyncClient]]


def secret(role: str) -> str:
    """The token without its attributes."""
    return TOKENS[role].partition(";")[0]


@asynccontextmanager
async def signed_in(harness: GatewayHarness, role: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with the session of a token, which is all it has."""
    async with httpx2.AsyncClient(verify=TLS, base_url=harness.client.base_url, timeout=60, headers=SAME) as client:
        answer = await client.post("/sign-in", data={"token": secret(role)})
        assert answer.status_code == 303, answer.text
        yield client


async def shown(client: httpx2.AsyncClient, path: str) -> "Page":
    """A page that is there."""
    answer = await client.get(path)
    assert answer.status_code == 200, (path, answer.status_code, answer.text)
    return Page.of(answer.text)


class Page(HTMLParser):
    """What a page says: texts by the element they are in, elements with their attributes."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[dict[str, Any]] = []
        self.blocks: list[dict[str, Any]] = []

    @classmethod
    def of(cls, html: str) -> "Page":
        page = cls()
        page.feed(html)
        page.close()
        return page

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._begin(tag, attrs)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        block = self._begin(tag, attrs)
        if tag not in {"meta", "link", "img", "input", "br"}:
            self._open.append(block)

    def _begin(self, tag: str, attrs: list[tuple[str, str | None]]) -> dict[str, Any]:
        if tag in {"div", "dt", "dd", "td", "th", "tr", "p", "li", "h1", "h2", "section"}:
            self.handle_data(" ")
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        block = {"tag": tag, "attributes": attributes, "text": "", "own": ""}
        self.blocks.append(block)
        return block

    def handle_endtag(self, tag: str) -> None:
        while self._open:
            if self._open.pop()["tag"] == tag:
                return

    def handle_data(self, data: str) -> None:
        for block in self._open:
            block["text"] += data
        if self._open:
            self._open[-1]["own"] += data

    def text(self, **attributes: str) -> str:
        """The text of the first element with these attributes, its blanks as one."""
        wanted = {name.strip("_").replace("_", "-"): value for name, value in attributes.items()}
        for block in self.blocks:
            if wanted.items() <= block["attributes"].items():
                return " ".join(block["text"].split())
        raise AssertionError(f"no element has {wanted}")

    def texts(self, tag: str, within: str) -> list[str]:
        """The texts of the elements of a kind in the element with an id."""
        first = next(i for i, block in enumerate(self.blocks) if block["attributes"].get("id") == within)
        inside = self.blocks[first]["text"]
        found = [" ".join(block["text"].split()) for block in self.blocks[first:] if block["tag"] == tag]
        return [text for text in found if text in " ".join(inside.split())]

    def links(self) -> list[str]:
        """Every address the page leads to."""
        return [attributes["href"] or "" for tag, attributes in self.elements if tag == "a" and "href" in attributes]


async def frames(client: httpx2.AsyncClient, path: str) -> AsyncGenerator[dict[str, str]]:
    """The frames of a stream, each as the parts that it brings."""
    async with client.stream("GET", path) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))
