"""Templates, filled in with every text escaped, and how numbers, times and what is unknown are written."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from service.page.verdicts import counted, percent
from service.page.words import TROUBLES, outcome_words, state_words, words
from service.timeline.explain import as_tool, span_of_time, tool_error
from service.timeline.svg import undirected

FOLDER: Final = Path(__file__).parent
STATIC: Final = FOLDER / "static"

VERSIONS: Final = {path.name: sha256(path.read_bytes()).hexdigest()[:12] for path in sorted(STATIC.iterdir())}
"""The files of the pages with a version that changes with their content."""
UNKNOWN: Final = "not known"
_ISOLATES: Final = re.compile("[\u2066-\u2069]")


def unknown(reason: str = UNKNOWN) -> Markup:
    """Return the dash that stands for what is not known, with the reason for those who point at it or listen."""
    return Markup('<span class="unknown" title="{0}">&ndash;<span class="hidden"> ({0})</span></span>').format(reason)


def number(value: float | None, reason: str = UNKNOWN) -> Markup | str:
    """Return a count with its thousands apart, or a measure with one decimal place."""
    if value is None:
        return unknown(reason)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def share(value: float | None, reason: str = UNKNOWN) -> Markup | str:
    """Return a share as percent."""
    return unknown(reason) if value is None else percent(value)


def seconds(value: float | None, reason: str = UNKNOWN) -> Markup | str:
    """Return a duration as people say it."""
    return unknown(reason) if value is None else span_of_time(value)


def clock(value: float) -> str:
    """Return a duration that grows, in a form whose width does not jump: ``0:07``, ``12:34``, ``1:02:03``."""
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def when(value: datetime | None, reason: str = UNKNOWN) -> Markup:
    """Return a moment in UTC; where there is script, the browser's own zone takes its place."""
    if value is None:
        return unknown(reason)
    at = value.astimezone(UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(
        at.isoformat(timespec="milliseconds").replace("+00:00", "Z"), at.strftime("%Y-%m-%d %H:%M:%S")
    )


def plain(value: object) -> str:
    """Return a value of the audit as people write it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {plain(one)}" for name, one in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "none"
    words = {None: "not set", True: "yes", False: "no"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def apart(value: object) -> Markup:
    """Return a name from outside whose direction of writing is its own affair (HTML ``bdi``).

    Isolates are spelled out: one that closes more than the name opened would end the element's own.
    """
    return Markup("<bdi>{}</bdi>").format(_ISOLATES.sub(lambda mark: undirected(mark[0]), str(value)))


def static(name: str) -> str:
    """Return the address of a file of the pages, which never has another content."""
    return f"/static/{name}?v={VERSIONS[name]}"


def call_page(call_id: str) -> str:
    """Return the path of a call's page."""
    return f"/calls/{quote(call_id, safe='')}"


def tenant_page(tenant_id: str) -> str:
    """Return the path of a tenant's page."""
    return f"/tenants/{quote(tenant_id, safe='')}"


def with_query(path: str, given: Mapping[str, object], **changed: object) -> str:
    """Return a path with a query, some of it changed; what is None or empty is left out."""
    wanted = {name: value for name, value in {**given, **changed}.items() if value not in (None, "")}
    return f"{path}?{urlencode(wanted)}" if wanted else path


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(
        number=number,
        share=share,
        seconds=seconds,
        clock=clock,
        when=when,
        plain=plain,
        apart=apart,
        undirected=undirected,
        as_tool=as_tool,
        tool_error=tool_error,
        counted=counted,
        initial=lambda text: text[:1].upper() + text[1:],
        words=words,
        state_words=state_words,
        call_page=call_page,
        tenant_page=tenant_page,
    )
    environment.globals.update(unknown=unknown, with_query=with_query, static=static)
    environment.globals.update(outcome_words=outcome_words, troubles=TROUBLES)
    return environment


_TEMPLATES: Final = _environment()


def render(template: str, **facts: Any) -> Markup:  # noqa: ANN401 -- what templates show
    """Return a template filled in; every text is escaped that is not :class:`Markup`."""
    return Markup(_TEMPLATES.get_template(template).render(**facts))  # noqa: S704 -- the template has escaped it


__all__ = ["Markup", "escape", "render"]
