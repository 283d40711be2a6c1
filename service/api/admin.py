"""What all admin endpoints have in common."""

from fastapi import APIRouter, Depends
from starlette.responses import JSONResponse

from service.api.answers import ADMIN_ANSWERS
from service.security import AdminCheck


def admin_router(tag: str, admin: AdminCheck, *, prefix: str = "") -> APIRouter:
    """An empty router whose routes ``admin`` guards, in the document under ``tag``, with the answers they all give."""
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        dependencies=[Depends(admin)],
        responses=ADMIN_ANSWERS,
        default_response_class=JSONResponse,
    )
