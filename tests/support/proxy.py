"""A TCP proxy before a real server that fails as networks do: replies lost, replies late, nobody there."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from tests.peers.network import HOST

Loses = Callable[[bytes], bool]
"""Decides, by a request, whether its reply is lost."""


def nothing(_request: bytes) -> bool:
    """Lose no reply."""
    return False


def everything(_request: bytes) -> bool:
    """Lose every reply."""
    return True


class FaultyProxy:
    """Forwards to ``target``. A lost reply is one that the server has given, and the client's connection is cut."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.loses: Loses = nothing
        self.delay_seconds = 0.0
        """Seconds that each reply takes longer."""
        self.request_delay_seconds = 0.0
        """Seconds that each request takes longer."""
        self.lost = 0
        """Replies that were lost."""
        self.port = 0
        self._down = False
        self._open: set[StreamWriter] = set()

    @property
    def url(self) -> str:
        """The address of a Redis behind the proxy, for ``REDIS_URL``."""
        return f"redis://{HOST}:{self.port}/0"

    def lose_once(self, *words: str) -> None:
        """Lose the next reply to a request that has each of these words."""

        def loses(request: bytes) -> bool:
            found = all(word.encode() in request for word in words)
            if found:
                self.loses = nothing
            return found

        self.loses = loses

    def cut(self) -> None:
        """Cut all connections as they are; new ones are taken."""
        for writer in list(self._open):
            writer.transport.abort()

    @property
    def down(self) -> bool:
        """True while nobody can connect."""
        return self._down

    @down.setter
    def down(self, down: bool) -> None:
        self._down = down
        if down:
            self.cut()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve one connection until either side ends it, or its reply is lost."""
        if self._down:
            writer.transport.abort()
            return
        there: StreamWriter | None = None
        self._open.add(writer)
        try:
            answers, there = await asyncio.open_connection(*self.target)
            both = [asyncio.ensure_future(work) for work in self._both(reader, writer, answers, there)]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        except OSError:
            pass
        finally:
            self._open.discard(writer)
            for each in (writer, there):
                if each is not None:
                    each.transport.abort()

    def _both(
        self, reader: StreamReader, writer: StreamWriter, answers: StreamReader, there: StreamWriter
    ) -> "tuple[asyncio.Future[None], asyncio.Future[None]]":
        losing = asyncio.Event()

        async def requests() -> None:
            while data := await reader.read(65_536):
                if self.loses(data):
                    losing.set()
                if self.request_delay_seconds:
                    await asyncio.sleep(self.request_delay_seconds)
                there.write(data)
                await there.drain()

        async def replies() -> None:
            while data := await answers.read(65_536):
                if losing.is_set():
                    self.lost += 1
                    return
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                writer.write(data)
                await writer.drain()

        return asyncio.ensure_future(requests()), asyncio.ensure_future(replies())


@asynccontextmanager
async def proxy_to(url: str) -> AsyncIterator[FaultyProxy]:
    """Run a proxy on a free port, before the Redis at this address."""
    proxy = FaultyProxy(target_of(url))
    server = await asyncio.start_server(proxy.serve, HOST, 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.down = True
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await server.wait_closed()


def target_of(url: str) -> tuple[str, int]:
    """Return host and port of a Redis' address."""
    host, _, port = url.removeprefix("redis://").partition("/")[0].rpartition(":")
    return host, int(port)
