"""The address of the fleet's store: ``REDIS_URL``, for one server, Sentinel and Cluster."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from service.fleet.errors import StoreUnusableError

PORT: Final = 6379
SENTINEL_PORT: Final = 26379
_EXAMPLES: Final = "redis://host:6379/0, rediss://… (TLS), redis+sentinel://host:26379,host2:26379/SERVICE/0 or redis+cluster://host:6379"
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_OPTIONS: Final = (*_FILES, "sentinel_username", "sentinel_password")


class StoreKind(StrEnum):
    """The arrangement of servers behind an address."""

    STANDALONE = "standalone"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """One address of a store, in its parts."""

    kind: StoreKind
    hosts: tuple[tuple[str, int], ...]
    """Of the server, of the Sentinels, or of some of the cluster's nodes."""
    socket: str | None = None
    """The path of a Unix socket, instead of hosts."""
    service: str | None = None
    """The name that Sentinels know the primary by."""
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Of TLS (``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile``), and the user of the Sentinels themselves."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Return the address that a URL names; user and password are percent-encoded in it.

        Raises:
            StoreUnusableError: if it is none; the message repeats no password.
        """
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise _wrong(f"is no address: {error}; it must look like {_EXAMPLES}") from None
        scheme, _, arrangement = parts.scheme.partition("+")
        if scheme == "unix":
            return cls._of_socket(parts)
        if scheme not in ("redis", "rediss") or arrangement not in ("", "sentinel", "cluster"):
            raise _wrong(f"must look like {_EXAMPLES}")
        kind = StoreKind(arrangement or StoreKind.STANDALONE)
        login, _, hosts = parts.netloc.rpartition("@")
        username, _, password = login.partition(":")
        service, database = _place(kind, parts.path)
        return cls(
            kind,
            _hosts(hosts, SENTINEL_PORT if kind is StoreKind.SENTINEL else PORT, one=kind is StoreKind.STANDALONE),
            service=service,
            database=database,
            username=unquote(username) or None,
            password=unquote(password) or None,
            tls=scheme == "rediss",
            options=_options(parts.query),
        )

    @classmethod
    def _of_socket(cls, parts: SplitResult) -> Self:
        if not parts.path:
            raise _wrong("names no socket; write unix:///run/redis.sock")
        login, _, _ = parts.netloc.rpartition("@")
        username, _, password = login.partition(":")
        options = dict(parse_qsl(parts.query))
        return cls(
            StoreKind.STANDALONE,
            (),
            socket=parts.path,
            database=_number(options.pop("db", "0")),
            username=unquote(username) or None,
            password=unquote(password) or None,
        )

    @property
    def shown(self) -> str:
        """The servers, without user and password, for messages."""
        return self.socket or ",".join(f"{host}:{port}" for host, port in self.hosts)


def _place(kind: StoreKind, path: str) -> tuple[str | None, int]:
    """Return the service's name and the database's number that a path holds."""
    words = [unquote(word) for word in path.split("/") if word]
    if kind is StoreKind.CLUSTER:
        if words not in ([], ["0"]):
            raise _wrong("a cluster has the database 0 alone; leave out what follows the hosts")
        return None, 0
    service = None
    if kind is StoreKind.SENTINEL:
        if not words:
            raise _wrong("names no service for the Sentinels; append /SERVICE, as in their `sentinel monitor SERVICE`")
        service = words.pop(0)
    if len(words) > 1:
        raise _wrong(f"has too long a path; it must look like {_EXAMPLES}")
    return service, _number(words[0]) if words else 0


def _hosts(text: str, port: int, *, one: bool) -> tuple[tuple[str, int], ...]:
    hosts = tuple(_host(host, port) for host in text.split(",") if host)
    if not hosts:
        raise _wrong(f"names no host; it must look like {_EXAMPLES}")
    if one and len(hosts) > 1:
        raise _wrong("names several hosts; write redis+cluster:// for a cluster, redis+sentinel:// for Sentinels")
    return hosts


def _host(text: str, port: int) -> tuple[str, int]:
    host, separator, number = text.rpartition(":")
    if not separator or host.endswith(":") or text.endswith("]"):
        host, number = text, ""
    try:
        chosen = int(number) if number else port
    except ValueError:
        raise _wrong(f"{number!r} is not a port; if it is part of a password, percent-encode that") from None
    if not 0 < chosen < 1 << 16:
        raise _wrong(f"{chosen} is not a port; ports go from 1 to 65535")
    return host.strip("[]"), chosen


def _number(text: str) -> int:
    if not text.isdecimal():
        raise _wrong("the database after the host must be a number, such as /0")
    return int(text)


def _options(query: str) -> tuple[tuple[str, str], ...]:
    options = parse_qsl(query)
    for name, value in options:
        if name not in _OPTIONS:
            raise _wrong(f"knows no option {name!r}; there are {', '.join(_OPTIONS)}")
        if name in _FILES and not Path(value).is_file():
            raise _wrong(f"{name}: there is no file {value}")
    return tuple(options)


def _wrong(problem: str) -> StoreUnusableError:
    return StoreUnusableError(f"REDIS_URL: {problem}")
