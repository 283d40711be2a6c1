"""Entity tags and conditional requests (RFC 9110 §8.8.3 and §13)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self

from fastapi import Header, Request

from service.http.problems import ProblemError, invalid_request

IF_MATCH = "If-Match"
IF_NONE_MATCH = "If-None-Match"

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rf"\s*{_TAG}\s*(?:,\s*{_TAG}\s*)*")
_ONE = re.compile(_TAG)


def tag_of(version: int) -> str:
    """Return the entity tag of a tenant at this version, and of everything below it."""
    return f'"{version}"'


def list_tag(revision: int) -> str:
    """Return the entity tag of a list of tenants, or of changes, as of this revision of all of them."""
    return f'"r{revision}"'


@dataclass(frozen=True, slots=True)
class EntityTags:
    """Tags as a client lists them, or ``*``."""

    anything: bool
    """``*``: whatever there is."""
    tags: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, lines: Sequence[str]) -> Self:
        """Parse a header that may be sent in several lines; raise :class:`ValueError` if it is none."""
        text = ",".join(lines)
        if text.strip() == "*":
            return cls(anything=True)
        if not _TAGS.fullmatch(text):
            raise ValueError('must be * or entity tags in quotes, such as "17"')
        return cls(anything=False, tags=frozenset(_ONE.findall(text)))

    def name_strongly(self, tag: str) -> bool:
        """Return True if this very version is among them (RFC 9110 §8.8.3.2): a weak tag names none."""
        return self.anything or tag in self.tags

    def name_weakly(self, tag: str) -> bool:
        """Return True if the version is among them, weak or not."""
        return self.name_strongly(tag) or f"W/{tag}" in self.tags


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of a request; ``None``: none of this kind."""

    if_match: EntityTags | None
    if_none_match: EntityTags | None

    def allow(self, tag: str | None) -> bool:
        """Return True if what is at ``tag`` (``None``: nothing is there) may be changed."""
        if tag is None:
            return self.if_match is None
        matched = self.if_match is None or self.if_match.name_strongly(tag)
        return matched and not (self.if_none_match is not None and self.if_none_match.name_weakly(tag))

    def known(self, tag: str) -> bool:
        """Return True if the reader has what is at ``tag`` already."""
        return self.if_none_match is not None and self.if_none_match.name_weakly(tag)


_IfMatch = Annotated[
    str | None,
    Header(
        alias=IF_MATCH,
        description="The `ETag` of what the change is based on, needed to change what exists; `*`: whatever there is.",
        examples=['"17"'],
    ),
]
_IfNoneMatch = Annotated[
    str | None,
    Header(
        alias=IF_NONE_MATCH,
        description="`*`: only create, and refuse if there is one.",
        examples=["*"],
    ),
]
_Known = Annotated[
    str | None,
    Header(
        alias=IF_NONE_MATCH,
        description="The `ETag` of what is known already; the response is 304 if it still holds.",
        examples=['"17"'],
    ),
]
# A header is one text to the document, and may come in several lines (RFC 9110 §5.3), of which FastAPI takes the last.


def conditions(request: Request, if_match: _IfMatch = None, if_none_match: _IfNoneMatch = None) -> Conditions:  # noqa: ARG001 -- for the document
    """Return the conditions of a request that changes something. A FastAPI dependency."""
    return Conditions(_parsed(request, IF_MATCH), _parsed(request, IF_NONE_MATCH))


def known(request: Request, if_none_match: _Known = None) -> Conditions:  # noqa: ARG001 -- for the document
    """Return the conditions of a request that reads. A FastAPI dependency."""
    return Conditions(None, _parsed(request, IF_NONE_MATCH))


def wrong_header(name: str, problem: str) -> ProblemError:
    """Return the 422 problem that names a header."""
    return invalid_request([{"loc": ("header", name), "msg": problem}])


def _parsed(request: Request, name: str) -> EntityTags | None:
    lines = request.headers.getlist(name)
    if not lines:
        return None
    try:
        return EntityTags.parse(lines)
    except ValueError as error:
        raise wrong_header(name, str(error)) from None
