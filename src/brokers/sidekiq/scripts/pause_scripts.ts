import { Script } from "../../../redis/connection.ts";

/*
 * Lua scripts about pauses: Sidekiq Pro's set of paused queues, and our hash with a note for each pause with a reason or a
 * time. The rules for all scripts: brokers/sidekiq/scripts/scripts.ts.
 */

/** Pauses a queue. KEYS: paused, notes. ARGV: queue, its note if any. */
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
 * Drops a note, with its pause if that is over; a note of a lasting pause stays while its queue is paused. Does nothing if the
 * queue has another note by now.
 *
 * KEYS: paused, notes. ARGV: queue, its note, `over` if it is.
 */
export const DROP_NOTE = new Script(`
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] ~= 'over' and redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then return 0 end
redis.call('SREM', KEYS[1], ARGV[1])
return redis.call('HDEL', KEYS[2], ARGV[1])
`);
