import type { FervoError } from "../core/errors.ts";
import { isLasting, type StuckJobs, stuckReason } from "../core/stuck_jobs.ts";
import type { WorkerView } from "./worker_view.ts";

/** Whether something is well, and if not, why: sentences for people, without secrets. */
export interface Health {
  readonly isWell: boolean;
  readonly problems: readonly string[];
}

/** Whether every consumer's loop makes progress; else the worker must be restarted. */
export function liveness({ consumers }: Pick<WorkerView, "consumers">): Health {
  return health(
    consumers.flatMap(({ name, stall }) => stall === undefined ? [] : `consumer "${name}": ${stall}`),
  );
}

/**
 * Whether the worker takes jobs, all consumers can run them, all servers are available, and no jobs are stuck. Takes at most 2
 * s.
 */
export async function readiness({ worker, consumers, brokers, fpms, stuck }: WorkerView): Promise<Health> {
  const away = await Promise.all([
    ...brokers.map(async (broker) => awayText(`broker "${broker.name}"`, await broker.state())),
    ...fpms.map(async (fpm) => awayText(`php-fpm "${fpm.name}"`, await fpm.state())),
  ]);
  const faults = consumers.map(({ name, fault }) =>
    fault && `consumer "${name}" cannot run jobs: ${fault.code}: ${fault.message}`
  );
  const { state } = worker;
  const leaving = state === "running" ? undefined : `the worker takes no jobs: it is ${state}`;
  return health(
    [leaving, ...faults, ...away, ...stuck.filter(isLasting).map(stuckText)].filter((problem) =>
      problem !== undefined
    ),
  );
}

function stuckText(stuck: StuckJobs): string {
  const subject = stuck.kind === "starved" ? `consumer "${stuck.consumer}"` : `broker "${stuck.broker}"`;
  return `${subject}: ${stuckReason(stuck)}`;
}

function awayText(what: string, state: { isUp: boolean; error?: FervoError }): string | undefined {
  return state.error && `${what} is unavailable: ${state.error.code}: ${state.error.message}`;
}

function health(problems: readonly string[]): Health {
  return { isWell: problems.length === 0, problems };
}
