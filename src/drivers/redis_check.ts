import type { Buffer } from "node:buffer";
import type { RedisConnection } from "./redis_connection.ts";

/**
 * What is wrong with a Redis server for jobs that must not be lost; sentences, each with what to do.
 *
 * @throws {QueueError} QUEUE_UNAVAILABLE
 */
export async function checkServer(connection: RedisConnection): Promise<string[]> {
  const info = parseInfo(String(await connection.send(["INFO"])));
  const warnings: string[] = [];
  const version = info.get("redis_version") ?? "0";
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major < 6 || (major === 6 && minor < 2)) {
    warnings.push(`version ${version} is too old: 6.2 or newer is needed`);
  }
  const policy = info.get("maxmemory_policy") ?? "noeviction";
  if (policy !== "noeviction") {
    warnings.push(
      `maxmemory-policy is "${policy}", which throws jobs away when memory is full: set noeviction`,
    );
  }
  if (info.get("role") !== "master") {
    warnings.push("it is a replica, which cannot be written to: give the master's address, or its Sentinels");
  }
  if (info.get("aof_enabled") === "0") {
    // Managed servers may not tell.
    const saves = await connection.send<Buffer[]>(["CONFIG", "GET", "save"]).catch(() => undefined);
    warnings.push(
      saves !== undefined && String(saves[1] ?? "") === ""
        ? "it keeps nothing on its disk, so that jobs are lost when it ends: set appendonly yes"
        : "appendonly is off, so that the jobs of several minutes are lost when it dies: set appendonly yes",
    );
  }
  return warnings;
}

/** The fields of an answer to `INFO`. */
function parseInfo(text: string): Map<string, string> {
  const fields = text.split("\r\n").filter((line) => line.includes(":") && !line.startsWith("#"));
  return new Map(fields.map((line) => {
    const at = line.indexOf(":");
    return [line.slice(0, at), line.slice(at + 1)];
  }));
}
