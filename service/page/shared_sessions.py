"""Sessions that all processes of a fleet share: signed in at one is signed in at each, and so is signed out.

While the store is away each process goes by what it knows: sessions that the store confirmed lately hold on, a sign-in
counts in the process that took it, and a sign-out ends the session there at once and everywhere when the store is back.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
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
    new_session_id,
)

TRUSTED_SECONDS: Final = 900.0
"""Seconds for which a session that the store confirmed holds on without it: a sign-out elsewhere does not show then."""
STREAM_SECONDS: Final = 3.0
"""Seconds for which a look at the store stands for the pages of a session that are open and live."""
PAUSE_SECONDS: Final = 2.0
"""Seconds for which a store that did not answer is left alone, so that no page waits for it again and again."""


@dataclass(slots=True)
class _Known:
    """A session as this process knows it."""

    proof: bytes
    mark: str
    began: float
    seen: float
    confirmed: float
    """When the store last had it; of one that is ours alone, when it was opened."""
    alone: bool
    """True if the store has not heard of it yet."""


class SharedSessions:
    """The sessions of a fleet, from the view of one process.

    Args:
        tokens: the admin tokens of this process.
        store: keeps the sessions.
        monotonic: the source of time, for what this process goes by without the store.
    """

    def __init__(self, tokens: AdminTokens, store: SessionStore, *, monotonic: Callable[[], float] = monotonic) -> None:
        self._tokens = tokens
        self._store = store
        self._monotonic = monotonic
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        """By the hash of the id, the longest idle first; at most :data:`MAX_SESSIONS`."""
        self._ended: OrderedDict[bytes, bool] = OrderedDict()
        """Sessions that were ended here, the latest :data:`MAX_SESSIONS`; True for those the store has heard of."""
        self._streams: Memo[PageSession | None] = Memo(STREAM_SECONDS, monotonic=monotonic)
        self._pause_until = float("-inf")
        self._away = False
        self._evicted = 0

    def health(self) -> SessionsHealth:
        """Return how many there are, and whether the store answers."""
        return SessionsHealth(
            shared=True,
            count=None if self._away else self._store.count,
            evicted=self._evicted,
            alone=sum(known.alone for known in self._known.values()),
            away=self._away,
        )

    async def open(self, token: bytes, mark: str) -> str:
        """Return the id of a new session for a token that was checked; ``mark`` is its fingerprint."""
        session_id = new_session_id()
        key, now = key_of(session_id), self._monotonic()
        known = _Known(prove(digest(token), key), mark, now, now, now, alone=True)
        await self._told(key, known)
        self._remember(key, known)
        return session_id

    async def find(self, session_id: str) -> PageSession | None:
        """Return the session with this id, and keep it alive; None if there is none, or it is over."""
        return await self._holding(key_of(session_id))

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

    async def _holding(self, key: bytes) -> PageSession | None:
        if key in self._ended:
            await self._tell_of_ended()
            return None
        try:
            stored = await self._touched(key)
        except StoreAwayError:
            return self._trusted(key)
        known, now = self._known.get(key), self._monotonic()
        if stored is not None:
            began = now - stored.age_seconds
            known = _Known(stored.proof, stored.mark, began, now, now, alone=False)
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

    def _over(self, known: _Known) -> bool:
        now = self._monotonic()
        return now - known.seen > IDLE_SECONDS or now - known.began > MAX_SECONDS

    def _session(self, key: bytes, known: _Known) -> PageSession | None:
        # A token that this process does not know may be one that others know already, in a rolling change: the session
        # is refused here and left where it is.
        token = self._tokens.by_proof(key, known.proof)
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
        self._away = False
        await self._tell_of_ended()
        return stored

    async def _told(self, key: bytes, known: _Known) -> None:
        """Tell the store of a session; while it is away the session stays this process's alone."""
        session = StoredSession(self._monotonic() - known.began, known.proof, known.mark)
        try:
            self._demand_no_pause()
            self._evicted += await self._store.open(key, session)
        except StoreAwayError:
            self._went_away()
        else:
            self._away, known.alone, known.confirmed = False, False, self._monotonic()
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
            self._away = False
            self._ended.update(dict.fromkeys(self._ended.keys() & ended, True))

    def _demand_no_pause(self) -> None:
        if self._monotonic() < self._pause_until:
            raise StoreAwayError("paused")

    def _went_away(self) -> None:
        now = self._monotonic()
        if now >= self._pause_until:
            self._pause_until = now + PAUSE_SECONDS
        self._away = True
