"""``DATABASE_URL``: the driver it means, and its parameters in the driver's terms."""

import logging
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

CONNECT_SECONDS: Final = 5.0
"""Seconds opening a connection to a server may take, unless ``connect_timeout`` says otherwise."""
STATEMENT_SECONDS: Final = 30.0
"""Seconds one statement may take on a server; callers that need less set a time-out of their own."""
MAX_CONNECT_SECONDS: Final = 300
"""Highest ``connect_timeout``."""

_DRIVERS: Mapping[str, str] = MappingProxyType(
    {
        "sqlite": "sqlite+aiosqlite",
        "sqlite+aiosqlite": "sqlite+aiosqlite",
        "postgres": "postgresql+asyncpg",
        "postgresql": "postgresql+asyncpg",
        "postgresql+asyncpg": "postgresql+asyncpg",
    }
)
"""Scheme as people write it → SQLAlchemy's name of dialect and asynchronous driver."""
_EXPECTED: Final = "expected sqlite+aiosqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SESSION_ATTRIBUTES: Final = ("any", "primary", "standby", "read-write", "read-only", "prefer-standby")
_HOME_ROOT: Final = Path("~/.postgresql/root.crt")
_TRUE: Final = ("true", "1", "yes", "on")
_FALSE: Final = ("false", "0", "no", "off")

_logger = logging.getLogger(__name__)


class DatabaseUrlError(ValueError):
    """``DATABASE_URL`` cannot be used; one sentence with cause and cure, without credentials."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"DATABASE_URL: {problem}")


class ServerTarget(NamedTuple):
    """A PostgreSQL server as the driver takes it."""

    url: URL
    """The URL without the parameters that ``arguments`` carries."""
    arguments: dict[str, Any]
    """Arguments of ``asyncpg.connect``."""
    pooled: bool | None
    """True if the URL says that a pooler shares connections between transactions; ``None`` if it does not say."""


def resolve(text: str) -> URL:
    """Return the URL with the driver Callscope uses; raise :class:`DatabaseUrlError` without repeating the text."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise DatabaseUrlError(f"not a database URL; {_EXPECTED}") from None
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise DatabaseUrlError(f"no driver for the scheme {url.drivername!r}; {_EXPECTED}")
    return url.set(drivername=driver)


def sqlite_target(url: URL) -> URL:
    """Return the URL of a SQLite file whose folder exists; raise :class:`DatabaseUrlError`."""
    if url.database in (None, "", ":memory:"):
        raise DatabaseUrlError("an in-memory SQLite database vanishes with its connection; name a file")
    if url.query:
        raise DatabaseUrlError(f"SQLite takes no parameters; leave out {', '.join(sorted(url.query))}")
    file = Path(str(url.database))
    if not file.parent.is_dir():
        raise DatabaseUrlError(f"the folder {file.parent} does not exist; create it, or name a file in another one")
    if file.is_dir():
        raise DatabaseUrlError(f"{file} is a folder; name a file in it")
    return url


def server_target(url: URL) -> ServerTarget:
    """Return the server a PostgreSQL URL names, with libpq's parameters translated.

    Parameters: PostgreSQL 17 documentation, §34.1.2 "Parameter Key Words"; ``pgbouncer=true`` as hosted databases write
    it. Raises :class:`DatabaseUrlError` for one that is unknown, has no such value, or cannot be honoured.
    """
    given = {name: value if isinstance(value, str) else value[-1] for name, value in url.query.items()}
    # The driver itself reads these two, also several of each.
    kept: dict[str, tuple[str, ...] | str] = {name: url.query[name] for name in ("host", "port") if name in given}
    unknown = sorted(set(given) - set(_PARAMETERS) - set(kept))
    if unknown:
        raise DatabaseUrlError(f"the parameter {unknown[0][:40]!r} is not known; leave it out")
    arguments: dict[str, Any] = {"timeout": CONNECT_SECONDS, "command_timeout": STATEMENT_SECONDS}
    settings: dict[str, str] = {"application_name": "callscope"}
    for name, value in given.items():
        if name not in kept:
            _PARAMETERS[name](name, value, arguments, settings)
    _encrypt(given, arguments)
    pooled = _boolean("pgbouncer", given["pgbouncer"]) if "pgbouncer" in given else None
    return ServerTarget(url.set(query=kept), arguments | {"server_settings": settings}, pooled)


_Parameter = Callable[[str, str, dict[str, Any], dict[str, str]], None]
# Takes a parameter's name and value; adds to the driver's arguments or to the server's settings.


def _setting(name: str, value: str, _arguments: dict[str, Any], settings: dict[str, str]) -> None:
    settings[name] = value


def _connect_timeout(name: str, value: str, arguments: dict[str, Any], _settings: dict[str, str]) -> None:
    if not value.strip().isdecimal() or int(value) > MAX_CONNECT_SECONDS:
        raise DatabaseUrlError(f"{name} must be whole seconds from 0 to {MAX_CONNECT_SECONDS}")
    # libpq: 0 waits for ever. A start that waits for ever tells nobody why.
    arguments["timeout"] = float(value) or float(MAX_CONNECT_SECONDS)


def _channel_binding(name: str, value: str, _arguments: dict[str, Any], _settings: dict[str, str]) -> None:
    _one_of(name, value, ("disable", "prefer", "require"))
    if value == "require":
        _logger.warning(
            "DATABASE_URL: the driver knows no channel_binding; the connection goes on without it"
            " (sslmode=verify-full keeps others from standing in for the server)"
        )


def _session_attributes(name: str, value: str, arguments: dict[str, Any], _settings: dict[str, str]) -> None:
    _one_of(name, value, _SESSION_ATTRIBUTES)
    arguments[name] = value


def _gss(name: str, value: str, _arguments: dict[str, Any], _settings: dict[str, str]) -> None:
    _one_of(name, value, ("disable", "prefer"))


def _encoding(name: str, value: str, _arguments: dict[str, Any], _settings: dict[str, str]) -> None:
    _one_of(name, value.lower().replace("-", ""), ("utf8", "auto"))


def _checked_apart(_name: str, _value: str, _arguments: dict[str, Any], _settings: dict[str, str]) -> None:
    """Leave the parameter to :func:`_encrypt` or :func:`server_target`, or ignore what changes nothing here."""


_PARAMETERS: Final[Mapping[str, _Parameter]] = MappingProxyType(
    {
        "application_name": _setting,
        "options": _setting,
        "connect_timeout": _connect_timeout,
        "channel_binding": _channel_binding,
        "target_session_attrs": _session_attributes,
        "gssencmode": _gss,
        "client_encoding": _encoding,
        **dict.fromkeys(("sslmode", "ssl", "sslrootcert", "sslcert", "sslkey", "pgbouncer"), _checked_apart),
        # Fine points of libpq's own sockets and TLS handshake, which the driver settles for itself.
        **dict.fromkeys(
            ("fallback_application_name", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
            _checked_apart,
        ),
        **dict.fromkeys(("tcp_user_timeout", "sslcompression", "sslsni", "sslnegotiation"), _checked_apart),
    }
)


def _encrypt(given: Mapping[str, str], arguments: dict[str, Any]) -> None:
    """Translate the TLS parameters into the driver's ``ssl`` argument."""
    mode = given.get("sslmode", given.get("ssl"))
    if mode is not None:
        # `ssl=true` is another way to write `require`, which some hosts hand out.
        mode = "require" if mode in _TRUE else mode
        _one_of("sslmode", mode, _SSL_MODES)
        arguments["ssl"] = mode
    verifies = mode in ("verify-ca", "verify-full")
    if mode == "disable" or not (verifies or {"sslrootcert", "sslcert", "sslkey"} & given.keys()):
        return
    root = given.get("sslrootcert")
    # libpq takes `~/.postgresql/root.crt` or fails; the system's certificates are there besides.
    context = ssl.create_default_context(cafile=None if root in (None, "system") else _file("sslrootcert", str(root)))
    if root is None and _HOME_ROOT.expanduser().is_file():
        context.load_verify_locations(_HOME_ROOT.expanduser())
    # As libpq has it: a root certificate that is named makes `require` check the chain, `verify-full` the name too.
    context.check_hostname = mode == "verify-full" or root == "system"
    context.verify_mode = ssl.CERT_REQUIRED if verifies or root is not None else ssl.CERT_NONE
    if "sslcert" in given:
        key = _file("sslkey", given["sslkey"]) if "sslkey" in given else None
        try:
            context.load_cert_chain(_file("sslcert", given["sslcert"]), key)
        except (ssl.SSLError, OSError):
            raise DatabaseUrlError("sslcert and sslkey hold no certificate with its key; name both files") from None
    arguments["ssl"] = context


def _file(name: str, path: str) -> str:
    if not Path(path).is_file():
        raise DatabaseUrlError(f"{name} names {path}, which is no file; correct the path")
    return path


def _one_of(name: str, value: str, legal: tuple[str, ...]) -> None:
    if value not in legal:
        raise DatabaseUrlError(f"{name} must be one of {', '.join(legal)}")


def _boolean(name: str, value: str) -> bool:
    _one_of(name, value.lower(), _TRUE + _FALSE)
    return value.lower() in _TRUE
