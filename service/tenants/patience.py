"""How long a call waits for the database, and what it hears when that was not enough."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from service.database import DATABASE_ERRORS, failure_reason
from service.tenants.errors import TenantLookupError

T = TypeVar("T")


async def answered(query: Callable[[], Awaitable[T]], *, within: float) -> T:
    """The query's answer within so many seconds; :class:`TenantLookupError` when the database fails or is late."""
    deadline = asyncio.timeout(within)
    try:
        async with deadline:
            return await query()
    except DATABASE_ERRORS as error:
        late = f"no answer from the database within {within:g} s"
        raise TenantLookupError(
            late if deadline.expired() else f"the database failed ({failure_reason(error)})"
        ) from error
