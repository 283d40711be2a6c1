"""The limits of tokens that are bound to tenants or to reading, on every route.

What a bound token may use is found in the route itself: one that names a tenant in its path, or as ``tenant_id`` in its
query, with a tenant of the token's; and single calls and traces, whose tenant their handlers check. Any other route,
and so any that is added, is refused to it.
"""

from http import HTTPStatus
from typing import Annotated, Final

from fastapi import Depends, Request

from service.http.openapi import Tag
from service.http.parameters import query_names
from service.http.problems import ProblemError
from service.http.tokens import FULL_ACCESS, Access

READING: Final = frozenset({"GET", "HEAD"})
"""Methods that change nothing."""

_TENANT: Final = "tenant_id"
_CHECKED_BY_HANDLERS: Final = ("call_id", "trace_id")


def demand_access(request: Request, access: Access) -> None:
    """Note what the request's token opens, see :func:`access_of`; raise a 403 problem if that is not enough."""
    request.state.access = access
    reads = request.method in READING
    if access.read_only and not reads:
        raise forbidden("The token only reads.")
    if access.tenants is None:
        return
    route = request.scope["route"]
    if Tag.USAGE in route.tags and not reads:
        raise forbidden("What is billed, and how, is for tokens that are bound to no tenant.")
    if _TENANT in request.path_params:
        named = request.path_params[_TENANT]
    elif _TENANT in query_names(route.dependant):
        named = request.query_params.get(_TENANT)
        if named is None:
            raise forbidden(f"The token is bound to tenants: say which one with {_TENANT}.")
    elif any(name in request.path_params for name in _CHECKED_BY_HANDLERS):
        return
    else:
        raise forbidden("The token is bound to tenants, and this is about all of them.")
    if not access.covers(named):
        raise forbidden("The token is not for this tenant.")


def access_of(request: Request) -> Access:
    """Return what the request's token opens; everything where an application checks tokens by itself."""
    access: Access = getattr(request.state, "access", FULL_ACCESS)
    return access


RequestAccess = Annotated[Access, Depends(access_of)]
"""The same as a parameter of a route."""


def forbidden(detail: str) -> ProblemError:
    """Return the 403 problem."""
    return ProblemError(HTTPStatus.FORBIDDEN, detail)
