import { Script } from "../../../redis/connection.ts";
import { READ_MEMBERS } from "./scripts.ts";

/* Lua scripts that read a page of jobs. The rules for all scripts: brokers/sidekiq/scripts/scripts.ts. */

/**
 * Reads a part of a list from its right end, where jobs are taken; at least one element if there is one.
 *
 * KEYS: list. ARGV: elements to skip, at most this many, stop after this many bytes.
 */
export const READ_TAIL = new Script(`
local read = {}
local bytes = 0
for at = ARGV[1] + 1, ARGV[1] + ARGV[2] do
  if bytes >= tonumber(ARGV[3]) then break end
  local one = redis.call('LINDEX', KEYS[1], -at)
  if not one then break end
  read[#read + 1] = one
  bytes = bytes + #one
end
return read
`);

/**
 * Reads a part of a sorted set, the lowest scores first, at least one member if there is one.
 *
 * KEYS: sorted set. ARGV: first score, members with that score to skip, at most this many, stop after this many bytes. Returns
 * members and their scores in turn.
 */
export const READ_SET_FROM = new Script(`
${READ_MEMBERS}
local from = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[1]) + ARGV[2]
return members('ZRANGE', from, tonumber(ARGV[3]), tonumber(ARGV[4]))
`);
