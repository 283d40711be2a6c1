"""Changes made from a page, each asked twice: a page says what will happen, and its form does it."""

import re
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from service.api.call_detail import PICTURE_HEADERS, SVG
from service.api.hang_up import NOT_RUNNING, HangUps
from service.api.live import TenantInPath
from service.api.tenants.changes import TenantChanges
from service.api.tenants.conditions import Conditions, EntityTags
from service.http.access import forbidden
from service.http.problems import ProblemError, invalid_request
from service.page.guard import CurrentSession, page_router
from service.page.rendering import call_page, tenant_page
from service.page.routes import NOT_THIS_TENANT
from service.page.sessions import PageSession, PageSessions
from service.page.sign_in import form_of
from service.page.viewing import PageName, View
from service.page.views import Pages
from service.page.whole import whole_page
from service.tenants.fields import MAX_LIMIT
from service.tenants.spec import checked_spec
from service.tenants.tenant import Tenant
from service.timeline.detail import CallDetail
from service.timeline.svg import render_svg
from service.timeline.timeline import waterfall

_WHOLE: Final = re.compile(r"[0-9]{1,9}")


def actions_router(*, pages: Pages, sessions: PageSessions, changes: TenantChanges, hang_ups: HangUps) -> APIRouter:
    """Return the routes of changes, behind the sign-in."""
    router = APIRouter()
    router.include_router(_calls(pages, sessions, hang_ups))
    router.include_router(_limits(pages, sessions, changes))
    return router


def actor_of(session: PageSession) -> str:
    """Return who is behind a session, as the audit has it: by the fingerprint of the token."""
    return f"page#{session.mark}"


def _calls(pages: Pages, sessions: PageSessions, hang_ups: HangUps) -> APIRouter:
    router = page_router(sessions)
    lookup = pages.facts.parts.lookup

    def drawn(call: CallDetail) -> Response:
        return Response(render_svg(waterfall(call)).encode(), headers=PICTURE_HEADERS, media_type=SVG)

    @router.get("/calls/{call_id:path}/timeline.svg")
    async def timeline(session: CurrentSession, call_id: str) -> Response:
        """Show the picture of a call by itself, to keep."""
        return await lookup.responded(call_id, session.token.access, drawn)

    @router.get("/calls/{call_id:path}/hang-up")
    async def ask(request: Request, session: CurrentSession, call_id: str) -> Response:
        """Ask whether to hang up."""
        access = session.token.access
        if access.read_only:
            raise forbidden("The token you signed in with only reads.")
        call = await lookup.detail(call_id, access)
        if call.outcome is not None:
            raise ProblemError(HTTPStatus.CONFLICT, NOT_RUNNING)
        view = View(PageName.CALL, access, call_id)
        return whole_page(
            request,
            "confirm.html",
            view,
            {"strip": await pages.strip(view)},
            title="Hang up",
            question="Hang up this call?",
            consequence=f"Call {call_id} of {call.tenant_id}. {call.explanation} The carrier ends it at once, for "
            "caller and agent. The audit keeps that you did it.",
            act="Hang up",
            back=call_page(call_id),
            danger=True,
            field=None,
            hidden={},
            problem=None,
        )

    @router.post("/calls/{call_id:path}/hang-up")
    async def hang_up(session: CurrentSession, call_id: str) -> Response:
        """Hang up."""
        await hang_ups.hang_up(call_id, session.token.access, actor_of(session))
        pages.records.forget()
        return RedirectResponse(call_page(call_id), HTTPStatus.SEE_OTHER)

    return router


def _limits(pages: Pages, sessions: PageSessions, changes: TenantChanges) -> APIRouter:
    router = page_router(sessions)

    async def asked(
        request: Request, session: PageSession, tenant: Tenant, value: str, problem: str | None = None
    ) -> Response:
        view = View(PageName.TENANT, session.token.access, tenant.tenant_id)
        return _limit_page(request, view, await pages.strip(view), tenant, value, problem)

    @router.get("/tenants/{tenant_id}/limit")
    async def ask(request: Request, session: CurrentSession, tenant_id: TenantInPath) -> Response:
        """Ask what the limit should be."""
        _demand(session, tenant_id)
        tenant = await changes.found(tenant_id)
        own = tenant.max_concurrent_calls
        return await asked(request, session, tenant, "" if own is None else str(own))

    @router.post("/tenants/{tenant_id}/limit")
    async def change(request: Request, session: CurrentSession, tenant_id: TenantInPath) -> Response:
        """Change it, unless somebody has changed the tenant since it was shown."""
        _demand(session, tenant_id)
        form = await form_of(request)
        missing = [name for name in ("limit", "version") if name not in form]
        if missing:
            # An empty limit means the general one, so that a form that lost its field must not pass for it.
            raise invalid_request([{"loc": ("body", name), "msg": "is missing"} for name in missing])
        given = form["limit"].strip()
        tenant = await changes.found(tenant_id)  # first, as an id may be one that no tenant can have
        if given and (not _WHOLE.fullmatch(given) or int(given) > MAX_LIMIT):
            problem = f"The limit must be a whole number from 0 to {MAX_LIMIT:,}, or empty."
            return await asked(request, session, tenant, given, problem)
        spec = checked_spec(tenant_id, {"max_concurrent_calls": int(given) if given else None})
        based_on = Conditions(EntityTags(anything=False, tags=frozenset({f'"{form["version"]}"'})), None)

        async def made(before: Tenant) -> Tenant:
            return await changes.tenants.change(spec, actor=actor_of(session), expected_version=before.version)

        try:
            await changes.change(tenant_id, based_on, made)
        except ProblemError as error:
            if error.status_code != HTTPStatus.PRECONDITION_FAILED:
                raise
            problem = "Somebody has changed this tenant meanwhile. Look again, then change it."
            return await asked(request, session, await changes.found(tenant_id), given, problem)
        pages.records.forget()
        return RedirectResponse(tenant_page(tenant_id), HTTPStatus.SEE_OTHER)

    return router


def _demand(session: PageSession, tenant_id: str) -> None:
    if session.token.access.read_only:
        raise forbidden("The token you signed in with only reads.")
    if not session.token.access.covers(tenant_id):
        raise forbidden(NOT_THIS_TENANT)


def _limit_page(request: Request, view: View, strip: str, tenant: Tenant, value: str, problem: str | None) -> Response:
    response = whole_page(
        request,
        "confirm.html",
        view,
        {"strip": strip},
        title="Change the limit",
        question=f"Change the limit of {tenant.tenant_id}?",
        consequence="It holds for calls that come in from now on; running ones go on. 0 turns every call away. "
        "Empty: the general limit for tenants. The audit keeps that you did it.",
        act="Change",
        back=tenant_page(tenant.tenant_id),
        danger=False,
        field={"name": "limit", "label": "Calls at once", "value": value},
        hidden={"version": str(tenant.version)},
        problem=problem,
    )
    response.status_code = HTTPStatus.OK if problem is None else HTTPStatus.UNPROCESSABLE_ENTITY
    return response
