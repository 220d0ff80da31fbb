import { Script } from "../../../redis/connection.ts";

/*
 * Lua scripts about pauses: Sidekiq Pro's set of paused queues, and beside it a hash of our own with a note for each that has
 * a reason or a time. What holds for all scripts: brokers/sidekiq/scripts/scripts.ts.
 */

/** Pauses a queue. KEYS: paused, notes. ARGV: queue, its note if there is one. */
export const PAUSE = new Script(`
redis.call('SCARD', KEYS[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('SADD', KEYS[1], ARGV[1])
if ARGV[2] then redis.call('HSET', KEYS[2], ARGV[1], ARGV[2]) end
return 1
`);

/** Resumes a queue. KEYS: paused, notes. ARGV: queue. Returns whether it was paused. */
export const RESUME = new Script(`
redis.call('SCARD', KEYS[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return redis.call('SREM', KEYS[1], ARGV[1])
`);

/**
 * Drops a note, with its pause when that is over; one that is not over stays while its queue is paused. Does nothing when the queue
 * has another note by now.
 *
 * KEYS: paused, notes. ARGV: queue, its note, `over` where it is.
 */
export const DROP_NOTE = new Script(`
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] ~= 'over' and redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then return 0 end
redis.call('SREM', KEYS[1], ARGV[1])
return redis.call('HDEL', KEYS[2], ARGV[1])
`);
