import type { App } from "./app.ts";
import { isoDate } from "../core/time/iso_date.ts";
import type { LeveledLog } from "../telemetry/log.ts";
import type { Consumer } from "../worker/consumer/consumer.ts";
import type { WorkerStatus } from "./worker_status.ts";

/**
 * Writes the worker's current state into the log, whatever its level: an entry for the worker, and one for each consumer,
 * broker and php-fpm pool. They have ids of jobs, and neither payloads nor secrets. Takes at most 2 s.
 */
export async function dumpState(app: App, status: WorkerStatus, log: LeveledLog): Promise<void> {
  const [{ consumers, brokers: _brokers, fpm: _fpm, ...worker }, brokers, fpms] = await Promise.all([
    status.report(app),
    Promise.all(app.view.brokers.map(async (broker) => ({ name: broker.name, state: await broker.state() }))),
    Promise.all(app.view.fpms.map(async (fpm) => ({ fpm, state: await fpm.state() }))),
  ]);
  const { level } = log;
  // A person has asked for it.
  if (level === "warn" || level === "error") log.level = "info";
  log.info(worker, "State of the worker");
  for (const consumer of app.worker.consumers) {
    const report = consumers.find(({ name }) => name === consumer.name);
    log.info({ ...consumerFacts(consumer), reason: report?.reason ?? undefined }, "State of a consumer");
  }
  for (const { name, state } of brokers) {
    const facts = state.isUp ? { queues: Object.fromEntries(state.depths) } : errorFacts(state);
    log.info({ broker: name, up: state.isUp, ...facts }, "State of a broker");
  }
  for (const { fpm: { name, connections }, state } of fpms) {
    const facts = state.isUp ? { children: childrenOf(state.status) } : errorFacts(state);
    log.info({ fpm: name, up: state.isUp, connections, ...facts }, "State of a php-fpm pool");
  }
  log.level = level;
}

function consumerFacts(consumer: Pick<Consumer, "name" | "snapshot">): Record<string, unknown> {
  const { slots, busySlots, inFlight, ahead, gate, receivedAtMs, inUse } = consumer.snapshot();
  return {
    consumer: consumer.name,
    slots,
    busy: busySlots,
    in_flight: inFlight,
    ahead,
    gate,
    last_receive: receivedAtMs === undefined ? undefined : isoDate(receivedAtMs),
    running: inUse.map(({ runMs, jobs }) => ({
      run_ms: Math.round(runMs),
      jobs: jobs.map(({ id, queue, attempt, isSettling }) => ({
        job: id,
        queue,
        attempt,
        ...(isSettling && { settling: true }),
      })),
    })),
  };
}

function errorFacts({ error: { code, message } }: { error: { code: string; message: string } }) {
  return { code, error: message };
}

/** Undefined without the status page. */
function childrenOf(
  status: { idleProcesses: number; activeProcesses: number; listenQueue: number } | undefined,
) {
  return status && {
    idle: status.idleProcesses,
    active: status.activeProcesses,
    listen_queue: status.listenQueue,
  };
}
