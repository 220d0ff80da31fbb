import type { Buffer } from "node:buffer";
import type { Finding } from "../../core/finding.ts";
import type { RedisConnection } from "../../redis/connection.ts";
import { isNotAllowed } from "../../redis/errors.ts";

/** The facts about a Redis server. */
export interface RedisFacts {
  /** The fields of `INFO`. */
  readonly info: ReadonlyMap<string, string>;
  /** `CONFIG GET save`: when it writes snapshots, "" for never; undefined without the right to ask. */
  readonly save: string | undefined;
}

/**
 * Findings about a Redis server. Managed servers, and users with few rights, answer less.
 *
 * @throws {QueueError} QUEUE_UNAVAILABLE
 */
export async function checkServer(connection: RedisConnection): Promise<Finding[]> {
  const info = await connection.send(["INFO"]).then((answer) => parseInfo(String(answer)), (error) => {
    if (isNotAllowed(error)) return new Map<string, string>();
    throw error;
  });
  const save = await connection.send<Buffer[]>(["CONFIG", "GET", "save"]).then(
    (answer) => String(answer[1] ?? ""),
    () => undefined,
  );
  return redisFindings({ info, save });
}

/** Judges the facts. */
export function redisFindings({ info, save }: RedisFacts): Finding[] {
  return [version(info), eviction(info), ...replica(info), ...memory(info), persistence(info, save)];
}

function version(info: RedisFacts["info"]): Finding {
  const id = "redis.version";
  const told = info.get("redis_version");
  if (told === undefined) return { id, severity: "notice", what: "the server's version is unknown" };
  const [major = 0, minor = 0] = told.split(".").map(Number);
  if (major > 6 || (major === 6 && minor >= 2)) return { id, severity: "ok", what: `version ${told}` };
  return {
    id,
    severity: "error",
    code: "QUEUE_UNAVAILABLE",
    what: `version ${told} is too old`,
    why: "commands that the worker needs are missing",
    fix: "install Redis 6.2 or newer, or Valkey",
  };
}

function eviction(info: RedisFacts["info"]): Finding {
  const id = "redis.eviction";
  const policy = info.get("maxmemory_policy");
  const fix = "in redis.conf: maxmemory-policy noeviction";
  if (policy === undefined) return { id, severity: "notice", what: "maxmemory-policy is unknown", fix };
  if (policy === "noeviction") return { id, severity: "ok", what: `maxmemory-policy is "${policy}"` };
  return {
    id,
    severity: "warning",
    what: `maxmemory-policy is "${policy}"`,
    why: "Redis deletes jobs when its memory is full",
    fix,
  };
}

function replica(info: RedisFacts["info"]): Finding[] {
  if (["master", undefined].includes(info.get("role"))) return [];
  return [{
    id: "redis.replica",
    severity: "error",
    code: "QUEUE_UNAVAILABLE",
    what: "it is a replica",
    why: "a replica refuses writes, so the worker can take no jobs",
    fix: "in [brokers.NAME]: the master's url, or sentinels and master",
  }];
}

/** Beyond this share of maxmemory, writes are soon refused. */
const NEARLY_FULL = 0.9;

function memory(info: RedisFacts["info"]): Finding[] {
  const [used, max] = [Number(info.get("used_memory")), Number(info.get("maxmemory"))];
  // 0 means no limit; NaN, the server did not say. With another policy Redis makes room: see redis.eviction.
  if (info.get("maxmemory_policy") !== "noeviction" || !(max > 0) || !(used > NEARLY_FULL * max)) return [];
  const id = "redis.memory";
  const what = `it uses ${used} of maxmemory's ${max} bytes`;
  const fix = "in redis.conf: a larger maxmemory; or delete unneeded keys";
  return used < max
    ? [{ id, severity: "warning", what, why: "once it is full, no job can be pushed, taken or settled", fix }]
    : [{
      id,
      severity: "error",
      code: "QUEUE_UNAVAILABLE",
      what,
      why: "it is full: no job can be pushed, taken or settled",
      fix,
    }];
}

function persistence(info: RedisFacts["info"], save: string | undefined): Finding {
  const id = "redis.persistence";
  const fix = "in redis.conf: appendonly yes";
  const aof = info.get("aof_enabled");
  const failed = ["rdb_last_bgsave_status", "aof_last_write_status"].find((name) => info.get(name) === "err");
  if (failed !== undefined) {
    return {
      id,
      severity: "warning",
      what: `it cannot write to its disk (${failed} is err)`,
      why:
        "jobs are lost when Redis ends; by default it also refuses writes, so no job can be pushed, taken or settled",
      fix: "see Redis's log: its disk is full, or its user cannot write its folder",
    };
  }
  if (aof === "1") return { id, severity: "ok", what: "appendonly is on" };
  if (aof === undefined) {
    return { id, severity: "notice", what: "the setting appendonly is unknown", fix };
  }
  return save === ""
    ? {
      id,
      severity: "warning",
      what: "it writes nothing to disk",
      why: "all jobs are lost when it ends",
      fix,
    }
    : {
      id,
      severity: "warning",
      what: "appendonly is off",
      why: "the jobs of several minutes are lost when it dies",
      fix,
    };
}

/** The fields of an answer to `INFO`. */
function parseInfo(text: string): Map<string, string> {
  const fields = text.split("\r\n").filter((line) => line.includes(":") && !line.startsWith("#"));
  return new Map(fields.map((line) => {
    const at = line.indexOf(":");
    return [line.slice(0, at), line.slice(at + 1)];
  }));
}
