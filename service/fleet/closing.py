"""The end of connections: a TLS connection takes a round trip to close, and whoever closes a client waits for it."""

import asyncio
from contextlib import suppress
from typing import Final

CLOSE_SECONDS: Final = 0.5
"""Seconds that a connection may take to close in good order; then it is broken off."""


class Closings:
    """The connections of one client that are being closed.

    Args:
        within: seconds that each may take.
    """

    def __init__(self, within: float = CLOSE_SECONDS) -> None:
        self._within = within
        self._closing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Return the number of those that are not closed yet."""
        return len(self._closing)

    def begin(self, writer: asyncio.StreamWriter) -> asyncio.Task[None]:
        """Close a connection; the task ends once it is closed."""
        closing = asyncio.create_task(self._close(writer), name="callscope-closing")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        return closing

    async def over(self) -> None:
        """Wait until all that are being closed are closed; raises nothing."""
        if self._closing:
            await asyncio.wait(self._closing)

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        if not writer.is_closing():  # asked twice, a TLS transport cannot be broken off any more
            writer.close()
        # Not cancelled by a time-out: what is awaited there is the connection's own future.
        closed = asyncio.ensure_future(writer.wait_closed())
        try:
            await asyncio.wait([closed], timeout=self._within)
        finally:
            writer.transport.abort()
        with suppress(OSError):  # of a connection that was broken
            await closed
