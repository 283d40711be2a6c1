"""A page as a whole: its fragments between a head and a foot."""

from collections.abc import Mapping

from fastapi import Request
from starlette.responses import HTMLResponse, Response

from service.http.paths import sent_path
from service.page.rendering import Markup, render
from service.page.viewing import View

PAUSED = "paused"
"""The parameter of a page that holds still."""


def stream_path(request: Request) -> str:
    """Return the path of the stream of a page's changes, with the page's query."""
    path = "/live" + sent_path(request.scope).rstrip("/")
    return f"{path}?{request.url.query}" if request.url.query else path


def whole_page(  # noqa: D417 -- further facts are the template's
    request: Request,
    template: str,
    view: View,
    fragments: Mapping[str, str],
    *,
    title: str,
    stream: str | None = None,
    **facts: object,
) -> Response:
    """Return a page from its fragments.

    Args:
        request: What asked for it; its query says whether the page holds still.
        template: The page's template.
        view: The page.
        fragments: Its parts, as HTML.
        title: Its title.
        stream: Path of the stream of its changes; None if there is none.
    """
    body = render(
        template,
        f={name: Markup(html) for name, html in fragments.items()},
        title=title,
        view=view,
        path=sent_path(request.scope),
        query=dict(request.query_params),
        stream=stream,
        paused=PAUSED in request.query_params,
        **facts,
    )
    return HTMLResponse(body)
