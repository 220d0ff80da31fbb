import type { BrokerType } from "../brokers/broker_type.ts";
import type { Finding } from "../core/finding.ts";
import { readProc } from "../system/proc.ts";

/** The descriptors of a consumer. */
export interface DescriptorUser {
  readonly broker: Pick<BrokerType, "descriptors">;
  readonly executor: "fastcgi" | "process";
  readonly concurrency: number;
  readonly queues: number;
}

/**
 * 64 for the runtime, its streams, the database, connections that never wait, and requests for status pages. And the largest
 * number of foreign connections: 64 to [http] and 16 to the control socket.
 */
const BASE = 144;
/** A connection to php-fpm, or the pipes of a process. */
const PER_SLOT = { fastcgi: 1, process: 6 } as const;
/** The largest number of open file descriptors of a worker with these consumers. */
export function descriptorsNeeded(users: readonly DescriptorUser[]): number {
  return users.reduce(
    (sum, user) => sum + user.concurrency * PER_SLOT[user.executor] + user.broker.descriptors(user),
    BASE,
  );
}

/** Whether a worker that starts like this process may open enough files. */
export async function checkOpenFiles(needed: number): Promise<Finding> {
  return openFilesFinding(needed, await openFilesLimit());
}

/** @param limit Undefined if unknown. */
export function openFilesFinding(needed: number, limit: number | undefined): Finding {
  const id = "worker.open_files";
  const fix = `systemd: LimitNOFILE=${needed * 2}; supervisord: minfds=${needed * 2} in [supervisord]`;
  if (limit === undefined) {
    return { id, severity: "notice", what: "the limit of open files is unknown", fix };
  }
  const what = `a process started like this one may open ${limit} files, the worker needs ${needed}`;
  if (limit >= needed) return { id, severity: "ok", what };
  return {
    id,
    severity: "warning",
    what,
    why: "beyond that it cannot connect, and its jobs wait",
    fix,
  };
}

/** The hard limit: the runtime raises the soft limit to it at the start. A child inherits it. */
async function openFilesLimit(): Promise<number | undefined> {
  const path = "/proc/self/limits";
  const text = (await readProc([path]).catch(() => undefined))?.get(path) ?? "";
  const limit = /^Max open files +\S+ +(\S+)/m.exec(text)?.[1];
  if (limit === "unlimited") return Infinity;
  return limit === undefined ? undefined : Number(limit);
}
