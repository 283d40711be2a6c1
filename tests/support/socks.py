"""A SOCKS5 proxy (RFC 1928) on the loopback interface, with names of its own and a note of what it was asked for.

One that wants a user and a password (RFC 1929) serves nobody without them.
"""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address
from typing import Final

_VERSION: Final = 5
_CONNECT: Final = 1
_OPEN, _BY_PASSWORD, _NONE_ACCEPTABLE = 0, 2, 0xFF
_SUBNEGOTIATION: Final = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4


class SocksProxy:
    """Connects to what it is asked for; names that it knows lead to this machine, others nowhere."""

    def __init__(self, names: Mapping[str, str], credentials: tuple[str, str] | None = None) -> None:
        self._names, self._credentials = names, credentials
        self.refused = 0
        """Connections that could not say who they are."""
        self.asked: list[str] = []
        """Destinations in the order they were asked for, as ``host:port``."""
        self.port = 0

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        try:
            host, port = await self._negotiate(reader, writer)
            self.asked.append(f"{host}:{port}")
            try:
                there, away = await asyncio.open_connection(self._names.get(host, host), port)
            except OSError:
                writer.write(bytes((_VERSION, 5, 0, _IPV4, 0, 0, 0, 0, 0, 0)))
                return
            writer.write(bytes((_VERSION, 0, 0, _IPV4, 0, 0, 0, 0, 0, 0)))
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, away))
                both.create_task(_copy(there, writer))
        except (asyncio.IncompleteReadError, ConnectionError, PermissionError):
            pass
        finally:
            writer.close()

    async def _negotiate(self, reader: StreamReader, writer: StreamWriter) -> tuple[str, int]:
        version, methods = await reader.readexactly(2)
        assert version == _VERSION
        await self._authenticate(set(await reader.readexactly(methods)), reader, writer)
        version, command, _, kind = await reader.readexactly(4)
        assert (version, command) == (_VERSION, _CONNECT)
        if kind == _NAME:
            (length,) = await reader.readexactly(1)
            host = (await reader.readexactly(length)).decode()
        elif kind == _IPV4:
            host = str(IPv4Address(await reader.readexactly(4)))
        else:
            assert kind == _IPV6
            host = str(IPv6Address(await reader.readexactly(16)))
        return host, int.from_bytes(await reader.readexactly(2))

    async def _authenticate(self, methods: set[int], reader: StreamReader, writer: StreamWriter) -> None:
        """Let the client in; raise :class:`PermissionError` for one without the user and password that are wanted."""
        wanted = _OPEN if self._credentials is None else _BY_PASSWORD
        writer.write(bytes((_VERSION, wanted if wanted in methods else _NONE_ACCEPTABLE)))
        given: tuple[str, str] | None = None
        if wanted == _BY_PASSWORD and wanted in methods:
            assert await reader.readexactly(1) == bytes((_SUBNEGOTIATION,))
            given = (await _text(reader), await _text(reader))
            writer.write(bytes((_SUBNEGOTIATION, given != self._credentials)))
        if wanted not in methods or given != self._credentials:
            self.refused += 1
            await writer.drain()
            raise PermissionError


async def _text(reader: StreamReader) -> str:
    (length,) = await reader.readexactly(1)
    return (await reader.readexactly(length)).decode()


async def _copy(source: StreamReader, target: StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    finally:
        target.close()


@asynccontextmanager
async def socks_proxy(
    names: Mapping[str, str] | None = None, credentials: tuple[str, str] | None = None
) -> AsyncIterator[SocksProxy]:
    """Run a proxy on a free port, for whoever has the user and password, or for anybody."""
    proxy = SocksProxy(names or {}, credentials)
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
        proxy.port = server.sockets[0].getsockname()[1]
        yield proxy
