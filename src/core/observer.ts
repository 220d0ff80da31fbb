import type { PausedQueue } from "./admin.ts";
import type { FervoError } from "./errors.ts";
import type { Verdict } from "./outcome.ts";
import type { ClaimedAhead } from "./schedule_claims.ts";
import type { StuckJobs } from "./stuck_jobs.ts";
import type { RunTrace } from "./trace.ts";

/**
 * Why the number of jobs on a php-fpm pool changes: at the `start`; php-fpm had no room for a connection (`overloaded`); the
 * pool has fewer `children`; `others` use them, or get their share; `idle` children were seen.
 */
export type FitReason = "start" | "overloaded" | "children" | "others" | "idle";

/** The work that a broker is asked to do. */
export interface BrokerWork {
  readonly during:
    | "receive"
    | "settle"
    | "extend"
    | "schedule"
    | "recovery"
    | "heartbeat"
    | "pauses"
    | "leases"
    | "notifications";
  /** The consumer; undefined for the broker's own work. */
  readonly consumer?: string;
  readonly schedule?: string;
  /** The broker's name, with its own work. */
  readonly broker?: string;
}

/** Something worth reporting about a running worker. Times in milliseconds. */
export type WorkerEvent =
  | { readonly type: "consumer_started"; readonly consumer: string; readonly queues: readonly string[] }
  | {
    /** Jobs cannot run, as a job or a probe has just shown; the consumer tries again by itself. */
    readonly type: "consumer_paused";
    readonly consumer: string;
    readonly error: FervoError;
    readonly forMs: number;
  }
  | {
    readonly type: "consumer_resumed";
    readonly consumer: string;
    /** The reason, from the last job or probe that failed. */
    readonly error: FervoError;
    /** Failed jobs and probes in a row. */
    readonly failures: number;
    /** Since the first of them. */
    readonly afterMs: number;
  }
  | {
    /** The paused queues of the consumer have changed; it takes no jobs from them. */
    readonly type: "queues_paused";
    readonly consumer: string;
    /** None when all are resumed. */
    readonly queues: readonly PausedQueue[];
  }
  | {
    /** A failed job has a longer delay than the broker supports, so it and others come back earlier. Reported once. */
    readonly type: "delay_cut";
    readonly consumer: string;
    readonly delayMs: number;
    readonly maxMs: number;
  }
  | {
    /** The application said that no job of the queue may begin for some time; it may say so again. */
    readonly type: "queue_held_back";
    readonly broker: string;
    readonly queue: string;
    readonly forMs: number;
    /** Of the job that said so; absent when it was done. */
    readonly error?: FervoError;
  }
  | {
    /** A job has shown that jobs of the queue may begin again. */
    readonly type: "queue_let_go";
    readonly broker: string;
    readonly queue: string;
  }
  | {
    /** The application died while it handled the post-mortem of a job. */
    readonly type: "post_mortem_died";
    readonly consumer: string;
    readonly queue: string;
    readonly id: string;
    readonly attempt: number;
    /** How the job died. */
    readonly error: FervoError;
    /** How often this has happened; after the second time the job is retried like any other. */
    readonly deaths: number;
  }
  | { readonly type: "consumer_stopped"; readonly consumer: string }
  | {
    readonly type: "job_started";
    readonly consumer: string;
    readonly queue: string;
    readonly id: string;
    readonly attempt: number;
    /** Invalid fields of the message, which are not passed on. */
    readonly ignored?: readonly string[];
  }
  | {
    /** The broker has stored the result: a retry after the last attempt is a burial. */
    readonly type: "job_settled";
    readonly consumer: string;
    readonly queue: string;
    readonly id: string;
    readonly attempt: number;
    readonly verdict: Verdict;
    /** From ready until started; undefined where the broker does not know. */
    readonly waitMs: number | undefined;
    readonly runMs: number;
    /** For a job that ran, with tracing. */
    readonly trace?: RunTrace;
  }
  | {
    /** Another worker has the job now; our result does not count. */
    readonly type: "lease_lost";
    readonly consumer: string;
    readonly queue: string;
    readonly id: string;
    readonly attempt: number;
    /** As in `job_settled`. */
    readonly waitMs: number | undefined;
    readonly runMs: number;
    readonly trace?: RunTrace;
  }
  | {
    /** A script went on after its answer, so the worker no longer keeps connections to that pool. Reported once. */
    readonly type: "connections_not_kept";
    /** The pool's name in the configuration. */
    readonly fpm: string;
    /** SCRIPT_NAME of the request: `/QUEUE/JOB-ID`. */
    readonly uri: string;
  }
  | {
    /**
     * The job's connection ended without an answer, so the job may not have run. It was sent again in the same attempt, and PHP
     * is told that it may be a repeat.
     */
    readonly type: "job_resent";
    readonly consumer?: string;
    readonly queue: string;
    readonly id: string;
    readonly attempt: number;
    readonly error: FervoError;
  }
  | {
    /** A job that reported success wrote to STDERR. */
    readonly type: "job_stderr";
    readonly consumer?: string;
    /** Several for a batch, after its last record: it is unknown which of its jobs wrote. */
    readonly jobs: readonly { readonly queue: string; readonly id: string; readonly attempt: number }[];
    readonly stderr: string;
    readonly level: "debug" | "info" | "warn" | "error";
    /** The fatal error in it, or why the answer ended early although all outcomes had come. */
    readonly fatal?: string;
  }
  | {
    /** The PHP process of a job that timed out or was cut off was ended; without `pid`, no process ran it. */
    readonly type: "child_ended";
    readonly after: "timeout" | "shutdown";
    readonly consumer?: string;
    readonly queue: string;
    readonly id: string;
    readonly attempt: number;
    readonly pid: number | undefined;
  }
  | {
    /** The PHP process of a job that timed out or was cut off could not be ended, and runs on. */
    readonly type: "child_not_ended";
    readonly after: "timeout" | "shutdown";
    readonly consumer?: string;
    readonly queue: string;
    readonly id: string;
    readonly attempt: number;
    readonly error: FervoError;
  }
  | BrokerWork & {
    /** The broker failed and is asked again. */
    readonly type: "broker_failed";
    readonly error: FervoError;
  }
  | BrokerWork & {
    /** It works again after failures. */
    readonly type: "broker_recovered";
  }
  | {
    /** Jobs of a queue were taken back from a dead process. Only on brokers whose workers do that themselves. */
    readonly type: "jobs_recovered";
    readonly queue: string;
    /** The name of the process in the broker. */
    readonly process: string;
    /** Jobs that are ready to run again. */
    readonly putBack: number;
    /** Jobs that became dead letters, because they count as the cause. */
    readonly buried: number;
  }
  | {
    /**
     * The broker had jobs in flight that this process does not have: an answer was lost, or the messages arrived altered and
     * could not be settled. Only on brokers where no other process takes them back.
     */
    readonly type: "strays_returned";
    readonly queue: string;
    /** Jobs that are ready to run again. */
    readonly putBack: number;
    /** Jobs that became dead letters, because they ran several times without a settle. */
    readonly buried: number;
  }
  | {
    /** The machine's time of day was set. Only on brokers whose leases depend on it. */
    readonly type: "clock_stepped";
    /** How far it was set, milliseconds; negative when it was set back. */
    readonly byMs: number;
  }
  | {
    /** The file of an embedded queue was replaced, and the new one is in use. */
    readonly type: "queue_replaced";
    readonly path: string;
    /** Jobs in flight from the old file: their results are lost where the new file does not have them. */
    readonly inFlight: number;
  }
  | {
    /** A schedule was due, and this worker pushed its job. */
    readonly type: "job_scheduled";
    readonly schedule: string;
    readonly queue: string;
    readonly id: string;
    /** The due time, epoch milliseconds. */
    readonly dueMs: number;
  }
  | {
    /** A schedule was due at times in the past, and no jobs are pushed for them. */
    readonly type: "schedule_missed";
    readonly schedule: string;
    /** The first and the last of these times, epoch milliseconds. */
    readonly fromMs: number;
    readonly toMs: number;
  }
  | {
    /** Slots of a schedule are claimed in the future of this worker's clock. Reported when that begins, changes and ends. */
    readonly type: "schedule_ahead";
    readonly schedule: string;
    /** Undefined when it has ended. */
    readonly ahead: ClaimedAhead | undefined;
  }
  | {
    /** The number of jobs that may run at the same time on a php-fpm pool changed, for consumers with `concurrency = "auto"`. */
    readonly type: "slots_changed";
    readonly fpm: string;
    readonly slots: number;
    /** 0 at the start. */
    readonly before: number;
    readonly reason: FitReason;
  }
  | {
    /** Jobs do not move though they should, by the counts of broker and worker. Reported again each minute while it lasts. */
    readonly type: "jobs_stuck";
    readonly stuck: StuckJobs;
  }
  | {
    /** They move again. */
    readonly type: "jobs_moving";
    /** As reported last. */
    readonly stuck: StuckJobs;
  }
  | { readonly type: "draining"; readonly inFlight: number }
  | { readonly type: "stopped"; readonly orphaned: number };

/** Called with each event as it happens; must not throw or block. */
export type Observer = (event: WorkerEvent) => void;

/** One observer that calls all of `observers`. */
export function tellAll(observers: readonly Observer[]): Observer {
  return (event) => {
    for (const observer of observers) observer(event);
  };
}
