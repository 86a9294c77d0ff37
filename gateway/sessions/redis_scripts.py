"""The atomic steps that run inside Redis, in Lua. Times are epoch milliseconds.

Keys under the prefix: `session:<id>` (hash: clear limits, sealed body), `token:<hash>` (hash: which session, host, generation,
MAC), `handles:<id>` (hash: this session's token hashes), `subject:<hash>` (set of ids), `all` (sorted set of ids), and the
channel `changes`. A session's own key dies with its absolute limit, by Redis' clock; its tokens and tombstone live an hour
longer, to say why. Scripts build key names from ids, so Redis Cluster is not supported.
"""

import hashlib
from typing import Final

from gateway.sessions.rules import GRACE_SECONDS, MAX_GRACE_TOKENS, MAX_LAZY_SECONDS, REMEMBER_SECONDS

_COMMON: Final = f"""
local GRACE, MAX_GRACE, REMEMBER = {GRACE_SECONDS * 1000}, {MAX_GRACE_TOKENS}, {REMEMBER_SECONDS * 1000}
local prefix, now = ARGV[1], tonumber(ARGV[2])

local function whole(number) return string.format('%.0f', number) end

local function announce(kind, id) redis.call('PUBLISH', prefix .. 'changes', kind .. ' ' .. id) end

-- End a living session for good: what it held goes, why it ended stays.
local function finish(id, why)
  local key = prefix .. 'session:' .. id
  local subject = redis.call('HGET', key, 'subject')
  redis.call('HSET', key, 'ended', why)
  redis.call('HDEL', key, 'body')
  redis.call('PEXPIRE', key, whole(math.max(redis.call('PTTL', key), 0) + REMEMBER))
  redis.call('DEL', prefix .. 'handles:' .. id)
  redis.call('ZREM', prefix .. 'all', id)
  redis.call('SREM', prefix .. 'subject:' .. subject, id)
  announce('revoked', id)
end

-- The fields of a living session, or nil and why there is none. What is found to have ended stays ended.
local function living(id)
  local f = redis.call('HMGET', prefix .. 'session:' .. id, 'ended', 'expires', 'idle', 'seen', 'generation', 'body')
  if f[1] then return nil, f[1] end
  if not f[2] then return nil, 'expired' end
  local idle, seen = tonumber(f[3]), tonumber(f[4])
  local lazy = math.min({MAX_LAZY_SECONDS * 1000:.0f}, idle / 10)
  if now >= tonumber(f[2]) then finish(id, 'expired') return nil, 'expired' end
  if now - seen >= idle + lazy then finish(id, 'idle') return nil, 'idle' end
  return {{expires = tonumber(f[2]), seen = seen, lazy = lazy, generation = f[5], body = f[6]}}
end

local function issue(id, name, host, generation, mac, left)
  local token, handles = prefix .. 'token:' .. name, prefix .. 'handles:' .. id
  redis.call('HSET', token, 'session', id, 'host', host, 'generation', generation, 'mac', mac)
  redis.call('PEXPIRE', token, whole(left + REMEMBER))
  redis.call('HSET', handles, name, generation .. '|0|' .. host)
  redis.call('PEXPIRE', handles, whole(left))
end

local function drop(id, name)
  redis.call('DEL', prefix .. 'token:' .. name)
  redis.call('HDEL', prefix .. 'handles:' .. id, name)
end

-- This host's tokens of a session: a list of {{name, generation, end of grace or 0}}.
local function of_host(id, host)
  local flat, mine = redis.call('HGETALL', prefix .. 'handles:' .. id), {{}}
  for i = 1, #flat, 2 do
    local generation, grace, its_host = string.match(flat[i + 1], '^(%d+)|(%d+)|(.*)$')
    if its_host == host then mine[#mine + 1] = {{flat[i], generation, tonumber(grace)}} end
  end
  return mine
end
"""


class Script:
    """A Lua text and the SHA-1 by which Redis calls it."""

    def __init__(self, body: str) -> None:
        self.text: Final = _COMMON + body
        self.sha: Final = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


RESOLVE: Final = Script("""
-- ARGV: prefix, then of each token: now, token hash, host. Answers each in turn.
local function resolve(stamp, name, host)
  local t = redis.call('HMGET', prefix .. 'token:' .. name, 'session', 'host', 'generation', 'mac', 'grace')
  if not t[1] or t[2] ~= host then return {'unknown'} end
  if t[5] and now >= tonumber(t[5]) then
    drop(t[1], name)
    return {'unknown'}
  end
  local s, why = living(t[1])
  if not s then return {why} end
  if now - s.seen >= s.lazy then
    s.seen = now
    redis.call('HSET', prefix .. 'session:' .. t[1], 'seen', stamp)
  end
  return {'alive', t[1], t[3], t[4], s.body, s.generation, whole(s.seen)}
end

local answers = {}
for i = 2, #ARGV, 3 do
  now = tonumber(ARGV[i])
  answers[#answers + 1] = resolve(ARGV[i], ARGV[i + 1], ARGV[i + 2])
end
return answers
""")

CREATE: Final = Script("""
-- ARGV: prefix, now, id, subject hash, expires, idle, generation, body, token hash, host, mac
local id, expires = ARGV[3], tonumber(ARGV[5])
local key, mine, left = prefix .. 'session:' .. id, prefix .. 'subject:' .. ARGV[4], expires - now
if redis.call('EXISTS', key) == 1 then return 0 end
redis.call('HSET', key, 'subject', ARGV[4], 'expires', ARGV[5], 'idle', ARGV[6], 'seen', ARGV[2],
  'generation', ARGV[7], 'body', ARGV[8])
redis.call('PEXPIRE', key, whole(left))
issue(id, ARGV[9], ARGV[10], ARGV[7], ARGV[11], left)
-- Ids whose session is long over leave the indexes; the day of margin is for clocks of other nodes.
redis.call('ZREMRANGEBYSCORE', prefix .. 'all', '-inf', whole(now - 86400000))
redis.call('ZADD', prefix .. 'all', ARGV[5], id)
for _, other in ipairs(redis.call('SMEMBERS', mine)) do
  if redis.call('EXISTS', prefix .. 'session:' .. other) == 0 then redis.call('SREM', mine, other) end
end
redis.call('SADD', mine, id)
if redis.call('PTTL', mine) < left then redis.call('PEXPIRE', mine, whole(left)) end
return 1
""")

READ: Final = Script("""
-- ARGV: prefix, then of each session: now, id. Answers each in turn: {body, generation, seen}, or {} when it does not live.
local answers = {}
for i = 2, #ARGV, 2 do
  now = tonumber(ARGV[i])
  local s = living(ARGV[i + 1])
  if s then
    answers[#answers + 1] = {s.body, s.generation, whole(s.seen)}
  else
    redis.call('ZREM', prefix .. 'all', ARGV[i + 1])
    answers[#answers + 1] = {}
  end
end
return answers
""")

ATTACH: Final = Script("""
-- ARGV: prefix, now, id, expected generation, token hash, host, mac
local id = ARGV[3]
local s = living(id)
if not s then return 'gone' end
if s.generation ~= ARGV[4] then return 'conflict' end
local graced = {}
for _, handle in ipairs(of_host(id, ARGV[6])) do
  local name, generation, grace = handle[1], handle[2], handle[3]
  if generation ~= s.generation or (grace > 0 and now >= grace) then
    drop(id, name)
  else
    if grace == 0 then
      grace = now + GRACE
      redis.call('HSET', prefix .. 'token:' .. name, 'grace', whole(grace))
      redis.call('PEXPIRE', prefix .. 'token:' .. name, GRACE)
      redis.call('HSET', prefix .. 'handles:' .. id, name, generation .. '|' .. whole(grace) .. '|' .. ARGV[6])
    end
    graced[#graced + 1] = {grace, name}
  end
end
table.sort(graced, function(a, b) return a[1] > b[1] end)
for i = MAX_GRACE + 1, #graced do drop(id, graced[i][2]) end
issue(id, ARGV[5], ARGV[6], s.generation, ARGV[7], s.expires - now)
return 'ok'
""")

CHANGE: Final = Script("""
-- ARGV: prefix, now, id, the body as it was read, expires, idle, generation, body, token hash, host, mac. No two bodies are the
-- same: each is sealed with a nonce of its own.
local id, expires = ARGV[3], tonumber(ARGV[5])
local key = prefix .. 'session:' .. id
local s = living(id)
if not s then return 'gone' end
if s.body ~= ARGV[4] then return 'conflict' end
redis.call('HSET', key, 'expires', ARGV[5], 'idle', ARGV[6], 'generation', ARGV[7], 'body', ARGV[8])
if expires < s.expires then
  redis.call('PEXPIRE', key, whole(math.max(math.min(redis.call('PTTL', key), expires - now), 1)))
end
for _, handle in ipairs(of_host(id, ARGV[10])) do drop(id, handle[1]) end
issue(id, ARGV[9], ARGV[10], ARGV[7], ARGV[11], expires - now)
announce('changed', id)
return 'ok'
""")

LESSEN: Final = Script("""
-- ARGV: prefix, now, id, the body as it was read, the new one. Limits, generation and tokens stay.
local id = ARGV[3]
local s = living(id)
if not s then return 'gone' end
if s.body ~= ARGV[4] then return 'conflict' end
redis.call('HSET', prefix .. 'session:' .. id, 'body', ARGV[5])
announce('changed', id)
return 'ok'
""")

OF_SUBJECT: Final = Script("""
-- ARGV: prefix, now, subject hash. The ids of this person's sessions, living or not.
return redis.call('SMEMBERS', prefix .. 'subject:' .. ARGV[3])
""")

REVOKE: Final = Script("""
-- ARGV: prefix, now, id...
local ended = 0
for i = 3, #ARGV do
  if living(ARGV[i]) then
    finish(ARGV[i], 'revoked')
    ended = ended + 1
  end
end
return ended
""")

REVOKE_SUBJECT: Final = Script("""
-- ARGV: prefix, now, subject hash
local ended = 0
for _, id in ipairs(redis.call('SMEMBERS', prefix .. 'subject:' .. ARGV[3])) do
  if living(id) then
    finish(id, 'revoked')
    ended = ended + 1
  end
end
return ended
""")
