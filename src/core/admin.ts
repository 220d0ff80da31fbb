import { FervoError } from "./errors.ts";
import type { Finding } from "./finding.ts";
import type { PushOptions } from "./format.ts";
import { isoDate } from "./time/iso_date.ts";
import type { Beginning, ClaimResult, ScheduleClaims, SlotClaim } from "./schedule_claims.ts";

/** How many jobs a queue holds, by state; undefined for a state whose jobs the broker cannot count. */
export interface QueueDepth {
  readonly ready: number | undefined;
  readonly delayed: number | undefined;
  readonly reserved: number | undefined;
  readonly dead: number | undefined;
}

/** Of a broker that counts nothing. */
export const UNKNOWN_DEPTH: QueueDepth = {
  ready: undefined,
  delayed: undefined,
  reserved: undefined,
  dead: undefined,
};

/** Jobs that are still to be run, as far as they are counted. */
export function aliveIn({ ready = 0, delayed = 0, reserved = 0 }: QueueDepth): number {
  return ready + delayed + reserved;
}

/** A broker's counts that concern a worker now. */
export interface Census {
  /** Jobs that are ready, or overdue to be, by queue; a count of {@link CENSUS_LIMIT} means that number or more. */
  readonly ready: ReadonlyMap<string, number>;
  /** Jobs in flight that the broker gave to this process; undefined where the broker does not know the receivers. */
  readonly inFlight: number | undefined;
}

/** The ready jobs of a queue are counted up to this number. */
export const CENSUS_LIMIT = 1_000;

/** The states of jobs that are still to run. */
export type JobState = "ready" | "delayed" | "reserved";

/** Lists of jobs cut payloads at this length, bytes. */
export const LISTED_PAYLOAD_BYTES = 16 * 1024;

/** A job that waits or runs, as people see it. */
export interface ListedJob {
  readonly id: string;
  /** Its first {@link LISTED_PAYLOAD_BYTES} bytes. */
  readonly payload: Uint8Array;
  /** The length of the whole payload. */
  readonly payloadBytes: number;
  /** Attempts that have begun, a running one included; where the broker knows. */
  readonly attempts?: number;
  /** When it was pushed, epoch milliseconds; where that is known. */
  readonly enqueuedAtMs?: number;
  /** When it became ready, or will be, epoch milliseconds; where that is known. Absent for a job in flight. */
  readonly readyAtMs?: number;
}

/** Some jobs of a queue. */
export interface JobPage {
  readonly jobs: readonly ListedJob[];
  /** Where the next page begins, a text without white space; absent at the end. */
  readonly next?: string;
}

/** Why an attempt failed. */
export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly stderr?: string;
  /** The attempt that failed, 1-based, where the broker knows. */
  readonly attempt?: number;
  /** Epoch milliseconds, where the broker knows. */
  readonly atMs?: number;
}

/** A job that failed for good. */
export interface DeadLetter {
  readonly id: string;
  /** Its place in the list, a text without white space: `list` continues after it, even if the letter is gone by then. */
  readonly place: string;
  readonly queue: string;
  readonly payload: Uint8Array;
  /** Headers beside the payload, where the broker stores them. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly attempts: number;
  /** The job's own limit of attempts, where the broker stores one. */
  readonly maxAttempts?: number;
  /** When it was pushed, epoch milliseconds; where that is known. */
  readonly enqueuedAtMs?: number;
  /** When it was buried, epoch milliseconds, where the broker knows. */
  readonly diedAtMs?: number;
  /** Why it failed for good. */
  readonly error: Failure;
  /** Earlier failures, the oldest first, where the broker stores them: possibly not all, and shortened. */
  readonly earlierErrors?: readonly Failure[];
}

/** Dead letters with the same error. */
export interface DeadGroup {
  readonly code: string;
  /** The first line of the message, with `#` for numbers and the like. */
  readonly message: string;
  readonly count: number;
  /** When the newest and the oldest of them died, epoch milliseconds; where that is known. */
  readonly newestMs?: number;
  readonly oldestMs?: number;
  /** The id of the newest. */
  readonly exampleId: string;
}

/** Dead letters grouped by error. */
export interface DeadGroups {
  /** The largest first. */
  readonly groups: readonly DeadGroup[];
  /** How many letters are in them. */
  readonly counted: number;
  /** False when only the newest letters were counted, because of their number. */
  readonly isWhole: boolean;
}

/** The dead letters of a broker, for people and their tools. Every call may reject with QUEUE_UNAVAILABLE. */
export interface DeadLetters {
  /**
   * Lists the most recent first: by time of death, or by id where the broker stores no times. `queue` limits the list to one
   * queue, `matches` filters it, and `after` continues after that place. A letter that stays is never missed, whatever others
   * retry or remove meanwhile.
   *
   * @throws {FervoError} when `after` is no place
   */
  list(o: {
    queue?: string;
    matches?: (letter: DeadLetter) => boolean;
    limit: number;
    after?: string;
  }): Promise<DeadLetter[]>;
  /** Groups by error, on brokers that store errors. Reads a bounded number of letters. */
  groups?(o: { readonly queue?: string | undefined }): Promise<DeadGroups>;
  get(id: string): Promise<DeadLetter | undefined>;
  /** The dead letters with these ids, in any order. */
  find(ids: readonly string[]): Promise<DeadLetter[]>;
  /** Makes dead jobs ready again with no attempt counted: `ids`, or all. Returns how many. */
  retry(ids: readonly string[] | "all"): Promise<number>;
  /** Deletes dead jobs: `ids`, or all. Returns how many. */
  remove(ids: readonly string[] | "all"): Promise<number>;
}

/** How a person has paused a queue. */
export interface PauseOptions {
  /** The reason in a few words, where the broker stores it: {@link Capabilities.pauseReasons}. */
  readonly reason?: string;
  /** When the pause ends by itself, epoch milliseconds; never, if absent. */
  readonly untilMs?: number;
}

export interface PausedQueue extends PauseOptions {
  readonly queue: string;
}

/** A pause as it is printed and logged; null for an unknown or absent field. */
export function shownPause({ untilMs, reason }: PauseOptions = {}) {
  return { until: untilMs === undefined ? null : isoDate(untilMs), reason: reason ?? null };
}

/**
 * Paused queues: no worker on the broker takes their jobs until they are resumed or their time is over. Workers notice a change
 * within two seconds. Running jobs go on, and so do pushes. Every call may reject with QUEUE_UNAVAILABLE.
 */
export interface Pauses {
  /** The broker itself hands out no job of a paused queue; else workers ask here which queues are paused. */
  readonly isEnforced: boolean;
  /** Sorted by name. A pause whose time is over by the caller's clock has ended, for all. */
  list(): Promise<PausedQueue[]>;
  /** What the broker has learned in the last second, with other questions of this process; undefined when it has to be asked. */
  readonly latest?: readonly PausedQueue[] | undefined;
  /** Replaces an existing pause. */
  pause(queue: string, options?: PauseOptions): Promise<void>;
  /** Returns whether it was paused. */
  resume(queue: string): Promise<boolean>;
}

/** A time at which a schedule is due, as a worker claims it. */
export interface ScheduleSlot extends SlotClaim {
  /** The schedule's name, unique on the broker. */
  readonly schedule: string;
}

/** A worker that begins to push the jobs of a schedule. */
export interface ScheduleBeginning extends Beginning {
  readonly schedule: string;
}

/**
 * The broker's record of claimed slots, so that only one of its workers pushes the job of a slot: a {@link ScheduleRecord} for
 * each schedule, changed in one atomic step. Every call may reject with QUEUE_UNAVAILABLE, and may then be made again.
 */
export interface ScheduleBook {
  /**
   * The claimed slots, for a worker that begins. A schedule that is new, or has a new rule, is entered as claimed up to now,
   * unless that is doubtful.
   */
  begin(beginning: ScheduleBeginning): Promise<ScheduleClaims>;
  /**
   * Claims a slot and all earlier ones, and pushes its job in the same step. When the result is `ours`, it has the job's id,
   * and the broker has stored both.
   */
  push(
    slot: ScheduleSlot,
    queue: string,
    payload: Uint8Array,
    options?: Omit<PushOptions, "delayMs" | "unique" | "onWaiting">,
  ): Promise<{ readonly result: ClaimResult; readonly id?: string }>;
  /** Claims a slot and all earlier ones, and pushes nothing. */
  skip(slot: ScheduleSlot): Promise<ClaimResult>;
  /** Sets aside future claims; false when they no longer end at `untilMs`. */
  setAside(schedule: string, ahead: { untilMs: number; nowMs: number }): Promise<boolean>;
  /** The claimed slots; undefined for an unknown schedule. Changes nothing. */
  look(schedule: string, nowMs: number): Promise<ScheduleClaims | undefined>;
}

/** The error for a text that is no place in a list of jobs. */
export function noJobPlace(text: string): FervoError {
  return new FervoError(
    "JOB_FAILED",
    `Cannot continue after "${text}": use the place that the previous page of these jobs printed`,
  );
}

/** The error for a text that is neither a place in the list of dead letters nor the id of one. */
export function noPlace(text: string): FervoError {
  return new FervoError(
    "JOB_FAILED",
    `Cannot continue after "${text}": no dead letter has that id; was it retried or removed? Use the place that the previous page ` +
      "printed, or start from the first page",
  );
}

/**
 * Questions of people and their tools to a broker. A part that the broker cannot offer is absent, and the caller says so. Every
 * call may reject with QUEUE_UNAVAILABLE.
 */
export interface BrokerAdmin {
  /** Names of all queues that have jobs, sorted. */
  queues?(): Promise<string[]>;
  depth?(queue: string): Promise<QueueDepth>;
  /**
   * How long the next job of the queue has been ready, milliseconds; undefined without a ready job, or where it is not known. A
   * broker that stores no such time counts from the push.
   */
  latencyMs?(queue: string): Promise<number | undefined>;
  /** Asked every few seconds while jobs run, so its cost must not grow with the number of jobs. */
  census?(queues: readonly string[]): Promise<Census>;
  /**
   * A page of a queue's jobs: ready jobs in the order in which they are taken, delayed jobs by due time. The cost of a page is
   * bounded, however many jobs there are: a page may have fewer jobs than `limit`, or none, and still name the next place. Jobs
   * come and go between two pages, so a job may be missed or listed twice.
   *
   * @throws {FervoError} when `after` is no place
   */
  jobs?(
    queue: string,
    state: JobState,
    page: { readonly limit: number; readonly after?: string | undefined },
  ): Promise<JobPage>;
  readonly dead?: DeadLetters;
  readonly pauses?: Pauses;
  readonly schedule?: ScheduleBook;
  /**
   * Deletes the jobs of the queue that are ready when it begins; returns how many. Jobs in flight, delayed and dead jobs stay.
   */
  purge?(queue: string): Promise<number>;
  /**
   * Findings about the broker's own settings.
   *
   * @param consumed The queues that consumers of the configuration take from this broker.
   */
  findings?(consumed: readonly string[]): Promise<Finding[]>;
}
