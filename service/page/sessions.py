"""Sessions of people who signed in, kept on this side: the browser holds nothing but a random name of its session."""

import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import Final, Protocol

from service.http.tokens import AdminToken, AdminTokens, digest

IDLE_SECONDS: Final = 8 * 3600.0
"""Seconds without a request after which a session is over; a page that is open and live keeps its session."""

MAX_SECONDS: Final = 24 * 3600.0
"""Seconds after which it is over in any case."""

MAX_SESSIONS: Final = 1_000
"""Sessions kept; one more ends the one that has been idle longest, which is counted."""

_ID_BYTES: Final = 32

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PageSession:
    """A session that holds now."""

    token: AdminToken
    mark: str
    """The fingerprint of the token it was opened with, for the audit."""
    key: bytes
    """The hash of its id."""


@dataclass(frozen=True, slots=True)
class SessionsHealth:
    """The sessions at one moment."""

    shared: bool
    """True if they are kept in the fleet's store."""
    count: int | None
    """Sessions that hold, of the whole fleet where they are shared; None while that is not known."""
    evicted: int
    """Sessions that this process ended since its start, as there were too many."""
    alone: int = 0
    """Sessions that count in this process alone, as the fleet's store was away when they were opened."""
    away: bool = False
    """True while the fleet's store does not answer."""


class PageSessions(Protocol):
    """The sessions, wherever they are kept: hashes of their ids, and nothing that opens a door."""

    async def open(self, token: bytes, mark: str) -> str:
        """Return the id of a new session for a token that was checked; ``mark`` is its fingerprint."""
        ...

    async def find(self, session_id: str) -> PageSession | None:
        """Return the session with this id, and keep it alive; None if there is none, or it is over."""
        ...

    async def still(self, session: PageSession) -> bool:
        """Return True while the session holds, and keep it alive; a page that is open asks again and again."""
        ...

    async def close(self, session: PageSession) -> None:
        """End a session; does nothing if it is over."""
        ...

    def health(self) -> SessionsHealth:
        """Return how many there are, and where."""
        ...


def note_eviction(evicted: int) -> None:
    """Tell the log of the first session that ended for want of room; all are counted on the page of the service."""
    if evicted == 1:
        _logger.warning("over %d sessions of people: those idle longest are signed out", MAX_SESSIONS)


def new_session_id() -> str:
    """Return the id of a session, which nobody guesses."""
    return secrets.token_urlsafe(_ID_BYTES)


def key_of(session_id: str) -> bytes:
    """Return the hash that a session is kept under; of whatever a cookie may hold."""
    return digest(session_id.encode("utf-8", "replace"))


@dataclass(slots=True)
class _OpenSession:
    token: bytes
    mark: str
    began: float
    seen: float


class LocalSessions:
    """The sessions of one process, in its memory; they end with it. Safe for threads."""

    __slots__ = ("_evicted", "_lock", "_monotonic", "_sessions", "_tokens")

    def __init__(self, tokens: AdminTokens, *, monotonic: Callable[[], float] = monotonic) -> None:
        self._tokens = tokens
        self._monotonic = monotonic
        self._lock = Lock()
        self._evicted = 0
        self._sessions: OrderedDict[bytes, _OpenSession] = OrderedDict()
        """By the hash of the id, the longest idle first."""

    def health(self) -> SessionsHealth:
        """Return how many there are."""
        return SessionsHealth(shared=False, count=len(self._sessions), evicted=self._evicted)

    async def open(self, token: bytes, mark: str) -> str:
        """Return the id of a new session for a token that was checked; ``mark`` is its fingerprint."""
        session_id = new_session_id()
        now = self._monotonic()
        with self._lock:
            self._sessions[key_of(session_id)] = _OpenSession(digest(token), mark, now, now)
            while len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
                self._evicted += 1
                note_eviction(self._evicted)
        return session_id

    async def find(self, session_id: str) -> PageSession | None:
        """Return the session with this id, and keep it alive; None if there is none, or it is over."""
        return self._holding(key_of(session_id))

    async def still(self, session: PageSession) -> bool:
        """Return True while the session holds, and keep it alive; a page that is open asks again and again."""
        return self._holding(session.key) is not None

    async def close(self, session: PageSession) -> None:
        """End a session; does nothing if it is over."""
        with self._lock:
            self._sessions.pop(session.key, None)

    def _holding(self, key: bytes) -> PageSession | None:
        now = self._monotonic()
        with self._lock:
            kept = self._sessions.get(key)
            if kept is None:
                return None
            token = self._tokens.by_digest(kept.token)
            over = now - kept.seen > IDLE_SECONDS or now - kept.began > MAX_SECONDS
            if over or token is None or not self._tokens.holds(token):
                del self._sessions[key]
                return None
            kept.seen = now
            self._sessions.move_to_end(key)
            return PageSession(token, kept.mark, key)
