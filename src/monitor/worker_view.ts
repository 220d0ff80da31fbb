import type { StuckJobs } from "../core/stuck_jobs.ts";
import type { Consumer } from "../worker/consumer/consumer.ts";
import type { Schedule } from "../worker/schedule/schedule.ts";
import type { Worker } from "../worker/worker.ts";
import type { BrokerWatch } from "./broker_watch.ts";
import type { FpmWatch } from "./fpm_watch.ts";

/** A worker for its observers, with everything it depends on. */
export interface WorkerView {
  readonly worker: Pick<Worker, "state">;
  readonly consumers: readonly Pick<Consumer, "name" | "stats" | "stall" | "fault">[];
  readonly schedules: readonly Pick<Schedule, "name" | "state">[];
  readonly brokers: readonly Pick<BrokerWatch, "name" | "state">[];
  /** The stuck jobs at the last look, also since then. */
  readonly stuck: readonly StuckJobs[];
  readonly fpms: readonly Pick<FpmWatch, "name" | "state" | "connections">[];
}
