import type { PausedQueue } from "./admin.ts";
import type { FervoError } from "./errors.ts";
import type { Verdict } from "./outcome.ts";
import type { ClaimedAhead } from "./schedule_claims.ts";
import type { StuckJobs } from "./stuck_jobs.ts";
import type { RunTrace } from "./trace.ts";

/**
 * Why more or fewer jobs run at the same time on a php-fpm pool: at the `start`; php-fpm had no room for a connection
 * (`overloaded`); the pool has fewer `children`; `others` have them, or get their share; `idle` children were
 * seen.
 */
export type FitReason = "start" | "overloaded" | "children" | "others" | "idle";

/** What a broker is asked for. */
export interface BrokerWork {
  readonly during:
    | "receive"
    | "settle"
    | "extend"
    | "schedule"
    | "recovery"
    | "heartbeat"
    | "pauses"
    | "leases";
  /** For whom; undefined for what a broker does by itself. */
  readonly consumer?: string;
  readonly schedule?: string;
  /** The broker's name, where that is known: of what it does by itself. */
  readonly broker?: string;
}

/** Something worth telling about a running worker. Times in milliseconds. */
export type WorkerEvent =
  | { readonly type: "consumer_started"; readonly consumer: string; readonly queues: readonly string[] }
  | {
    /** Jobs cannot be run, as a job or a probe has just shown; the consumer tries again by itself. */
    readonly type: "consumer_paused";
    readonly consumer: string;
    readonly error: FervoError;
    readonly forMs: number;
  }
  | {
    readonly type: "consumer_resumed";
    readonly consumer: string;
    /** Why jobs could not be run, by the last job or probe that said so. */
    readonly error: FervoError;
    /** Jobs and probes in a row that said so. */
    readonly failures: number;
    /** Since the first of them. */
    readonly afterMs: number;
  }
  | {
    /** From now on it takes no jobs from those of its queues that people have paused: others than before, or in another way. */
    readonly type: "queues_paused";
    readonly consumer: string;
    /** None when all are resumed. */
    readonly queues: readonly PausedQueue[];
  }
  | {
    /** A failed job was to wait for longer than the broker keeps a delay, and comes back earlier, as will others. Told once. */
    readonly type: "delay_cut";
    readonly consumer: string;
    readonly delayMs: number;
    readonly maxMs: number;
  }
  | {
    /** The application has said that no job of the queue is to begin for a time; it may say so again. */
    readonly type: "queue_held_back";
    readonly broker: string;
    readonly queue: string;
    readonly forMs: number;
  }
  | {
    /** A job has shown that those of the queue may begin again. */
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
    /** How often this has happened; after the second time the job is retried as any other. */
    readonly deaths: number;
  }
  | { readonly type: "consumer_stopped"; readonly consumer: string }
  | {
    readonly type: "job_started";
    readonly consumer: string;
    readonly queue: string;
    readonly id: string;
    readonly attempt: number;
    /** Fields of its message that break their rules, and are not handed on. */
    readonly ignored?: readonly string[];
  }
  | {
    /** The broker holds the result: a retry after the last attempt is a burial. */
    readonly type: "job_settled";
    readonly consumer: string;
    readonly queue: string;
    readonly id: string;
    readonly attempt: number;
    readonly verdict: Verdict;
    /** From ready to started; undefined where the broker does not know. */
    readonly waitMs: number | undefined;
    readonly runMs: number;
    /** Of a job that ran, where traces are made. */
    readonly trace?: RunTrace;
  }
  | {
    /** Somebody else has the job now; what we did with it does not count. */
    readonly type: "lease_lost";
    readonly consumer: string;
    readonly queue: string;
    readonly id: string;
    readonly attempt: number;
    /** As of `job_settled`. */
    readonly waitMs: number | undefined;
    readonly runMs: number;
    readonly trace?: RunTrace;
  }
  | {
    /**
     * A script was seen to go on after it had answered, so that no connections to that php-fpm pool are kept any more. Told
     * once.
     */
    readonly type: "connections_not_kept";
    /** The pool's name in the configuration. */
    readonly fpm: string;
    /** SCRIPT_NAME of the request: `/QUEUE/JOB-ID`. */
    readonly uri: string;
  }
  | {
    /**
     * The connection of a job ended without an answer, and it was sent again in the same attempt, as it may not have been
     * run. PHP is told that it may be a repeat.
     */
    readonly type: "job_resent";
    readonly consumer?: string;
    readonly queue: string;
    readonly id: string;
    readonly attempt: number;
    readonly error: FervoError;
  }
  | {
    /** Something was written to STDERR by a job that said that it was done. */
    readonly type: "job_stderr";
    readonly consumer?: string;
    /** More than one: a batch, behind its last record. It is not known which of its jobs it was. */
    readonly jobs: readonly { readonly queue: string; readonly id: string; readonly attempt: number }[];
    readonly stderr: string;
    readonly level: "debug" | "info" | "warn" | "error";
    /** The fatal error in it, or why the answer did not come to its end though all was told. */
    readonly fatal?: string;
  }
  | {
    /** The PHP process of a job whose time was up, or that was cut off, was ended; without `pid`, none was running it. */
    readonly type: "child_ended";
    readonly after: "timeout" | "shutdown";
    readonly consumer?: string;
    readonly queue: string;
    readonly id: string;
    readonly attempt: number;
    readonly pid: number | undefined;
  }
  | {
    /** The PHP process of a job whose time was up, or that was cut off, could not be ended, and runs on. */
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
    /** It has failed, and works again. */
    readonly type: "broker_recovered";
  }
  | {
    /** Jobs of a queue were taken back from a process that died. Of brokers whose workers do that themselves. */
    readonly type: "jobs_recovered";
    readonly queue: string;
    /** The process, as it is named in the broker. */
    readonly process: string;
    /** Jobs that are ready to run again. */
    readonly putBack: number;
    /** Jobs that went to the dead letters: they are taken for the cause. */
    readonly buried: number;
  }
  | {
    /**
     * Jobs were in flight at the broker for this process, which did not hold them: an answer was lost, or they arrived
     * otherwise than they are there, so that they could not be settled. Of brokers where nobody else would take them back.
     */
    readonly type: "strays_returned";
    readonly queue: string;
    /** Jobs that are ready to run again. */
    readonly putBack: number;
    /** Jobs that went to the dead letters, for they have run several times without being settled. */
    readonly buried: number;
  }
  | {
    /** The machine's time of day was set. Of brokers whose leases go by it. */
    readonly type: "clock_stepped";
    /** How far it was set, milliseconds; negative when it was set back. */
    readonly byMs: number;
  }
  | {
    /** The file of an embedded queue was replaced, and the new one is in use. */
    readonly type: "queue_replaced";
    readonly path: string;
    /** Jobs that this worker has of the old file: what they end with is lost where the new one does not have them. */
    readonly inFlight: number;
  }
  | {
    /** A schedule was due, and this worker has pushed its job. */
    readonly type: "job_scheduled";
    readonly schedule: string;
    readonly queue: string;
    readonly id: string;
    /** The time that it was due for, epoch milliseconds. */
    readonly dueMs: number;
  }
  | {
    /** Times at which a schedule was due have passed, and no jobs are pushed for them. */
    readonly type: "schedule_missed";
    readonly schedule: string;
    /** The first and the last of them, epoch milliseconds. */
    readonly fromMs: number;
    readonly toMs: number;
  }
  | {
    /** Slots of a schedule are claimed that are still to come by this worker's clock. Told when that begins, changes, ends. */
    readonly type: "schedule_ahead";
    readonly schedule: string;
    /** Undefined when it is over. */
    readonly ahead: ClaimedAhead | undefined;
  }
  | {
    /** The number of jobs that may run at the same time on a php-fpm pool has changed, for consumers that fit it. */
    readonly type: "slots_changed";
    readonly fpm: string;
    readonly slots: number;
    /** 0 at the start. */
    readonly before: number;
    readonly reason: FitReason;
  }
  | {
    /** Jobs should move and do not, as the broker and the worker count them. Told again each minute as long as that lasts. */
    readonly type: "jobs_stuck";
    readonly stuck: StuckJobs;
  }
  | {
    /** They move again. */
    readonly type: "jobs_moving";
    /** As it was told last. */
    readonly stuck: StuckJobs;
  }
  | { readonly type: "draining"; readonly inFlight: number }
  | { readonly type: "stopped"; readonly orphaned: number };

/** Is told of each event as it happens; must not throw or block. */
export type Observer = (event: WorkerEvent) => void;

/** One observer that tells all of `observers`. */
export function tellAll(observers: readonly Observer[]): Observer {
  return (event) => {
    for (const observer of observers) observer(event);
  };
}
