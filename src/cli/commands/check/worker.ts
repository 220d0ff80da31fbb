import type { Config, HttpConfig } from "../../../config/config.ts";
import { command } from "../../../control/control_client.ts";
import { formatAddress } from "../../../net/address.ts";
import { systemClock } from "../../../core/time/clock.ts";
import { reasonOf } from "../../../core/errors.ts";
import type { Finding } from "../../../core/finding.ts";
import { inTime } from "../../../core/time/time_limit.ts";
import { type ListenProblem, listenProblem } from "../../../doctor/listening.ts";
import { readToken } from "../../../http/server.ts";
import type { StatusReport } from "../../../app/worker_status.ts";

/** The limit for a worker's answer, milliseconds: it asks brokers and php-fpm for up to 2 s. */
const ASK_TIMEOUT_MS = 5_000;

/** A running worker of this configuration; an older version may report less. */
type RunningWorker =
  & Pick<StatusReport, "pid">
  & Partial<Pick<StatusReport, "http" | "consumers" | "brokers">>;

/** Whether metrics and health can be served as `[http]` says; the running worker may do so already. */
export async function checkHttp({ listen, tokenFile }: HttpConfig, config: Config): Promise<Finding[]> {
  const token = tokenFile === undefined ? [] : [await tokenFinding(tokenFile)];
  return [await listenFinding(formatAddress(listen), await listenProblem(listen), config), ...token];
}

async function listenFinding(
  where: string,
  problem: ListenProblem | undefined,
  { controlSocket }: Config,
): Promise<Finding> {
  const id = "http.listen";
  if (problem === undefined) return { id, severity: "ok", what: `"${where}" is free` };
  const worker = problem.isTaken && controlSocket !== undefined ? await workerAt(controlSocket) : undefined;
  if (worker?.http === where) {
    return { id, severity: "ok", what: `"${where}" is served by the running worker (${worker.pid})` };
  }
  if (problem.isTaken && controlSocket === undefined) {
    return {
      id,
      severity: "notice",
      what:
        `Cannot listen at "${where}": ${problem.what}; it is unknown whether the worker of this configuration uses it`,
      fix: "in [control]: socket, so that check can ask the running worker",
    };
  }
  return {
    id,
    severity: "warning",
    what: `Cannot listen at "${where}": ${problem.what}`,
    why: "the worker runs and tries again, but until then it serves no metrics and no health",
    fix: `in [http]: listen = ${problem.fix}`,
  };
}

async function tokenFinding(path: string): Promise<Finding> {
  const id = "http.token";
  try {
    await readToken(path);
    return { id, severity: "ok", what: `"${path}" holds a token` };
  } catch (error) {
    return {
      id,
      severity: "warning",
      what: reasonOf(error),
      why: "the worker runs and tries again, but until then it serves no metrics and no health",
      fix:
        `install -m 600 /dev/null ${path} && head -c 32 /dev/urandom | base64 > ${path}, as the worker's user`,
    };
  }
}

/** Whether the worker can receive commands. It works without them, and obeys signals only. */
export async function checkControl(path: string): Promise<Finding> {
  const id = "control.socket";
  const worker = await workerAt(path);
  if (worker !== undefined) {
    return { id, severity: "ok", what: `the running worker (${worker.pid}) takes commands at "${path}"` };
  }
  const problem = await listenProblem({ transport: "unix", path }, { makesFolder: true });
  if (problem === undefined) return { id, severity: "ok", what: `commands can be taken at "${path}"` };
  if (problem.isTaken) {
    return {
      id,
      severity: "warning",
      what: `The process that listens at "${path}" does not answer this user`,
      why: "status, quiet, stop and reload cannot reach a worker that hangs or belongs to another user",
      fix:
        "fervo-worker status, as root or as the worker's user; with several workers, in [control]: socket = a path for each",
    };
  }
  return {
    id,
    severity: "warning",
    what: `Cannot take commands at "${path}": ${problem.what}`,
    why: "the worker runs, but status, quiet, stop and reload do not reach it",
    fix: `in [control]: socket = ${problem.fix}`,
  };
}

/** Whether jobs are stuck in the running worker; nothing without one. */
export async function checkStuckJobs(path: string): Promise<Finding[]> {
  const id = "worker.stuck_jobs";
  const worker = await workerAt(path);
  if (worker === undefined) return [];
  const starved = (worker.consumers ?? []).filter(({ state }) => state === "starved").map((
    { name, reason },
  ): Finding => ({
    id,
    severity: "warning",
    what: `consumer "${name}" of the running worker (${worker.pid}): ${reason}`,
    why: "its jobs wait until that ends",
    fix: "find the cause: a lock on the queue's file, missing rights in the broker, or a broker that hangs",
  }));
  const orphaned = (worker.brokers ?? []).filter(({ orphans }) => orphans > 0).map((
    { name, orphans },
  ): Finding => ({
    id,
    severity: "warning",
    what:
      `broker "${name}" counts jobs in flight with the running worker (${worker.pid}) that the worker does not have: ${orphans}`,
    why: "nobody runs them",
    fix: "the worker puts them back within two lease_ms; a restart of the worker does it now",
  }));
  const all = [...starved, ...orphaned];
  return all.length > 0
    ? all
    : [{ id, severity: "ok", what: `no jobs are stuck in the running worker (${worker.pid})` }];
}

/** The worker at a control socket; undefined without an answer. */
async function workerAt(path: string): Promise<RunningWorker | undefined> {
  const answer = async () => {
    for await (const status of command(path, { command: "status" })) {
      return status as unknown as RunningWorker;
    }
    return undefined;
  };
  try {
    return await inTime(systemClock, answer(), { ms: ASK_TIMEOUT_MS, discard: () => {} });
  } catch {
    // There is no worker.
    return undefined;
  }
}
