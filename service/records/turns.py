"""One process at a time, where rows cannot be locked because they are not there yet."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

CLAIMING = 0x_CA11_C1A1
"""Taking over calls: two processes that lock the same rows in different orders would stop each other."""

FREEZING = 0x_CA11_F0ED
"""Freezing a period, which must not overlap one that is being frozen."""


async def take_turn(session: AsyncSession, key: int) -> None:
    """Wait until no other transaction holds this turn; it ends with the transaction.

    For SQLite there is nothing to do: a writing transaction is alone anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
