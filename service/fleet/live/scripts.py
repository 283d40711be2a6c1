"""The scripts that add up what processes counted, each one atomic and safe to repeat, and the keys they stand on.

Tenants are spread over buckets, and the total of all tenants has one of its own. All keys of a bucket share one hash
tag, so that a cluster keeps them in one slot:

============ ====== ======================================================================================
sums         hash   tenant → the sum of all processes' rows, those of the gone among them, and ``m``, the minute
                    since 1970 in which it changed last
past         hash   tenant → what its sum was at the beginnings of past minutes, a line each
meta         hash   ``generation``: which filling this is; ``born``: when it was filled; ``version``: of the sums;
                    ``seeding``, ``until``: who fills it now, and how long it may take; ``losses``: of any
                    bucket that were found, in that of the total alone
holders      hash   holder → the sequence of its last rows
gone         set    holder → when its open calls left its row: nothing more is taken from it
changes      set    tenant → the version at which its sum changed last
pulse        set    holder → the moment up to which its rows are here; of the bucket of the total alone
own:holder   hash   tenant → the row that a process sent last
kept:holder  hash   tenant → its row without open calls, once the process is gone
============ ====== ======================================================================================

A row is a JSON object of integers by code, see :mod:`service.fleet.live.fields`; the total goes by an empty name. A
process sends what it has counted since it began; the difference to what it sent before is taken here, so that a repeat
adds nothing, and a failover that loses rows loses what was added for them, too.
"""

from functools import partial
from typing import Final

from service.fleet.live.fields import code_of
from service.fleet.scripts import Script
from service.fleet.steps import STEP_IN_LUA

BUCKETS: Final = 16
"""Buckets of tenants. More processes than this number of servers in a cluster could not share the work further."""

TOTAL_BUCKET: Final = BUCKETS
"""The number of the bucket of the total."""

SHARED: Final = ("sums", "past", "meta", "holders", "gone", "changes", "pulse")


def bucket_keys(prefix: str, bucket: int, *holders: str) -> list[str]:
    """Return the keys of a bucket, and of what these holders have in it."""
    tag = f"{{{prefix}:live:{bucket}}}"
    shared = [f"{tag}:{name}" for name in SHARED]
    return shared + [f"{tag}:{kind}:{holder}" for holder in holders for kind in ("own", "kept")]


_COMMON: Final = (
    STEP_IN_LUA
    + """
local sums, past, meta, holders, gone, changes, pulse, own, kept = unpack(KEYS)

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function whole(number) return string.format('%.0f', number) end

local function row(text) return text and cjson.decode(text) or {} end

local function written(numbers)
  for code, number in pairs(numbers) do if number == 0 then numbers[code] = nil end end
  local text, parts = cjson.encode(numbers), {}
  -- The encoder keeps fourteen digits, and writes longer numbers with an exponent.
  if not string.find(text, 'e+', 1, true) then return text end
  for code, number in pairs(numbers) do parts[#parts + 1] = '"' .. code .. '":' .. whole(number) end
  return '{' .. table.concat(parts, ',') .. '}'
end

-- What a sum was when a minute began, kept by the minute for five, by five minutes for an hour, by the hour for a day.
local function remember(tenant, text, minute)
  local before = redis.call('HGET', past, tenant) or ''
  local lines, group = {minute .. ' ' .. (text or '{}')}, nil
  for line in string.gmatch(before, '[^\\n]+') do
    local start = tonumber(string.match(line, '^(%d+) '))
    local this = step(start, minute)
    if not this then break end
    -- Lines come from the latest to the oldest: of a group the oldest one stays.
    if this == group then lines[#lines] = line else lines[#lines + 1] = line end
    group = this
  end
  redis.call('HSET', past, tenant, table.concat(lines, '\\n'))
end

-- Adds a difference to a tenant's sum, which carries the minute (m) that it last changed in.
local function add(tenant, more, at, version)
  if not next(more) and redis.call('HEXISTS', sums, tenant) == 1 then return end
  local text, minute = redis.call('HGET', sums, tenant), math.floor(at / 60000)
  local sum = row(text)
  if sum.m ~= minute then
    remember(tenant, text, minute)
    sum.m = minute
  end
  for code, number in pairs(more) do sum[code] = (sum[code] or 0) + number end
  redis.call('HSET', sums, tenant, written(sum))
  redis.call('ZADD', changes, version, tenant)
end

local function difference(old, new)
  local more = {}
  for code, number in pairs(new) do
    if number ~= (old[code] or 0) then more[code] = number - (old[code] or 0) end
  end
  for code, number in pairs(old) do
    if not new[code] and number ~= 0 then more[code] = -number end
  end
  return more
end

local function retired(numbers)
  local function of(code) return numbers[code] or 0 end
  local pending, active = of('PENDING'), of('ACTIVE')
  local waiting = of('ACCEPTED') - of('STARTED') - of('ABANDONED')
  numbers['RECEIVED'] = of('RECEIVED') - pending - active
  numbers['ACCEPTED'] = of('ACCEPTED') - waiting - active
  numbers['STARTED'] = of('STARTED') - active
  numbers['PENDING'], numbers['ACTIVE'] = 0, 0
  return numbers
end
""".replace("'PENDING'", f"'{code_of('pending_calls')}'")
    .replace("'ACTIVE'", f"'{code_of('active_calls')}'")
    .replace("'RECEIVED'", f"'{code_of('received_calls')}'")
    .replace("'ACCEPTED'", f"'{code_of('accepted_calls')}'")
    .replace("'STARTED'", f"'{code_of('started_calls')}'")
    .replace("'ABANDONED'", f"'{code_of('abandoned_calls')}'")
)

_script = partial(Script, common=_COMMON)

SEND: Final = _script("""
local holder, sequence, last = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local lag, recent, known = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local generation = redis.call('HGET', meta, 'generation')
if not generation then return {'unseeded'} end
if redis.call('ZSCORE', gone, holder) then return {'gone'} end
local at, before = now(), tonumber(redis.call('HGET', holders, holder) or '0')
if sequence > before then
  local version = #ARGV > 6 and whole(redis.call('HINCRBY', meta, 'version', 1))
  for index = 7, #ARGV, 3 do
    local tenant, text, more = ARGV[index], ARGV[index + 1], row(ARGV[index + 2])
    if last ~= before then more = difference(row(redis.call('HGET', own, tenant)), row(text)) end
    add(tenant, more, at, version)
    redis.call('HSET', own, tenant, text)
  end
  redis.call('HSET', holders, holder, sequence)
end
if lag < 0 then return {'ok', generation, before} end
local losses = redis.call('HGET', meta, 'losses') or '0'
if known == generation .. ':' .. losses then redis.call('ZADD', pulse, whole(at - lag), holder) end
local oldest = redis.call('ZRANGE', pulse, 0, 0, 'WITHSCORES')
local speaking = redis.call('ZCOUNT', pulse, whole(at - recent), '+inf')
return {'ok', generation, before, whole(at - (oldest[2] or at)), speaking, losses}
""")
"""Take rows of a living process. Return which filling of the bucket took them, and the sequence it knew before.

With each row comes its difference to what the process last knew to have arrived, with the sequence ``last``. If that is
what the bucket has, too, the difference is right and cheap; if not, it is taken here.

A lag of 0 or more says, in the bucket of the total, that all rows of the process up to so many milliseconds ago are in
the store, if it has looked for all losses so far, as ``known`` tells: the filling and the losses that it knows of. The
answer then tells the age of the rows of whoever was heard least lately, and how many were heard of in the last
``recent`` milliseconds.
"""

READ: Final = _script("""
local tenant = ARGV[1]
return {redis.call('HGET', sums, tenant) or '', redis.call('HGET', own, tenant) or '',
  redis.call('HGET', meta, 'generation') or '', redis.call('HGET', meta, 'born') or '0', whole(now()),
  ARGV[2] == '1' and redis.call('HGET', past, tenant) or ''}
""")
"""Return a tenant's sum, what one process has added to it, and if asked for the past, as one moment."""

SUMS: Final = _script("""
local page = redis.call('HSCAN', sums, ARGV[1], 'COUNT', ARGV[2])
return {page[1], page[2], redis.call('HGET', meta, 'generation') or ''}
""")
"""Return some of the sums with the cursor to go on from, which is 0 at the beginning and the end, and the filling."""

READ_SOME: Final = _script("""
local found = {}
for _, tenant in ipairs(ARGV) do
  found[#found + 1] = redis.call('HGET', sums, tenant) or ''
  found[#found + 1] = redis.call('HGET', own, tenant) or ''
end
return {found, redis.call('HGET', meta, 'generation') or '', redis.call('HGET', meta, 'born') or '0', whole(now())}
""")
"""Return the sums of some tenants of a bucket, each with what one process has added to it, as one moment."""

CHANGED: Final = _script("""
-- Lines are long: they are looked at where they are, and only the one that is meant is taken out.
local function begun(before, first)
  local from, text, stop = 1, nil, nil
  while from <= #before do
    local last = string.find(before, '\\n', from, true) or #before + 1
    local _, space, minute = string.find(before, '^(%d+) ', from)
    if tonumber(minute) < first then break end
    text, stop, from = space + 1, last - 1, last + 1
  end
  return text and string.sub(before, text, stop) or ''
end

local since, rank, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local found, last = {}, 1
if most > 0 then
  local page = redis.call('ZREVRANGE', changes, rank, rank + most - 1, 'WITHSCORES')
  last = #page < 2 * most and 1 or 0
  for index = 1, #page, 2 do
    local tenant, new = page[index], tonumber(page[index + 1]) > since
    if not new and #ARGV == 3 then last = 1 break end
    found[#found + 1] = tenant
    found[#found + 1] = new and redis.call('HGET', sums, tenant) or ''
    local before = #ARGV > 3 and redis.call('HGET', past, tenant) or ''
    for place = 4, #ARGV do
      found[#found + 1] = begun(before, tonumber(ARGV[place]))
    end
  end
end
return {redis.call('HGET', meta, 'generation') or '', redis.call('HGET', meta, 'version') or '0',
  redis.call('HGET', meta, 'born') or '0', whole(now()), redis.call('ZCARD', changes), last, found}
""")
"""Return a bucket's tenants, those first that changed last: each with its sum if that is newer than a version, and with
what it was when windows began, of which the first minutes are given: the line that
:meth:`service.fleet.live.counts.FleetCounts.window` takes. Without windows only those are told of that are newer.
"""

HOLDERS: Final = _script("""
return {redis.call('HKEYS', holders), redis.call('HGET', meta, 'generation') or ''}
""")
"""Return the processes that have rows in the bucket, and the bucket's filling."""

WIPE: Final = _script("""
redis.call('HDEL', meta, 'generation')
return {}
""")
"""Have a bucket filled anew: its sums are of another database."""

CHECK: Final = _script("""
return {redis.call('HGET', meta, 'generation') or '', redis.call('HGET', holders, ARGV[1]) or '0'}
""")
"""Return a bucket's filling, and the sequence of a process's last rows there."""

LOST: Final = _script("""
redis.call('HINCRBY', meta, 'losses', 1)
redis.call('DEL', pulse)
return {}
""")
"""Have every process look whether the buckets have what it sent: one has found that something was lost.

None counts as heard of before it has.
"""

RETIRE: Final = _script("""
local holder, most = ARGV[1], tonumber(ARGV[2])
local at = now()
redis.call('ZREMRANGEBYSCORE', gone, '-inf', whole(at - tonumber(ARGV[3])))
local news = redis.call('ZADD', gone, 'NX', whole(at), holder)
redis.call('ZREM', pulse, holder)
if not redis.call('HGET', meta, 'generation') then return {0, news} end
local page = redis.call('HSCAN', own, 0, 'COUNT', most)[2]
local version = #page > 0 and whole(redis.call('HINCRBY', meta, 'version', 1))
for index = 1, math.min(#page, 2 * most), 2 do
  local tenant, text = page[index], page[index + 1]
  local rest = retired(row(text))
  add(tenant, difference(row(text), rest), at, version)
  redis.call('HSET', kept, tenant, written(rest))
  redis.call('HDEL', own, tenant)
end
return {redis.call('HLEN', own), news}
""")
"""Take the open calls of a process that is gone out of some of its rows, and nothing from it any more.

Return how many rows are left to do, and 1 if the bucket did not know that it is gone.
"""

KEPT: Final = _script("""
local page = redis.call('HSCAN', kept, ARGV[1], 'COUNT', ARGV[2])
return {page[1], page[2]}
""")
"""Return some of the rows of a process that is gone, with the cursor to go on from; 0 begins and ends."""

FOLDED: Final = _script("""
redis.call('HDEL', holders, ARGV[1])
redis.call('UNLINK', own, kept)
local generation = redis.call('HGET', meta, 'generation')
if generation and generation ~= ARGV[2] then redis.call('HDEL', meta, 'generation') end
return {generation == ARGV[2] and 1 or 0}
""")
"""Forget the rows of a process that is gone: the database has them. Their part of the sums stays.

If the bucket was filled anew meanwhile, nobody knows whether that was with these rows: then it is filled once more.
"""

SEED_BEGIN: Final = _script("""
if redis.call('HGET', meta, 'generation') then return {'seeded'} end
local at, token = now(), ARGV[1]
local other = redis.call('HGET', meta, 'seeding')
if other and other ~= token and tonumber(redis.call('HGET', meta, 'until')) > at then return {'busy'} end
redis.call('UNLINK', sums, past, changes, holders, pulse)
for index = 8, #KEYS do redis.call('UNLINK', KEYS[index]) end
redis.call('HSET', meta, 'seeding', token, 'until', whole(at + tonumber(ARGV[2])))
return {'begun'}
""")
"""Empty a bucket in order to fill it: all its processes' rows, too, of which the keys are given."""

SEED_ROWS: Final = _script("""
if redis.call('HGET', meta, 'generation') or redis.call('HGET', meta, 'seeding') ~= ARGV[1] then return {'lost'} end
for index = 2, #ARGV, 2 do
  redis.call('HSET', sums, ARGV[index], ARGV[index + 1])
  redis.call('ZADD', changes, 0, ARGV[index])
end
return {'ok'}
""")
"""Fill a bucket with sums of those that are gone, as the database has them."""

SEED_END: Final = _script("""
if redis.call('HGET', meta, 'generation') or redis.call('HGET', meta, 'seeding') ~= ARGV[1] then return {'lost'} end
redis.call('HDEL', meta, 'seeding', 'until')
redis.call('HSET', meta, 'generation', ARGV[1], 'born', whole(now()))
return {'ok'}
""")
"""Have a filled bucket take rows from now on."""
