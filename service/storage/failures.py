"""Failures of the database at the start, as one sentence with cause and cure."""

import sqlite3
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import asyncpg  # type: ignore[import-untyped] # it ships none
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from service.storage.database import DATABASE_ERRORS, failure_reason
from service.storage.url import DatabaseUrlError

_POSTGRES_PORT: Final = 5432

_BY_SQLITE_CODE: Final = {
    sqlite3.SQLITE_NOTADB: "{file} is no SQLite database; move it away, or name another file",
    sqlite3.SQLITE_CORRUPT: "{file} is damaged; restore a backup, or name another file",
    sqlite3.SQLITE_READONLY: "{file} cannot be written; give this user write access to it and its folder",
    sqlite3.SQLITE_CANTOPEN: "{file} cannot be opened or made; give this user write access to it and its folder",
    sqlite3.SQLITE_PERM: "{file} cannot be opened; give this user read and write access to it and its folder",
    sqlite3.SQLITE_BUSY: "{file} is locked by another program; end that, or name another file",
    sqlite3.SQLITE_FULL: "the disk of {file} is full; make room",
    sqlite3.SQLITE_IOERR: "{file} cannot be read or written ({reason}); look at the disk, or name another file",
}
"""Primary result code → sentence."""

_BY_SERVER_ERROR: Final[tuple[tuple[type[Exception], str], ...]] = (
    (asyncpg.InvalidAuthorizationSpecificationError, "{server} refuses user or password; correct them"),
    (asyncpg.InvalidCatalogNameError, "{server} has no database {name!r}; create it, or correct the name"),
    (asyncpg.InsufficientPrivilegeError, "the user may not make tables in {name!r} on {server}; grant CREATE on it"),
    (asyncpg.ReadOnlySQLTransactionError, "{server} only reads, as a standby does; name the primary server"),
    (asyncpg.TargetServerAttributeNotMatched, "{server} is not as target_session_attrs wants it; name another server"),
    (asyncpg.TooManyConnectionsError, "{server} takes no more connections; raise max_connections, or end some"),
    (asyncpg.CannotConnectNowError, "{server} is starting or stopping; try again in a moment"),
    (asyncpg.ProtocolViolationError, "{server} refuses a parameter of the connection; leave out options and the like"),
    (ssl.SSLCertVerificationError, "the certificate of {server} is not trusted; name its issuer in sslrootcert"),
    (ssl.SSLError, "no TLS with {server} ({reason}); correct sslmode"),
    (TimeoutError, "{server} does not answer; start it, or correct host, port and firewall"),
    (OSError, "{server} cannot be reached ({reason}); start it, or correct host and port"),
)
"""Error of the driver or the network → sentence; the first that fits."""


@contextmanager
def explained(url: URL) -> Iterator[None]:
    """Raise :class:`~service.storage.url.DatabaseUrlError` in place of an error of the database at ``url``."""
    try:
        yield
    except DATABASE_ERRORS as error:
        raise DatabaseUrlError(problem(error, url)) from error


def problem(error: BaseException, url: URL) -> str:
    """Return cause and cure of one of :data:`DATABASE_ERRORS`, without user, password or any text of the server."""
    causes = list(_chain(error))
    if url.get_backend_name() == "sqlite":
        return _sqlite_problem(causes, Path(str(url.database)))
    shown = {"server": _server(url), "name": str(url.database or url.username or ""), "reason": _network_reason(causes)}
    for kind, sentence in _BY_SERVER_ERROR:
        if any(isinstance(cause, kind) for cause in causes):
            return sentence.format(**shown)
    return f"{shown['server']} cannot be used ({failure_reason(error)}); see its log"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and what it came from, the driver's own error among it."""
    while error is not None:
        yield error
        original = error.orig if isinstance(error, DBAPIError) else None
        error = original if original is not None and original is not error else error.__cause__


def _sqlite_problem(causes: list[BaseException], file: Path) -> str:
    for cause in causes:
        if isinstance(cause, sqlite3.Error):
            # An extended code, such as SQLITE_READONLY_DIRECTORY, has its primary one in the lowest byte.
            code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            sentence = _BY_SQLITE_CODE.get(code, "{file} cannot be used ({reason}); name another file")
            return sentence.format(file=file, reason=str(cause).partition("\n")[0])
    return f"{file} cannot be used ({failure_reason(causes[0])}); name another file"


def _server(url: URL) -> str:
    host = url.host or url.query.get("host") or "localhost"
    host = host if isinstance(host, str) else host[0]
    if host.startswith("/"):
        return f"the server at {host}"
    return f"the server {f'[{host}]' if ':' in host else host}:{url.port or _POSTGRES_PORT}"


def _network_reason(causes: list[BaseException]) -> str:
    """Return the operating system's words, which name no more than an address; else the kind of error."""
    found = next((cause for cause in causes if isinstance(cause, OSError)), None)
    if found is None:
        return type(causes[-1]).__name__
    return (found.strerror if isinstance(found.strerror, str) else None) or type(found).__name__
