import assert from "node:assert/strict";
import { redisFindings } from "../../../../src/brokers/sidekiq/check.ts";

const GOOD = { redis_version: "7.0.15", maxmemory_policy: "noeviction", role: "master", aof_enabled: "1" };

/** The findings that are not in order, by id, of a server that differs from a good one. */
function troubles(changed: Partial<Record<keyof typeof GOOD, string | undefined>>, save?: string) {
  const info = new Map(
    Object.entries({ ...GOOD, ...changed }).filter((entry): entry is [string, string] =>
      entry[1] !== undefined
    ),
  );
  return redisFindings({ info, save })
    .filter(({ severity }) => severity !== "ok")
    .map(({ id, severity, what }) => `${severity} ${id}: ${what}`);
}

Deno.test("redisFindings() finds nothing wrong with a server that keeps jobs", () => {
  assert.deepEqual(troubles({}), []);
  assert.deepEqual(troubles({ redis_version: "6.2.0" }), []);
  assert.deepEqual(troubles({ redis_version: "10.0.0" }), []);
});

Deno.test("redisFindings() names what throws jobs away, and what cannot be used", () => {
  assert.deepEqual(troubles({ maxmemory_policy: "volatile-lru" }), [
    'warning redis.eviction: maxmemory-policy is "volatile-lru"',
  ]);
  assert.deepEqual(troubles({ aof_enabled: "0" }, "3600 1"), [
    "warning redis.persistence: appendonly is off",
  ]);
  assert.deepEqual(troubles({ aof_enabled: "0" }), ["warning redis.persistence: appendonly is off"]);
  assert.deepEqual(troubles({ aof_enabled: "0" }, ""), [
    "warning redis.persistence: it writes nothing to disk",
  ]);
  assert.deepEqual(troubles({ role: "slave" }), ["error redis.replica: it is a replica"]);
  assert.deepEqual(troubles({ redis_version: "6.0.16" }), ["error redis.version: version 6.0.16 is too old"]);
});

Deno.test("redisFindings() says of what a server does not tell that it is not known", () => {
  assert.deepEqual(
    troubles({ redis_version: undefined, maxmemory_policy: undefined, aof_enabled: undefined }),
    [
      "notice redis.version: the server's version is unknown",
      "notice redis.eviction: maxmemory-policy is unknown",
      "notice redis.persistence: the setting appendonly is unknown",
    ],
  );
});

Deno.test("redisFindings() tells of a server that soon, or already, takes no writes", () => {
  const INFO = { ...GOOD, maxmemory: "1000" };
  const found = (changed: Record<string, string>) =>
    redisFindings({ info: new Map(Object.entries({ ...INFO, ...changed })), save: undefined })
      .filter(({ severity }) => severity !== "ok").map(({ id, severity }) => `${severity} ${id}`);
  assert.deepEqual(found({ used_memory: "900" }), []);
  assert.deepEqual(found({ used_memory: "901" }), ["warning redis.memory"]);
  assert.deepEqual(found({ used_memory: "1000" }), ["error redis.memory"]);
  assert.deepEqual(found({ used_memory: "1000", maxmemory: "0" }), []);
  assert.deepEqual(found({ rdb_last_bgsave_status: "err" }), ["warning redis.persistence"]);
  assert.deepEqual(found({ aof_last_write_status: "err" }), ["warning redis.persistence"]);
});
