"""Sessions of people in the fleet's store: one sign-in serves every process, and one sign-out ends it everywhere.

Two keys, with a hash tag of their own, so that a cluster keeps both in one slot:

======== ====== ==========================================================================================
entries  hash   hash of a session's id → ``began|proof|mark``, where it began in the server's milliseconds
seen     set    hash of a session's id → its last request, in the server's milliseconds
======== ====== ==========================================================================================

Neither the id of a session nor a token can be made from what is kept; see :func:`service.http.tokens.prove`. Both keys
expire once the last session must be over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.fleet.scripts import Script
from service.fleet.store import Scripts

KEYS: Final = ("entries", "seen")

_COMMON: Final = """
local entries, seen = KEYS[1], KEYS[2]
local function forget(id)
  redis.call('HDEL', entries, id)
  redis.call('ZREM', seen, id)
end
"""

OPEN: Final = Script(
    _COMMON
    + """
local id, proof, mark = ARGV[1], ARGV[2], ARGV[3]
local age, idle, longest, most = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local at = now()
for _, old in ipairs(redis.call('ZRANGEBYSCORE', seen, '-inf', '(' .. whole(at - idle))) do forget(old) end
redis.call('HSET', entries, id, whole(at - age) .. '|' .. proof .. '|' .. mark)
redis.call('ZADD', seen, at, id)
local evicted = 0
while redis.call('ZCARD', seen) > most do
  forget(redis.call('ZRANGE', seen, 0, 0)[1])
  evicted = evicted + 1
end
redis.call('PEXPIRE', entries, longest)
redis.call('PEXPIRE', seen, longest)
return {redis.call('ZCARD', seen), evicted}
"""
)
"""Keep a session; past the bound, those that have been idle longest end."""

TOUCH: Final = Script(
    _COMMON
    + """
local id, idle, longest = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local entry, last = redis.call('HGET', entries, id), redis.call('ZSCORE', seen, id)
local held = redis.call('ZCARD', seen)
if not entry or not last then return {held} end
local at = now()
local began, proof, mark = string.match(entry, '^(%d+)|([^|]*)|(.*)$')
if at - tonumber(last) > idle or at - tonumber(began) > longest then
  forget(id)
  return {held - 1}
end
redis.call('ZADD', seen, at, id)
return {held, whole(at - tonumber(began)), proof, mark}
"""
)
"""Return a session that holds, and keep it alive."""

CLOSE: Final = Script(
    _COMMON
    + """
for _, id in ipairs(ARGV) do forget(id) end
return {redis.call('ZCARD', seen)}
"""
)
"""End sessions; a second time does nothing."""


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session that holds, as the store has it."""

    age_seconds: float
    """Seconds since it began."""
    proof: bytes
    """The proof of the token it was opened with."""
    mark: str
    """The fingerprint of that token."""


class SessionStore:
    """The scripts with their arguments and answers in types. Each method raises StoreAwayError without an answer.

    Args:
        scripts: runs them.
        prefix: the fleet's, as for its other keys.
        idle_seconds: seconds without a request after which a session is over.
        longest_seconds: seconds after which it is over in any case.
        most: sessions that are kept.
    """

    def __init__(
        self, scripts: Scripts, prefix: str, *, idle_seconds: float, longest_seconds: float, most: int
    ) -> None:
        self._scripts = scripts
        self._keys = tuple(f"{{{prefix}:sessions}}:{name}" for name in KEYS)
        self._idle = round(idle_seconds * 1000)
        self._longest = round(longest_seconds * 1000)
        self._most = most
        self.count: int | None = None
        """Sessions of the whole fleet at the last answer; None before the first."""

    async def open(self, key: bytes, session: StoredSession) -> int:
        """Keep a session under the hash of its id; return how many others ended for want of room."""
        age = round(session.age_seconds * 1000)
        arguments: list[str | int] = [
            key.hex(),
            session.proof.hex(),
            session.mark,
            age,
            self._idle,
            self._longest,
            self._most,
        ]
        self.count, evicted = await self._run(OPEN, arguments)
        return int(evicted)

    async def touch(self, key: bytes) -> StoredSession | None:
        """Return the session, and keep it alive; None if there is none, or it is over."""
        self.count, *found = await self._run(TOUCH, [key.hex(), self._idle, self._longest])
        if not found:
            return None
        age, proof, mark = found
        return StoredSession(int(age) / 1000, bytes.fromhex(proof), mark)

    async def close(self, keys: Sequence[bytes]) -> None:
        """End these sessions; those that are over already are passed over."""
        (self.count,) = await self._run(CLOSE, [key.hex() for key in keys])

    async def _run(self, script: Script, arguments: Sequence[str | int]) -> Any:  # noqa: ANN401
        return await self._scripts.run(script, self._keys, arguments)
