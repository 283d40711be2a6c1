"""The scripts that decide in the store, each one atomic and safe to repeat, and the keys they stand on.

All keys share one hash tag, so that a cluster keeps them in one slot, and every script is given all of them:

======== ====== ==========================================================================================
calls    hash   call id → ``holder|claim|certain|tenant``: one slot each, so that its length is the slots in use
tenants  hash   tenant → its slots in use
held     hash   holder → its slots
writes   hash   holder → scripts that changed its slots, so that a store that lost some shows it
beats    set    holder → its last heartbeat, in the server's milliseconds: those that live
members  set    holder, each with 0 and so in their order: those that live, to find a rank without looking at all
fenced   hash   holder → when it was fenced or left; kept while it holds slots
infos    hash   holder → what it says of itself, in JSON
fleet    hash   ``epoch``, ``database``, ``layout``, and ``born``: when this store first knew the fleet
peaks    hash   tenant → the most slots it held at once in past minutes, a line each; of all under an empty name
======== ====== ==========================================================================================

A holder is ``instance:epoch``. A claim is the call's on record, in microseconds, which grows with each take-over. It is
certain if the database has confirmed it: a certain claim wins over one that is not, and of two like ones the newer, so
that a slot goes where the call goes. Redis counts in doubles, which are exact up to 2**53, in the year 2255.
"""

from dataclasses import dataclass, field
from hashlib import sha1
from typing import Final

from service.fleet.steps import STEP_IN_LUA

KEYS: Final = ("calls", "tenants", "held", "writes", "beats", "fenced", "infos", "fleet", "members", "peaks")

LAYOUT: Final = 1
"""The layout described above. A process refuses to join a fleet with a newer one."""


def keys_of(prefix: str) -> tuple[str, ...]:
    """Return the keys of the fleet with this prefix."""
    return tuple(f"{{{prefix}:capacity}}:{name}" for name in KEYS)


_COMMON: Final = (
    STEP_IN_LUA
    + """
local calls, tenants, held, writes, beats, fenced, infos, fleet, members, peaks = unpack(KEYS)

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function whole(number) return string.format('%.0f', number) end

local function number(hash, field) return tonumber(redis.call('HGET', hash, field) or '0') end

local function alive(holder) return redis.call('ZSCORE', beats, holder) end

local function instance(holder) return string.match(holder, '^(.*):') end

local function slot(call)
  local text = redis.call('HGET', calls, call)
  if not text then return nil end
  local holder, claim, certain, tenant = string.match(text, '^([^|]*)|([^|]*)|([^|]*)|(.*)$')
  return {holder = holder, claim = tonumber(claim), certain = tonumber(certain), tenant = tenant}
end

local function less(hash, field)
  if redis.call('HINCRBY', hash, field, -1) <= 0 then redis.call('HDEL', hash, field) end
end

-- The most slots held at once, by the minute for five, by five minutes for an hour, by the hour for a day.
local function note(tenant, count, minute)
  local text = redis.call('HGET', peaks, tenant) or ''
  local last, most, rest = string.match(text, '^(%d+) (%d+)(.*)$')
  if tonumber(last) == minute then
    if tonumber(most) < count then redis.call('HSET', peaks, tenant, minute .. ' ' .. count .. rest) end
    return
  end
  local lines, group = {minute .. ' ' .. count}, nil
  for start, value in string.gmatch(text, '(%d+) (%d+)') do
    local this = step(start, minute)
    if not this then break end
    if this == group then
      local before = tonumber(string.match(lines[#lines], ' (%d+)$'))
      lines[#lines] = start .. ' ' .. math.max(before, tonumber(value))
    else
      lines[#lines + 1] = start .. ' ' .. value
    end
    group = this
  end
  redis.call('HSET', peaks, tenant, table.concat(lines, '\\n'))
end

-- A peak is reached by a slot that is taken, or was there before one that is given back.
local function peak(tenant)
  local minute = math.floor(now() / 60000)
  note(tenant, number(tenants, tenant), minute)
  note('', redis.call('HLEN', calls), minute)
end

local function uncount(old)
  less(tenants, old.tenant)
  less(held, old.holder)
end

local function put(call, old, holder, claim, certain, tenant)
  if old then uncount(old) end
  redis.call('HSET', calls, call, holder .. '|' .. claim .. '|' .. certain .. '|' .. tenant)
  redis.call('HINCRBY', tenants, tenant, 1)
  redis.call('HINCRBY', held, holder, 1)
  peak(tenant)
end

local function wrote(holder) return redis.call('HINCRBY', writes, holder, 1) end

-- A process's own slot, of whatever epoch; a late word about an older claim of it does not count.
local function own(old, holder, claim)
  return instance(old.holder) == instance(holder) and claim >= old.claim
end

local function yields(old, claim, certain)
  return certain > old.certain or (certain == old.certain and claim > old.claim)
end

local function fence(holder, at)
  redis.call('ZREM', beats, holder)
  redis.call('ZREM', members, holder)
  redis.call('HDEL', writes, holder)
  if redis.call('HEXISTS', held, holder) == 1 then
    redis.call('HSETNX', fenced, holder, whole(at))
  else
    redis.call('HDEL', fenced, holder)
    redis.call('HDEL', infos, holder)
  end
end

local function fence_silent(silence, at)
  local silent = redis.call('ZRANGEBYSCORE', beats, '-inf', '(' .. whole(at - silence))
  for _, holder in ipairs(silent) do fence(holder, at) end
  for _, holder in ipairs(redis.call('HKEYS', fenced)) do
    if redis.call('HEXISTS', held, holder) == 0 then
      redis.call('HDEL', fenced, holder)
      redis.call('HDEL', infos, holder)
    end
  end
  return silent
end
"""
)


@dataclass(frozen=True, slots=True)
class Script:
    """A script as the server knows it."""

    body: str = field(repr=False)
    common: str = field(default=_COMMON, repr=False)
    """The text before the body: the names and functions of the scripts about slots."""
    text: str = field(init=False, repr=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        """Derive what is sent."""
        text = self.common + self.body
        object.__setattr__(self, "text", text)
        # Names the script to the server (EVALSHA); no secret depends on it.
        object.__setattr__(self, "digest", sha1(text.encode(), usedforsecurity=False).hexdigest())


JOIN: Final = Script("""
local instance, silence, database, layout, info, before = unpack(ARGV)
local at = now()
if before ~= '' then fence(before, at) end
fence_silent(tonumber(silence), at)
if redis.call('ZCARD', beats) > 0 then
  local theirs = redis.call('HGET', fleet, 'database')
  if theirs ~= database then return {'database', theirs} end
  local known = redis.call('HGET', fleet, 'layout')
  if tonumber(known) > tonumber(layout) then return {'layout', known} end
end
redis.call('HSET', fleet, 'database', database, 'layout', layout)
redis.call('HSETNX', fleet, 'born', whole(at))
local epoch = whole(math.max(number(fleet, 'epoch') + 1, at))
redis.call('HSET', fleet, 'epoch', epoch)
local holder = instance .. ':' .. epoch
redis.call('ZADD', beats, at, holder)
redis.call('ZADD', members, 0, holder)
redis.call('HSET', infos, holder, info)
return {'joined', epoch}
""")
"""Register a process under a new epoch, and fence the one it had before."""

BEAT: Final = Script("""
local holder, silence, info = ARGV[1], tonumber(ARGV[2]), ARGV[3]
if not alive(holder) then return {'unregistered'} end
local at = now()
redis.call('ZADD', beats, at, holder)
redis.call('HSET', infos, holder, info)
local silent = fence_silent(silence, at)
redis.call('ZADD', members, 0, holder)
local rank, living = redis.call('ZRANK', members, holder), redis.call('ZCARD', beats)
local counts, complete = {}, redis.call('HLEN', tenants) <= tonumber(ARGV[4])
if complete then
  counts = redis.call('HGETALL', tenants)
else
  for index = 5, #ARGV do
    counts[#counts + 1] = ARGV[index]
    counts[#counts + 1] = number(tenants, ARGV[index])
  end
end
return {'ok', number(writes, holder), number(held, holder), living, rank, redis.call('HLEN', calls),
  redis.call('HLEN', fenced), whole(at - number(fleet, 'born')), cjson.encode(counts), complete and 1 or 0, silent}
""")
"""Show that a process lives, fence those that have been silent, and return what the fleet holds.

That is told of every tenant, or, if more than so many have slots, of those that are asked for; as JSON, as a reply of
hundreds of parts takes the client ten times as long to read.
"""

LEAVE: Final = Script("""
fence(ARGV[1], now())
return {'left'}
""")
"""Sign a process off. Slots it still holds are of calls that it hands over."""

ACQUIRE: Final = Script("""
local holder, total_limit = ARGV[1], tonumber(ARGV[2])
if not alive(holder) then return {'unregistered'} end
local before, answers = number(writes, holder), {}
for index = 3, #ARGV, 5 do
  local call, claim, tenant, limit, certain =
    ARGV[index], ARGV[index + 1], ARGV[index + 2], tonumber(ARGV[index + 3]), ARGV[index + 4]
  local old, answer = slot(call), 'held'
  local of_tenant, total = number(tenants, tenant), redis.call('HLEN', calls)
  if old then
    local free = certain == '1' or not alive(old.holder)
    if own(old, holder, tonumber(claim)) or (free and yields(old, tonumber(claim), tonumber(certain))) then
      put(call, old, holder, claim, certain, tenant)
    else
      answer = 'others'
    end
  elseif of_tenant >= limit and limit < total_limit then
    answer = 'tenant'
  elseif total >= total_limit then
    answer = 'global'
  else
    put(call, nil, holder, claim, certain, tenant)
  end
  if answer == 'held' then
    wrote(holder)
    of_tenant, total = number(tenants, tenant), redis.call('HLEN', calls)
  end
  answers[#answers + 1] = {answer, of_tenant, total}
end
return {'ok', before, number(writes, holder), whole(now() - number(fleet, 'born')), answers}
""")
"""Decide about new calls: each gets a slot below both limits, in the order given.

Of a call that the database has not confirmed, a process that lives keeps the slot, whoever asks later.
"""

HOLD: Final = Script("""
local holder, others = ARGV[1], {}
if not alive(holder) then return {'unregistered'} end
local before = number(writes, holder)
for index = 2, #ARGV, 4 do
  local call, claim, certain, tenant = ARGV[index], ARGV[index + 1], ARGV[index + 2], ARGV[index + 3]
  local old = slot(call)
  if old and not own(old, holder, tonumber(claim)) and not yields(old, tonumber(claim), tonumber(certain)) then
    others[#others + 1] = call
  else
    put(call, old, holder, claim, certain, tenant)
    wrote(holder)
  end
end
return {'ok', before, number(writes, holder), others}
""")
"""Hold the slots of calls that run, whatever the limits: after a failover, a return, a take-over."""

RELEASE: Final = Script("""
local holder, counts = ARGV[1], {}
local before = number(writes, holder)
for index = 2, #ARGV, 2 do
  local call = ARGV[index]
  local old = slot(call)
  if old and own(old, holder, tonumber(ARGV[index + 1])) then
    peak(old.tenant)
    uncount(old)
    redis.call('HDEL', calls, call)
    if alive(holder) then wrote(holder) end
    counts[#counts + 1] = old.tenant
    counts[#counts + 1] = number(tenants, old.tenant)
  end
end
return {'ok', before, number(writes, holder), redis.call('HLEN', calls), counts}
""")
"""Give slots back, each by its holder alone; a second time does nothing. Return what the fleet holds after it."""

FREE: Final = Script("""
local freed = 0
for index = 1, #ARGV, 3 do
  local call = ARGV[index]
  local old = slot(call)
  if old and old.holder == ARGV[index + 1] and old.claim == tonumber(ARGV[index + 2]) then
    peak(old.tenant)
    uncount(old)
    redis.call('HDEL', calls, call)
    freed = freed + 1
  end
end
return {'ok', freed}
""")
"""Free slots of the dead, each only if it is still held as it was when it was looked at."""

PAGE: Final = Script("""
local page = redis.call('HSCAN', calls, ARGV[1], 'COUNT', 500)
return {page[1], page[2]}
""")
"""Return some of the slots with the cursor to go on from; 0 begins and ends."""

LOOK: Final = Script("""
return {whole(now()), redis.call('ZRANGE', beats, 0, -1, 'WITHSCORES'), redis.call('HGETALL', fenced),
  redis.call('HGETALL', held), redis.call('HGETALL', writes), redis.call('HGETALL', infos),
  redis.call('HGETALL', fleet), redis.call('HLEN', calls)}
""")
"""Return every process and what it holds, as one moment."""

USAGE: Final = Script("""
return {redis.call('HLEN', calls), redis.call('HGETALL', tenants)}
""")
"""Return the slots in use, of all tenants together and of each, as one moment."""

PEAKS: Final = Script("""
local found = {redis.call('HLEN', calls)}
for index, tenant in ipairs(ARGV) do
  found[2 * index] = number(tenants, tenant)
  found[2 * index + 1] = redis.call('HGET', peaks, tenant) or ''
end
found[#found + 1] = whole(now())
found[#found + 1] = redis.call('HGET', fleet, 'born') or '0'
return found
""")
"""Return the slots in use in all, then of each tenant those in use and the peaks of past minutes, then the time."""
