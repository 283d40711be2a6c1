"""Sessions of people who signed in, kept on this side: the browser holds nothing but a random name of its session."""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import Final

from service.http.tokens import AdminToken, AdminTokens, digest

IDLE_SECONDS: Final = 8 * 3600.0
"""Seconds without a request after which a session is over; a page that is open and live keeps its session."""

MAX_SECONDS: Final = 24 * 3600.0
"""Seconds after which it is over in any case."""

MAX_SESSIONS: Final = 1_000
"""Sessions kept; one more ends the one that has been idle longest."""

_ID_BYTES: Final = 32


@dataclass(slots=True)
class _StoredSession:
    token: bytes
    mark: str
    began: float
    seen: float


@dataclass(frozen=True, slots=True)
class PageSession:
    """A session that holds now."""

    token: AdminToken
    mark: str
    """The fingerprint of the token it was opened with, for the audit."""
    key: bytes
    """The hash of its id."""


class PageSessions:
    """The sessions of one process. Keeps hashes of their ids and of their tokens alone. Safe for threads."""

    __slots__ = ("_lock", "_monotonic", "_sessions", "_tokens")

    def __init__(self, tokens: AdminTokens, *, monotonic: Callable[[], float] = monotonic) -> None:
        self._tokens = tokens
        self._monotonic = monotonic
        self._lock = Lock()
        self._sessions: OrderedDict[bytes, _StoredSession] = OrderedDict()
        """By the hash of the id, the longest idle first."""

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, token: bytes, mark: str) -> str:
        """Return the id of a new session for a token that was checked; ``mark`` is its fingerprint."""
        session_id = secrets.token_urlsafe(_ID_BYTES)
        now = self._monotonic()
        with self._lock:
            self._sessions[digest(session_id.encode())] = _StoredSession(digest(token), mark, now, now)
            while len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        return session_id

    def find(self, session_id: str) -> PageSession | None:
        """Return the session with this id, and keep it alive; None if there is none, or it is over."""
        return self._holding(digest(session_id.encode("utf-8", "replace")))

    def still(self, session: PageSession) -> bool:
        """Return True while the session holds, and keep it alive; a page that is open asks again and again."""
        return self._holding(session.key) is not None

    def close(self, session: PageSession) -> None:
        """End a session; does nothing if it is over."""
        with self._lock:
            self._sessions.pop(session.key, None)

    def _holding(self, key: bytes) -> PageSession | None:
        now = self._monotonic()
        with self._lock:
            stored = self._sessions.get(key)
            if stored is None:
                return None
            token = self._tokens.by_digest(stored.token)
            over = now - stored.seen > IDLE_SECONDS or now - stored.began > MAX_SECONDS
            if over or token is None or not self._tokens.holds(token):
                del self._sessions[key]
                return None
            stored.seen = now
            self._sessions.move_to_end(key)
            return PageSession(token, stored.mark, key)
