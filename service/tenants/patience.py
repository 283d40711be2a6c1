"""How long a call waits for the database, and what it hears when that was not enough."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from service.database import DATABASE_ERRORS, failure_reason
from service.giving_up import give_up_after
from service.tenants.errors import TenantLookupError

T = TypeVar("T")


async def answered(query: Callable[[], Awaitable[T]], *, within: float) -> T:
    """The query's answer within so many seconds; :class:`TenantLookupError` when the database fails or is late."""
    try:
        return await give_up_after(within, _asked(query))
    except TimeoutError as error:
        raise TenantLookupError(f"no answer from the database within {within:g} s") from error
    except DATABASE_ERRORS as error:
        raise TenantLookupError(f"the database failed ({failure_reason(error)})") from error


async def _asked(query: Callable[[], Awaitable[T]]) -> T:
    return await query()
