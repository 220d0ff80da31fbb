import type { App } from "./app.ts";
import type { Clock } from "../core/time/clock.ts";
import { type PausedQueue, shownPause } from "../core/admin.ts";
import type { FervoError } from "../core/errors.ts";
import { isoDate } from "../core/time/iso_date.ts";
import { isLasting, type StuckJobs, stuckReason } from "../core/stuck_jobs.ts";
import { claimedAheadReason } from "../core/schedule_claims.ts";
import type { Observer } from "../core/observer.ts";
import type { LineWriter } from "../telemetry/line_writer.ts";
import { versionInfo } from "./version.ts";

/** The report of `status`, as in `--json`. It has names of queues, addresses and errors, and no secrets. */
export interface StatusReport {
  readonly pid: number;
  readonly version: string;
  readonly commit: string | null;
  readonly state: "running" | "quiet" | "stopping";
  /** ISO 8601. */
  readonly started: string;
  readonly uptime_s: number;
  /** The configuration's path. */
  readonly config: string;
  /** The address of metrics and health; null without one. */
  readonly http: string | null;
  readonly in_flight: number;
  /** Since the start, because nobody read them. */
  readonly log_lines_dropped: number;
  readonly consumers: readonly ConsumerReport[];
  readonly schedules: readonly ScheduleReport[];
  readonly brokers: readonly (ServerReport & {
    /** Jobs that it counts as in flight with this worker and the worker does not have. */
    readonly orphans: number;
  })[];
  readonly fpm: readonly (ServerReport & { readonly connections: { busy: number; idle: number } })[];
}

export interface ConsumerReport {
  readonly name: string;
  readonly broker: string;
  readonly queues: readonly string[];
  /**
   * `starved`: it takes no jobs though jobs are ready and slots are free; `stuck`: it makes no progress though it should;
   * `failed`: it cannot run jobs until a person acts.
   */
  readonly state: "running" | "paused" | "starved" | "stuck" | "failed";
  /** The reason, unless it runs. */
  readonly reason: string | null;
  readonly slots: number;
  readonly busy: number;
  readonly in_flight: number;
  /** Its queues that people have paused, as far as the worker knows; on brokers that leave pauses to workers. */
  readonly paused_queues: readonly {
    readonly queue: string;
    /** When it ends by itself, ISO 8601. */
    readonly until: string | null;
    readonly reason: string | null;
  }[];
  /** The queues that the application holds back, and for how long, seconds; 0 while a job tests whether it still does. */
  readonly held_back: readonly { readonly queue: string; readonly for_s: number }[];
  /** How long ago the broker answered, seconds; null before the first answer. */
  readonly last_receive_s: number | null;
}

export interface ScheduleReport {
  readonly name: string;
  readonly broker: string;
  readonly queue: string;
  /** When its next job is due, ISO 8601; null when none is, it is unknown, or the worker is quiet. */
  readonly next_due: string | null;
  /** The end of future claims by this worker's clock, ISO 8601; null without any, as it should be. */
  readonly claimed_ahead_to: string | null;
  /** Their meaning, if there are any. */
  readonly reason: string | null;
}

/** A broker or php-fpm. */
export interface ServerReport {
  readonly name: string;
  readonly up: boolean;
  readonly error: string | null;
}

type ViewedConsumer = App["view"]["consumers"][number];

export class WorkerStatus {
  readonly #clock: Clock;
  readonly #log: Pick<LineWriter, "dropped">;
  readonly #configFile: string;
  readonly #http: string | null;
  readonly #startedMs: number;
  /** Why a consumer last backed off. */
  readonly #pauses = new Map<string, FervoError>();
  /** Why a consumer receives no jobs now. */
  readonly #failing = new Map<string, FervoError>();
  /** Paused queues by consumer. */
  readonly #pausedQueues = new Map<string, readonly PausedQueue[]>();

  constructor(
    deps: { clock: Clock; log: Pick<LineWriter, "dropped"> },
    options: { configFile: string; http?: string | undefined },
  ) {
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#configFile = options.configFile;
    this.#http = options.http ?? null;
    this.#startedMs = deps.clock.nowMs();
  }

  readonly observe: Observer = (event) => {
    if (event.type === "consumer_paused") this.#pauses.set(event.consumer, event.error);
    if (event.type === "broker_failed" && event.during === "receive") {
      this.#failing.set(event.consumer!, event.error);
    }
    if (event.type === "broker_recovered" && event.during === "receive") {
      this.#failing.delete(event.consumer!);
    }
    if (event.type === "consumer_started") {
      this.#pausedQueues.delete(event.consumer);
      this.#failing.delete(event.consumer);
    }
    if (event.type === "queues_paused") this.#pausedQueues.set(event.consumer, event.queues);
  };

  /** Asks brokers and php-fpm, too; takes at most 2 s. */
  async report({ config, worker, view }: App): Promise<StatusReport> {
    const nowMs = this.#clock.nowMs();
    const stuck = view.stuck.filter(isLasting);
    const [brokers, fpm] = await Promise.all([
      Promise.all(view.brokers.map(async (broker) => {
        const orphaned = stuck.find((one) => one.kind === "orphaned" && one.broker === broker.name);
        return { ...serverReport(broker.name, await broker.state()), orphans: orphaned?.jobs ?? 0 };
      })),
      Promise.all(view.fpms.map(async (fpm) => {
        const { busy, idle } = fpm.connections;
        return { ...serverReport(fpm.name, await fpm.state()), connections: { busy, idle } };
      })),
    ]);
    const { version, commit } = versionInfo();
    return {
      pid: Deno.pid,
      version,
      commit,
      state: view.worker.state,
      started: isoDate(this.#startedMs),
      uptime_s: seconds(nowMs - this.#startedMs),
      config: this.#configFile,
      http: this.#http,
      in_flight: worker.inFlight,
      log_lines_dropped: this.#log.dropped,
      consumers: view.consumers.map((consumer) => {
        const { broker, queues } = config.consumers.find(({ name }) => name === consumer.name)!;
        const { slots, busySlots, heldBack, inFlight, receivedAtMs } = consumer.stats;
        return {
          name: consumer.name,
          broker,
          queues: queues.map(({ name }) => name),
          ...this.#stateOf(consumer, stuck),
          slots,
          busy: busySlots,
          in_flight: inFlight,
          paused_queues: (this.#pausedQueues.get(consumer.name) ?? []).map((paused) => ({
            queue: paused.queue,
            ...shownPause(paused),
          })),
          held_back: heldBack.map(({ queue, forMs }) => ({ queue, for_s: seconds(forMs) })),
          last_receive_s: receivedAtMs === undefined ? null : seconds(nowMs - receivedAtMs),
        };
      }),
      schedules: view.schedules.map(({ name, state: { nextDueMs, ahead } }) => {
        const { broker, queue } = config.schedule.find((one) => one.name === name)!;
        return {
          name,
          broker,
          queue,
          next_due: nextDueMs === undefined ? null : isoDate(nextDueMs),
          claimed_ahead_to: ahead === undefined ? null : isoDate(ahead.untilMs),
          reason: ahead === undefined ? null : claimedAheadReason(ahead),
        };
      }),
      brokers,
      fpm,
    };
  }

  #stateOf(
    { name, stats, stall, fault }: ViewedConsumer,
    stuck: readonly StuckJobs[],
  ): Pick<ConsumerReport, "state" | "reason"> {
    if (fault !== undefined) return { state: "failed", reason: errorText(fault) };
    if (stall !== undefined) return { state: "stuck", reason: stall };
    // Before a failing broker: this one counts its jobs, and somebody has to act.
    const starved = stuck.find((one) => one.kind === "starved" && one.consumer === name);
    if (starved !== undefined) return { state: "starved", reason: stuckReason(starved) };
    const failing = this.#failing.get(name);
    if (failing !== undefined) return { state: "paused", reason: errorText(failing) };
    if (!stats.isPaused) return { state: "running", reason: null };
    const error = this.#pauses.get(name);
    return { state: "paused", reason: error === undefined ? null : errorText(error) };
  }
}

function serverReport(name: string, state: { isUp: boolean; error?: FervoError }): ServerReport {
  return { name, up: state.isUp, error: state.error === undefined ? null : errorText(state.error) };
}

function errorText({ code, message }: FervoError): string {
  return `${code}: ${message}`;
}

function seconds(ms: number): number {
  return Math.max(Math.round(ms / 100) / 10, 0);
}
