import { Script } from "./redis_connection.ts";

/*
 * Lua scripts: what has to happen at once. Redis runs one at a time, and whole, unless a key is of a wrong type: then up to
 * there. So each looks first at the keys that it adds to, before it removes a job anywhere. A full Redis refuses what takes
 * memory only as the first change of a script: so each begins with one that takes none.
 * Each names its KEYS and ARGV; jobs are compared and moved as bytes, never read.
 */

/**
 * Takes up to `max` jobs into this process's in-flight lists, a queue after the other.
 *
 * KEYS: the process, then queue and in-flight list in turn. ARGV: max.
 * Returns false when the process counts as dead, so that nothing is given to it that others would take away again; else
 * for each queue that was looked at, the number of its jobs and the jobs; -1 for one whose key is no list.
 */
export const TAKE = new Script(`
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
redis.call('PERSIST', KEYS[2])
local room = tonumber(ARGV[1])
local taken = {}
for i = 2, #KEYS, 2 do
  if room == 0 then break end
  local at = #taken + 1
  taken[at] = 0
  while room > 0 do
    local job = redis.pcall('LMOVE', KEYS[i], KEYS[i + 1], 'RIGHT', 'LEFT')
    if type(job) == 'table' then
      if not string.find(job.err, 'WRONGTYPE') then return job end
      taken[at] = -1
    end
    if type(job) ~= 'string' then break end
    taken[#taken + 1] = job
    taken[at] = taken[at] + 1
    room = room - 1
  end
end
return taken
`);

/**
 * Looks for a job of which nobody knows whether it was settled.
 *
 * KEYS: in-flight list, the process. ARGV: job. Returns how often it is there, and whether the process counts as alive.
 */
export const LOOK_FOR = new Script(`
local places = redis.call('LPOS', KEYS[1], ARGV[1], 'COUNT', 0)
return { #places, redis.call('EXISTS', KEYS[2]) }
`);

/**
 * Puts a held job back to where it came from, at the end from which jobs are taken.
 *
 * KEYS: in-flight list, queue. ARGV: job. Returns 0 when the job was not there.
 */
export const PUT_BACK = new Script(`
redis.call('LLEN', KEYS[2])
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
redis.call('RPUSH', KEYS[2], ARGV[1])
return 1
`);

/**
 * Moves all held jobs of a queue back, so that they are taken again in the order in which they were taken.
 *
 * KEYS: in-flight list, queue. Returns how many.
 */
export const PUT_ALL_BACK = new Script(`
local count = 0
while redis.call('LMOVE', KEYS[1], KEYS[2], 'LEFT', 'RIGHT') do count = count + 1 end
return count
`);

/**
 * Moves a held job into the retry set.
 *
 * KEYS: in-flight list, retry set. ARGV: job, score, the job with its failure. Returns 0 when the job was not there.
 */
export const RETRY_LATER = new Script(`
redis.call('ZCARD', KEYS[2])
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[3])
return 1
`);

/**
 * Moves a held job to the end of a queue.
 *
 * KEYS: in-flight list, queue, set of queues. ARGV: job, queue's name, the job with its failure.
 * Returns 0 when the job was not there.
 */
export const RETRY_NOW = new Script(`
redis.call('LLEN', KEYS[2])
redis.call('SCARD', KEYS[3])
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
redis.call('SADD', KEYS[3], ARGV[2])
redis.call('LPUSH', KEYS[2], ARGV[3])
return 1
`);

/** Of 180 days and 10,000 jobs, as Sidekiq trims it; behind \`ZADD\` to KEYS[2] at the time ARGV[2], seconds. */
const TRIM_DEAD = `
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', tonumber(ARGV[2]) - 15552000)
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -10000)
`;

/**
 * Moves a held job into the dead set, and trims that.
 *
 * KEYS: in-flight list, dead set. ARGV: job, score, the job with its failure. Returns 0 when the job was not there.
 */
export const BURY = new Script(`
redis.call('ZCARD', KEYS[2])
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[3])
${TRIM_DEAD}
return 1
`);

/**
 * Moves a job of a sorted set to a queue.
 *
 * KEYS: sorted set, queue, set of queues. ARGV: member, queue's name, the job as it enters the queue.
 * Returns 0 when another process was faster.
 */
export const PROMOTE = new Script(`
redis.call('LLEN', KEYS[2])
redis.call('SCARD', KEYS[3])
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('SADD', KEYS[3], ARGV[2])
redis.call('LPUSH', KEYS[2], ARGV[3])
return 1
`);

/**
 * Moves a member that is no job from a sorted set into the dead set.
 *
 * KEYS: sorted set, dead set. ARGV: member, score, its dead letter. Returns 0 when another process was faster.
 */
export const PROMOTE_TO_DEAD = new Script(`
redis.call('ZCARD', KEYS[2])
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[3])
${TRIM_DEAD}
return 1
`);

/**
 * Reads due members of a sorted set, at least one if there is one; no more than a client can take at once.
 *
 * KEYS: sorted set. ARGV: score, how many to leave out, how many at most, after how many bytes to stop.
 * Returns them, and when the next one is due if all were read; false when there is none.
 */
export const READ_DUE = new Script(`
local due = {}
local bytes = 0
local at = tonumber(ARGV[2])
while #due < tonumber(ARGV[3]) and bytes < tonumber(ARGV[4]) do
  local one = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', at, 1)
  if not one[1] then
    local after = redis.call('ZRANGE', KEYS[1], at, at, 'WITHSCORES')
    return { due, after[2] or false }
  end
  due[#due + 1] = one[1]
  bytes = bytes + #one[1]
  at = at + 1
end
return { due, ARGV[1] }
`);

/**
 * Reads a part of a sorted set, at least one member if there is one; no more than a client can take at once.
 *
 * KEYS: sorted set. ARGV: `ZRANGE` or `ZREVRANGE`, where to begin, how many at most, after how many bytes to stop.
 * Returns members and their scores in turn.
 */
export const READ_SET = new Script(`
local read = {}
local bytes = 0
local from = tonumber(ARGV[2])
for at = from, from + tonumber(ARGV[3]) - 1 do
  if bytes >= tonumber(ARGV[4]) then break end
  local one = redis.call(ARGV[1], KEYS[1], at, at, 'WITHSCORES')
  if not one[1] then break end
  read[#read + 1] = one[1]
  read[#read + 1] = one[2]
  bytes = bytes + #one[1]
end
return read
`);

/**
 * Reads the left end of a list, at least one element if there is one; no more than a client can take at once.
 *
 * KEYS: list. ARGV: how many at most, after how many bytes to stop.
 */
export const READ_LIST = new Script(`
local read = {}
local bytes = 0
for at = 0, tonumber(ARGV[1]) - 1 do
  if bytes >= tonumber(ARGV[2]) then break end
  local one = redis.call('LINDEX', KEYS[1], at)
  if not one then break end
  read[#read + 1] = one
  bytes = bytes + #one
end
return read
`);

/**
 * Enters a schedule that is not known, or has another rule now.
 *
 * KEYS: schedules. ARGV: its name, due time in ms, rule. Returns up to when its slots are claimed, in ms.
 */
export const BEGIN_SCHEDULE = new Script(`
local claimed, rule = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%d+) (.*)$')
if rule == ARGV[3] then return claimed end
if claimed and tonumber(claimed) > tonumber(ARGV[2]) then ARGV[2] = claimed end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
return ARGV[2]
`);

/**
 * Claims a slot of a schedule, and pushes its job if there is one.
 *
 * KEYS: schedules, queue, set of queues; only the first without a job. ARGV: the schedule's name, due time in ms, rule,
 * queue's name, job. Returns 0 when that slot or a later one was claimed before.
 */
export const CLAIM_SLOT = new Script(`
if #KEYS > 1 then
  redis.call('LLEN', KEYS[2])
  redis.call('SCARD', KEYS[3])
end
local claimed = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%d+) ')
if claimed and tonumber(claimed) >= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
if #KEYS > 1 then
  redis.call('SADD', KEYS[3], ARGV[4])
  redis.call('LPUSH', KEYS[2], ARGV[5])
end
return 1
`);

/**
 * A sign of life, and what the Web UI shows of a process.
 *
 * KEYS: the process, processes, our processes, its queues, its signals, set of queues, the lists of its work.
 * ARGV: identity, life in ms, n, n fields and values of the process, m, m names of queues, then fields and values of its
 * work. Returns the oldest signal, and whether the process counted as alive until now.
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
 * The end of a process that holds nothing any more.
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
 * Adds to Sidekiq's counters; those of a day are kept for five years.
 *
 * KEYS: processed, processed on this day, failed, failed on this day. ARGV: how many were processed, and failed.
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
 * Looks for dead processes: those that have given no sign of life for a while since that was first noticed. Two looks,
 * so that a Redis that was away itself does not take the living, whose signs have run out meanwhile, for dead. What was
 * noticed is forgotten when nobody has looked for longer: Redis may have been away again, and they with it.
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
 * KEYS: the process, in-flight list, queue. ARGV: job, the job with its recovery.
 * Returns -1 when the process lives after all, 0 when the job was not there.
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
 * Forgets a dead process that holds nothing.
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
