import type { BrokerType } from "../brokers/broker_type.ts";
import type { Finding } from "../core/finding.ts";
import { readProc } from "../system/proc.ts";

/** What of a consumer takes file descriptors. */
export interface DescriptorUser {
  readonly broker: Pick<BrokerType, "descriptors">;
  readonly executor: "fastcgi" | "process";
  readonly concurrency: number;
  readonly queues: number;
}

/**
 * The runtime, its streams, the database, connections that never wait, and questions to status pages: 64. And what others
 * may connect at most, to [http] 64 and to the control socket 16.
 */
const BASE = 144;
/** A connection to php-fpm, or the pipes of a process. */
const PER_SLOT = { fastcgi: 1, process: 6 } as const;
/** How many file descriptors a worker with these consumers has open, at most. */
export function descriptorsNeeded(users: readonly DescriptorUser[]): number {
  return users.reduce(
    (sum, user) => sum + user.concurrency * PER_SLOT[user.executor] + user.broker.descriptors(user),
    BASE,
  );
}

/** Whether a worker that is started as this process was may open enough files. */
export async function checkOpenFiles(needed: number): Promise<Finding> {
  return openFilesFinding(needed, await openFilesLimit());
}

/** @param limit Undefined when it is not known. */
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

/** The hard limit, to which the runtime raises the soft one when it starts. A child has inherited it. */
async function openFilesLimit(): Promise<number | undefined> {
  const path = "/proc/self/limits";
  const text = (await readProc([path]).catch(() => undefined))?.get(path) ?? "";
  const limit = /^Max open files +\S+ +(\S+)/m.exec(text)?.[1];
  if (limit === "unlimited") return Infinity;
  return limit === undefined ? undefined : Number(limit);
}
