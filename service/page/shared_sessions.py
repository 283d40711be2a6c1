"""Sessions that all processes of a fleet share: signed in at one is signed in at each, and so is signed out.

While the store is away each process goes by what it knows: sessions that the store confirmed lately hold on, and a
sign-out ends the session there at once and everywhere when the store is back. A session's id is a ticket that only one
who has the token can make, so that a sign-in during an outage serves the other processes too: they take a ticket that
was made since the store went away, as nobody can have signed it out in the store. Of older ones they cannot know.
"""

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, time
from typing import Final

from service.fleet.errors import StoreAwayError
from service.fleet.sessions import SessionStore, StoredSession
from service.http.tokens import AdminTokens, digest, prove
from service.page.memo import Memo
from service.page.sessions import (
    IDLE_SECONDS,
    MAX_SECONDS,
    MAX_SESSIONS,
    PageSession,
    SessionsHealth,
    key_of,
    note_eviction,
)

TRUSTED_SECONDS: Final = 900.0
"""Seconds for which a session that the store confirmed holds on without it: a sign-out elsewhere does not show then."""
STREAM_SECONDS: Final = 3.0
"""Seconds for which a look at the store stands for the pages of a session that are open and live."""
CLOCKS_SECONDS: Final = 10.0
"""Seconds by which clocks of processes may differ."""
_RANDOM, _TIME, _MARK, _PROOF = 20, 5, 4, 16
# Bytes of a ticket's parts; together they make whole groups of base64.
PAUSE_SECONDS: Final = 2.0
"""Seconds for which a store that did not answer is left alone, so that no page waits for it again and again."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """The parts of a session's id."""

    body: bytes
    """The proven part."""
    proof: bytes
    """The first bytes of the proof that the body goes with a token."""

    @property
    def issued(self) -> int:
        """The moment it was made, in seconds since 1970."""
        return int.from_bytes(self.body[_RANDOM : _RANDOM + _TIME])

    @property
    def mark(self) -> str:
        """The fingerprint of its token."""
        return self.body[_RANDOM + _TIME :].hex()

    @classmethod
    def make(cls, hashed: bytes, mark: str, now: float) -> "Ticket":
        """Return a new ticket for a token's digest and fingerprint."""
        body = secrets.token_bytes(_RANDOM) + int(now).to_bytes(_TIME) + bytes.fromhex(mark)
        return cls(body, prove(hashed, body)[:_PROOF])

    @classmethod
    def parse(cls, session_id: str) -> "Ticket | None":
        """Return the ticket that a cookie holds; None for anything else."""
        try:
            content = urlsafe_b64decode(session_id.encode("ascii"))
        except (UnicodeEncodeError, Base64Error, ValueError):
            return None
        whole = len(content) == _RANDOM + _TIME + _MARK + _PROOF
        return cls(content[:-_PROOF], content[-_PROOF:]) if whole else None

    def __str__(self) -> str:
        """Return it as a cookie holds it."""
        return urlsafe_b64encode(self.body + self.proof).decode()


@dataclass(slots=True)
class _Known:
    """A session as this process knows it."""

    message: bytes
    """The bytes that the proof is about."""
    proof: bytes
    mark: str
    began: float
    seen: float
    confirmed: float
    """The moment the store last had it; of one that is ours alone, the moment it was opened."""
    alone: bool
    """True if the store has not heard of it yet."""


class SharedSessions:
    """The sessions of a fleet, from the view of one process.

    Args:
        tokens: the admin tokens of this process.
        store: keeps the sessions.
        monotonic: the source of time, for what this process goes by without the store.
        wall: seconds since 1970, for tickets that other processes made.
    """

    def __init__(
        self,
        tokens: AdminTokens,
        store: SessionStore,
        *,
        monotonic: Callable[[], float] = monotonic,
        wall: Callable[[], float] = time,
    ) -> None:
        self._tokens = tokens
        self._store = store
        self._monotonic = monotonic
        self._wall = wall
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        """By the hash of the id, the longest idle first; at most :data:`MAX_SESSIONS`."""
        self._ended: OrderedDict[bytes, bool] = OrderedDict()
        """Sessions that were ended here, the latest :data:`MAX_SESSIONS`; True for those the store has heard of."""
        self._streams: Memo[PageSession | None] = Memo(STREAM_SECONDS, monotonic=monotonic)
        self._pause_until = float("-inf")
        self._away_since: float | None = None
        """By the wall clock; None while the store answers."""
        self._evicted = 0

    def health(self) -> SessionsHealth:
        """Return how many there are, and whether the store answers."""
        return SessionsHealth(
            shared=True,
            count=None if self._away_since is not None else self._store.count,
            evicted=self._evicted,
            alone=sum(known.alone for known in self._known.values()),
            away=self._away_since is not None,
        )

    async def open(self, token: bytes, mark: str) -> str:
        """Return the id of a new session for a token that was checked; ``mark`` is its fingerprint."""
        session_id = str(Ticket.make(digest(token), mark, self._wall()))
        key, now = key_of(session_id), self._monotonic()
        known = _Known(key, prove(digest(token), key), mark, now, now, now, alone=True)
        await self._told(key, known)
        self._remember(key, known)
        return session_id

    async def find(self, session_id: str) -> PageSession | None:
        """Return the session with this id, and keep it alive; None if there is none, or it is over."""
        return await self._holding(key_of(session_id), Ticket.parse(session_id))

    async def still(self, session: PageSession) -> bool:
        """Return True while the session holds, and keep it alive; asks the store once in some seconds."""
        key = session.key
        return await self._streams.get(key, lambda: self._holding(key)) is not None

    async def close(self, session: PageSession) -> None:
        """End a session here at once, and in the store now or when it is back."""
        self._known.pop(session.key, None)
        self._streams.forget(session.key)
        self._ended[session.key] = False
        while len(self._ended) > MAX_SESSIONS:
            self._ended.popitem(last=False)
        await self._tell_of_ended()

    async def _holding(self, key: bytes, ticket: Ticket | None = None) -> PageSession | None:
        if key in self._ended:
            await self._tell_of_ended()
            return None
        try:
            stored = await self._touched(key)
        except StoreAwayError:
            return self._trusted(key) or self._taken(key, ticket)
        known, now = self._known.get(key), self._monotonic()
        if stored is not None:
            began = now - stored.age_seconds
            known = _Known(key, stored.proof, stored.mark, began, now, now, alone=False)
        elif known is None or not known.alone or self._over(known):
            self._known.pop(key, None)
            return None
        else:
            await self._told(key, known)
        if key in self._ended:  # while the store was being asked
            return None
        self._remember(key, known)
        return self._session(key, known)

    def _trusted(self, key: bytes) -> PageSession | None:
        """Return what this process knows by itself of a session, while the store is away."""
        known = self._known.get(key)
        if known is None or self._over(known):
            return None
        if not known.alone and self._monotonic() - known.confirmed > TRUSTED_SECONDS:
            return None
        known.seen = self._monotonic()
        self._known.move_to_end(key)
        return self._session(key, known)

    def _taken(self, key: bytes, ticket: Ticket | None) -> PageSession | None:
        """Return the session of a ticket that another process has made since the store went away."""
        now = self._wall()
        if ticket is None or self._away_since is None or key in self._ended:
            return None
        if not self._away_since - CLOCKS_SECONDS <= ticket.issued <= now + CLOCKS_SECONDS:
            return None
        at = self._monotonic()
        known = _Known(ticket.body, ticket.proof, ticket.mark, at - max(0.0, now - ticket.issued), at, at, alone=False)
        session = None if self._over(known) else self._session(key, known)
        if session is not None:
            self._remember(key, known)
        return session

    def _over(self, known: _Known) -> bool:
        now = self._monotonic()
        return now - known.seen > IDLE_SECONDS or now - known.began > MAX_SECONDS

    def _session(self, key: bytes, known: _Known) -> PageSession | None:
        # A token that this process does not know may be one that others know already, in a rolling change: the session
        # is refused here and left where it is.
        token = self._tokens.by_proof(known.message, known.proof)
        return None if token is None or not self._tokens.holds(token) else PageSession(token, known.mark, key)

    def _remember(self, key: bytes, known: _Known) -> None:
        self._known[key] = known
        self._known.move_to_end(key)
        while len(self._known) > MAX_SESSIONS:
            self._known.popitem(last=False)

    # The store --------------------------------------------------------------------------------------------------------

    async def _touched(self, key: bytes) -> StoredSession | None:
        self._demand_no_pause()
        try:
            stored = await self._store.touch(key)
        except StoreAwayError:
            self._went_away()
            raise
        self._away_since = None
        await self._tell_of_ended()
        return stored

    async def _told(self, key: bytes, known: _Known) -> None:
        """Tell the store of a session; while it is away the session stays this process's alone."""
        session = StoredSession(self._monotonic() - known.began, known.proof, known.mark)
        try:
            self._demand_no_pause()
            evicted = await self._store.open(key, session)
        except StoreAwayError:
            self._went_away()
        else:
            self._away_since, known.alone, known.confirmed = None, False, self._monotonic()
            if evicted and not self._evicted:
                note_eviction(1)
            self._evicted += evicted
            if key in self._ended:
                self._ended[key] = False

    async def _tell_of_ended(self) -> None:
        ended = [key for key, told in self._ended.items() if not told]
        if not ended:
            return
        try:
            self._demand_no_pause()
            await self._store.close(ended)
        except StoreAwayError:
            self._went_away()
        else:
            self._away_since = None
            self._ended.update(dict.fromkeys(self._ended.keys() & ended, True))

    def _demand_no_pause(self) -> None:
        if self._monotonic() < self._pause_until:
            raise StoreAwayError("paused")

    def _went_away(self) -> None:
        now = self._monotonic()
        if now >= self._pause_until:
            self._pause_until = now + PAUSE_SECONDS
        self._away_since = self._wall() if self._away_since is None else self._away_since
