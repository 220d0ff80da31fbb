import { Script } from "../../../redis/connection.ts";

/*
 * Lua scripts for atomic steps. Redis runs one script at a time, and completely, unless a key has a wrong type: then it stops
 * there. So each script first reads the keys that it adds to, before it removes a job anywhere. A full Redis refuses a command
 * that needs memory only as the first change of a script: so each begins with one that needs none. Each names its KEYS and
 * ARGV; jobs are compared and moved as bytes, never parsed.
 */

/**
 * Takes jobs into this process's in-flight lists, one queue after the other.
 *
 * KEYS: the process, then queue and in-flight list in turn. ARGV: at most this many, stop after this many bytes. Returns false
 * when the process counts as dead: it gets no job that others would take back at once. Else, for each queue that was looked at,
 * the number of its jobs and the jobs; -1 for a key that is not a list.
 */
export const TAKE = new Script(`
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
redis.call('PERSIST', KEYS[2])
local room = tonumber(ARGV[1])
local bytes = tonumber(ARGV[2])
local taken = {}
for i = 2, #KEYS, 2 do
  if room == 0 or bytes <= 0 then break end
  local at = #taken + 1
  taken[at] = 0
  while room > 0 and bytes > 0 do
    local job = redis.pcall('LMOVE', KEYS[i], KEYS[i + 1], 'RIGHT', 'LEFT')
    if type(job) == 'table' then
      if not string.find(job.err, 'WRONGTYPE') then return job end
      taken[at] = -1
    end
    if type(job) ~= 'string' then break end
    taken[#taken + 1] = job
    taken[at] = taken[at] + 1
    room = room - 1
    bytes = bytes - #job
  end
end
return taken
`);

/**
 * Looks for a job whose settle has no answer.
 *
 * KEYS: in-flight list, the process. ARGV: job. Returns how often it is in the list, and whether the process counts as alive.
 */
export const LOOK_FOR = new Script(`
local places = redis.call('LPOS', KEYS[1], ARGV[1], 'COUNT', 0)
return { #places, redis.call('EXISTS', KEYS[2]) }
`);

/**
 * Puts a job in flight back to the end of its queue from which jobs are taken.
 *
 * KEYS: in-flight list, queue. ARGV: job, and its replacement if any. Returns 0 when the job was missing.
 */
export const PUT_BACK = new Script(`
redis.call('LLEN', KEYS[2])
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
redis.call('RPUSH', KEYS[2], ARGV[2] or ARGV[1])
return 1
`);

/**
 * Puts back all jobs in flight of a queue, so that they are taken again in the same order.
 *
 * KEYS: in-flight list, queue. Returns how many.
 */
export const PUT_ALL_BACK = new Script(`
local count = 0
while redis.call('LMOVE', KEYS[1], KEYS[2], 'LEFT', 'RIGHT') do count = count + 1 end
return count
`);

/**
 * Puts back the strays of an in-flight list, so that they are taken again in the same order. A mark is the SHA-1 of the two
 * ends of a job, and its length. Nothing is moved while a job that must be in the list is missing: its bytes arrived altered,
 * and it would count as a stray.
 *
 * KEYS: in-flight list, queue, dead set. ARGV: score, the length of an end, n, n marks of jobs that go to the dead set instead,
 * m, m marks of jobs in flight that may be gone, then the marks of the other jobs in flight. Returns the marks of the jobs that
 * were put back, and how many went to the dead set.
 */
export const PUT_BACK_STRAYS = new Script(`
redis.call('LLEN', KEYS[2])
redis.call('ZCARD', KEYS[3])
local size = tonumber(ARGV[2])
local spent = {}
for i = 4, 3 + tonumber(ARGV[3]) do spent[ARGV[i]] = true end
local at = 4 + tonumber(ARGV[3])
local gone = {}
for i = at + 1, at + tonumber(ARGV[at]) do gone[ARGV[i]] = (gone[ARGV[i]] or 0) + 1 end
local held = {}
local missing = 0
for i = at + tonumber(ARGV[at]) + 1, #ARGV do
  held[ARGV[i]] = (held[ARGV[i]] or 0) + 1
  missing = missing + 1
end
local strays = {}
for i = 0, redis.call('LLEN', KEYS[1]) - 1 do
  local job = redis.call('LINDEX', KEYS[1], i)
  local mark = redis.sha1hex(string.sub(job, 1, size) .. string.sub(job, -size)) .. #job
  if (held[mark] or 0) > 0 then
    held[mark] = held[mark] - 1
    missing = missing - 1
  elseif (gone[mark] or 0) > 0 then
    gone[mark] = gone[mark] - 1
  else
    strays[#strays + 1] = { job, mark }
  end
end
local returned = {}
local buried = 0
if missing == 0 then
  for _, stray in ipairs(strays) do
    redis.call('LREM', KEYS[1], 1, stray[1])
    if spent[stray[2]] then
      redis.call('ZADD', KEYS[3], ARGV[1], stray[1])
      buried = buried + 1
    else
      redis.call('RPUSH', KEYS[2], stray[1])
      returned[#returned + 1] = stray[2]
    end
  end
end
return { returned, buried }
`);

/**
 * Moves a job in flight into the retry set.
 *
 * KEYS: in-flight list, retry set. ARGV: job, score, the job with its failure. Returns 0 when the job was missing.
 */
export const RETRY_LATER = new Script(`
redis.call('ZCARD', KEYS[2])
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[3])
return 1
`);

/**
 * Moves a job in flight to the end of a queue.
 *
 * KEYS: in-flight list, queue, set of queues. ARGV: job, queue's name, the job with its failure. Returns 0 when the job was
 * missing.
 */
export const RETRY_NOW = new Script(`
redis.call('LLEN', KEYS[2])
redis.call('SCARD', KEYS[3])
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
redis.call('SADD', KEYS[3], ARGV[2])
redis.call('LPUSH', KEYS[2], ARGV[3])
return 1
`);

/** Trims to 180 days and 10,000 jobs, as Sidekiq does; after `ZADD` to KEYS[2] at the time ARGV[2], seconds. */
export const TRIM_DEAD = `
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', tonumber(ARGV[2]) - 15552000)
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -10000)
`;

/**
 * Moves a job in flight into the dead set, and trims the set.
 *
 * KEYS: in-flight list, dead set. ARGV: job, score, the job with its failure. Returns 0 when the job was missing.
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
 * Moves an unreadable member from a sorted set into the dead set.
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
 * KEYS: sorted set. ARGV: score, members to skip, at most this many, stop after this many bytes. Returns them, and when the
 * next one is due if all were read; false without one.
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

/** Lua: members of the sorted set and their scores in turn, from rank `from`, at most `most`, until `limit` bytes are read. */
export const READ_MEMBERS = `
local function members(command, from, most, limit)
  local read = {}
  local bytes = 0
  for at = from, from + most - 1 do
    if bytes >= limit then break end
    local one = redis.call(command, KEYS[1], at, at, 'WITHSCORES')
    if not one[1] then break end
    read[#read + 1] = one[1]
    read[#read + 1] = one[2]
    bytes = bytes + #one[1]
  end
  return read
end`;

/**
 * Reads a part of a sorted set, at least one member if there is one; no more than a client can take at once.
 *
 * KEYS: sorted set. ARGV: `ZRANGE` or `ZREVRANGE`, the first rank, at most this many, stop after this many bytes. Returns
 * members and their scores in turn.
 */
export const READ_SET = new Script(`
${READ_MEMBERS}
return members(ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]))
`);

/**
 * Reads a part of a sorted set, the highest scores first, at least one member if there is one; no more than a client can take
 * at once. Other clients change all ranks by adding and removing members: so it begins after a member, even a removed one, and
 * not at a rank.
 *
 * KEYS: sorted set. ARGV: at most this many, stop after this many bytes, the first score, empty for the highest of all; and
 * with a score, `at` for its first member or `behind` for the member after the next argument. Returns members and their scores
 * in turn.
 */
export const READ_SET_BEHIND = new Script(`
${READ_MEMBERS}
local from = 0
local score = ARGV[3]
if score ~= '' then
  from = redis.call('ZCOUNT', KEYS[1], '(' .. score, '+inf')
  if ARGV[4] == 'behind' then
    -- Members of one score are sorted by their bytes, here the highest first.
    local last = from + redis.call('ZCOUNT', KEYS[1], score, score)
    while from < last do
      local middle = math.floor((from + last) / 2)
      if redis.call('ZREVRANGE', KEYS[1], middle, middle)[1] < ARGV[5] then last = middle else from = middle + 1 end
    end
  end
end
return members('ZREVRANGE', from, tonumber(ARGV[1]), tonumber(ARGV[2]))
`);

/**
 * Reads the element at the right end of a list, which is taken next; nil for one that is too long.
 *
 * KEYS: list. ARGV: the most bytes.
 */
export const READ_NEXT = new Script(`
local one = redis.call('LINDEX', KEYS[1], -1)
return one and #one <= tonumber(ARGV[1]) and one
`);

/**
 * Removes the elements at the right end of a list; returns how many there were.
 *
 * KEYS: list. ARGV: at most this many.
 */
export const TRIM = new Script(`
local count = math.min(redis.call('LLEN', KEYS[1]), tonumber(ARGV[1]))
redis.call('LTRIM', KEYS[1], 0, -(count + 1))
return count
`);

/**
 * Reads the left end of a list, at least one element if there is one; no more than a client can take at once.
 *
 * KEYS: list. ARGV: at most this many, stop after this many bytes.
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
 * Changes the record of a schedule, and pushes its job if there is one.
 *
 * KEYS: schedules, queue, set of queues; only the first without a job. ARGV: the schedule's name, the expected record (empty
 * for none), the new record, queue's name, job. Returns 0 when the record is another one.
 */
export const CHANGE_SCHEDULE = new Script(`
if #KEYS > 1 then
  redis.call('LLEN', KEYS[2])
  redis.call('SCARD', KEYS[3])
end
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if #KEYS > 1 then
  redis.call('SADD', KEYS[3], ARGV[4])
  redis.call('LPUSH', KEYS[2], ARGV[5])
end
return 1
`);
