import { Script } from "../../../redis/connection.ts";
import { TRIM_DEAD } from "./scripts.ts";

/*
 * Lua scripts about processes: their heartbeats, and their recovery. The rules for all scripts:
 * brokers/sidekiq/scripts/scripts.ts.
 */

/**
 * A heartbeat, and the process in the Web UI.
 *
 * KEYS: the process, processes, our processes, its queues, its signals, set of queues, the lists of its work. ARGV: identity,
 * lifetime in ms, n, n fields and values of the process, m, m names of queues, then fields and values of its work. Returns the
 * oldest signal, and whether the process counted as alive until now.
 */
export const BEAT = new Script(`
local signal = redis.call('RPOP', KEYS[5])
local was_alive = redis.call('EXISTS', KEYS[1])
local life = ARGV[2]
local at = 4
local fields = {}
for i = 1, tonumber(ARGV[3]) do fields[i] = ARGV[at]; at = at + 1 end
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('PEXPIRE', KEYS[1], life)
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('SADD', KEYS[3], ARGV[1])
local queues = tonumber(ARGV[at])
at = at + 1
for i = 1, queues do
  redis.call('SADD', KEYS[4], ARGV[at])
  redis.call('SADD', KEYS[6], ARGV[at])
  at = at + 1
end
for i = 7, #KEYS do
  redis.call('UNLINK', KEYS[i])
  for j = at, #ARGV, 2 do redis.call('HSET', KEYS[i], ARGV[j], ARGV[j + 1]) end
  redis.call('PEXPIRE', KEYS[i], life)
end
return { signal, was_alive }
`);

/**
 * The end of a process without jobs in flight.
 *
 * KEYS: processes, our processes, then the keys to delete. ARGV: identity.
 */
export const LEAVE = new Script(`
redis.call('SREM', KEYS[1], ARGV[1])
redis.call('SREM', KEYS[2], ARGV[1])
for i = 3, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 1
`);

/**
 * Adds to Sidekiq's counters; daily ones are kept for five years.
 *
 * KEYS: processed, processed on this day, failed, failed on this day. ARGV: the numbers of processed and failed jobs.
 */
export const COUNT = new Script(`
for i = 1, 2 do
  if tonumber(ARGV[i]) > 0 then
    redis.call('INCRBY', KEYS[2 * i - 1], ARGV[i])
    redis.call('INCRBY', KEYS[2 * i], ARGV[i])
    redis.call('EXPIRE', KEYS[2 * i], 157680000)
  end
end
return 1
`);

/**
 * Finds dead processes, which have sent no heartbeat for a while since that was first noticed. It takes two looks, so that live
 * processes do not count as dead whose heartbeats expired while Redis was unavailable. A suspicion is forgotten when nobody has
 * looked for longer: Redis may have been unavailable again.
 *
 * KEYS: our processes, suspects. ARGV: prefix of the keys, wait in ms, memory in ms. Returns identities.
 */
export const FIND_DEAD = new Script(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local dead = {}
for _, identity in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if redis.call('EXISTS', ARGV[1] .. identity) == 1 then
    redis.call('HDEL', KEYS[2], identity)
  else
    local since = tonumber(redis.call('HGET', KEYS[2], identity) or '')
    if not since or since > now then redis.call('HSET', KEYS[2], identity, now)
    elseif now - since >= tonumber(ARGV[2]) then dead[#dead + 1] = identity end
  end
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return dead
`);

/**
 * Takes a job back from a dead process.
 *
 * KEYS: the process, in-flight list, queue. ARGV: job, the job with its recovery. Returns -1 when the process is alive after
 * all, 0 when the job was missing.
 */
export const RECOVER = new Script(`
redis.call('LLEN', KEYS[3])
if redis.call('EXISTS', KEYS[1]) == 1 then return -1 end
if redis.call('LREM', KEYS[2], 1, ARGV[1]) == 0 then return 0 end
redis.call('RPUSH', KEYS[3], ARGV[2])
return 1
`);

/**
 * Takes a job back from a dead process, into the dead set.
 *
 * KEYS: in-flight list, dead set, the process. ARGV: job, score, the job with its failure. Returns as RECOVER.
 */
export const RECOVER_TO_DEAD = new Script(`
redis.call('ZCARD', KEYS[2])
if redis.call('EXISTS', KEYS[3]) == 1 then return -1 end
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[3])
${TRIM_DEAD}
return 1
`);

/**
 * Forgets a dead process without jobs in flight.
 *
 * KEYS: the process, our processes, suspects, its queues, then its in-flight lists. ARGV: identity.
 */
export const FORGET = new Script(`
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
for i = 5, #KEYS do if redis.call('EXISTS', KEYS[i]) == 1 then return 0 end end
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('UNLINK', KEYS[4])
return 1
`);
