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

/** What a broker counts that concerns a worker now. */
export interface Census {
  /** Jobs that are ready, or overdue to be, by queue; a count of {@link CENSUS_LIMIT} means that number or more. */
  readonly ready: ReadonlyMap<string, number>;
  /** Jobs in flight that the broker has given to this process; undefined where it does not know to whom. */
  readonly inFlight: number | undefined;
}

/** Up to here the ready jobs of a queue are counted. */
export const CENSUS_LIMIT = 1_000;

/** Which of a queue's jobs that are still to be run. */
export type JobState = "ready" | "delayed" | "reserved";

/** A longer payload is cut where jobs are listed, bytes. */
export const LISTED_PAYLOAD_BYTES = 16 * 1024;

/** A job that waits or runs, as people see it. */
export interface ListedJob {
  readonly id: string;
  /** Its first bytes: {@link LISTED_PAYLOAD_BYTES}. */
  readonly payload: Uint8Array;
  /** How long it is. */
  readonly payloadBytes: number;
  /** Attempts that have begun, the one that runs too; where the broker knows. */
  readonly attempts?: number;
  /** When it was pushed, epoch milliseconds, where that is known. */
  readonly enqueuedAtMs?: number;
  /** Since when it is ready, or when it will be, epoch milliseconds; where that is known, and it does not run. */
  readonly readyAtMs?: number;
}

/** Some jobs of a queue. */
export interface JobPage {
  readonly jobs: readonly ListedJob[];
  /** Where the next page begins, as a text without white space; absent at the end. */
  readonly next?: string;
}

/** Why an attempt failed. */
export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly stderr?: string;
  /** The attempt that failed, 1-based, where the broker knows. */
  readonly attempt?: number;
  /** When, epoch milliseconds, where the broker knows. */
  readonly atMs?: number;
}

/** A job that failed for good. */
export interface DeadLetter {
  readonly id: string;
  /** Where it is in the list, as a text without white space: `list` goes on behind it, be it gone by then. */
  readonly place: string;
  readonly queue: string;
  readonly payload: Uint8Array;
  /** What came beside the payload, by name, where the broker keeps that. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly attempts: number;
  /** The job's own limit of attempts, where the broker keeps one beside the payload. */
  readonly maxAttempts?: number;
  /** When it was pushed, epoch milliseconds, where that is known. */
  readonly enqueuedAtMs?: number;
  /** When it was buried, epoch milliseconds, where the broker knows. */
  readonly diedAtMs?: number;
  /** Why it failed for good. */
  readonly error: Failure;
  /** The failures before, the oldest first, where the broker keeps them: not all, and cut. */
  readonly earlierErrors?: readonly Failure[];
}

/** Dead letters that died of the same. */
export interface DeadGroup {
  /** Of their errors. */
  readonly code: string;
  /** The first line of their errors' messages, with `#` for numbers and the like. */
  readonly message: string;
  readonly count: number;
  /** When the last and the first of them died, epoch milliseconds, where that is known. */
  readonly newestMs?: number;
  readonly oldestMs?: number;
  /** The id of the last one. */
  readonly exampleId: string;
}

/** Dead letters by what they died of. */
export interface DeadGroups {
  /** The largest first. */
  readonly groups: readonly DeadGroup[];
  /** How many letters are in them. */
  readonly counted: number;
  /** All are in them; else the newest only, as far as may be read at once. */
  readonly isWhole: boolean;
}

/** The dead letters of a broker, for people and their tools. Every call may reject with QUEUE_UNAVAILABLE. */
export interface DeadLetters {
  /**
   * The most recent first: by when they died, or by their ids where the broker does not know. `queue` limits to one
   * queue, `matches` to those for which it holds; `after` goes on behind that place. Nothing is missed that is there all the
   * time, whatever others retry or remove meanwhile.
   *
   * @throws {FervoError} when `after` is no place
   */
  list(o: {
    queue?: string;
    matches?: (letter: DeadLetter) => boolean;
    limit: number;
    after?: string;
  }): Promise<DeadLetter[]>;
  /** By the errors that they died of; of brokers that keep these. Reads a bounded number of letters. */
  groups?(o: { readonly queue?: string | undefined }): Promise<DeadGroups>;
  get(id: string): Promise<DeadLetter | undefined>;
  /** Those of the ids that are dead letters, in any order. */
  find(ids: readonly string[]): Promise<DeadLetter[]>;
  /** Makes dead jobs ready again with no attempt counted; `ids` or all of them. Returns how many. */
  retry(ids: readonly string[] | "all"): Promise<number>;
  /** Deletes dead jobs; `ids` or all of them. Returns how many. */
  remove(ids: readonly string[] | "all"): Promise<number>;
}

/** How a person has paused a queue. */
export interface PauseOptions {
  /** Why, in a few words; of brokers that keep it: {@link Capabilities.pauseReasons}. */
  readonly reason?: string;
  /** When the pause ends by itself, epoch milliseconds; when it is resumed, if absent. */
  readonly untilMs?: number;
}

/** A queue that is paused. */
export interface PausedQueue extends PauseOptions {
  readonly queue: string;
}

/** How a queue is paused, as it is printed and logged; null for what is not so, or not known. */
export function shownPause({ untilMs, reason }: PauseOptions = {}) {
  return { until: untilMs === undefined ? null : isoDate(untilMs), reason: reason ?? null };
}

/**
 * Queues that nobody takes jobs from until they are resumed, or their time is over, as all workers on the broker see it within two
 * seconds. Jobs that run already go on, pushes too. Every call may reject with QUEUE_UNAVAILABLE.
 */
export interface Pauses {
  /** The broker itself hands out no job of a paused queue; else workers look here what they may ask for. */
  readonly isEnforced: boolean;
  /** By name. A pause whose time is over by the clock of whoever asks is none, from then on for all. */
  list(): Promise<PausedQueue[]>;
  /** Takes the place of a pause that is there. */
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
  /** As of {@link ScheduleSlot}. */
  readonly schedule: string;
}

/**
 * Which slots of each schedule are claimed, kept in the broker, so that of all workers on it one pushes the job of a slot:
 * a {@link ScheduleRecord} by the schedule's name, each change of which is one step. Every call may reject with
 * QUEUE_UNAVAILABLE, and may then be made again.
 */
export interface ScheduleBook {
  /**
   * Which slots are claimed, for a worker that begins. A schedule that is not in the book, or has another
   * rule, is entered as claimed up to then, unless that is doubtful.
   */
  begin(beginning: ScheduleBeginning): Promise<ScheduleClaims>;
  /**
   * Claims a slot, and with it all earlier ones, and pushes its job in the same step. The id is there when it is `ours`, once
   * the broker holds both durably.
   */
  push(
    slot: ScheduleSlot,
    queue: string,
    payload: Uint8Array,
    options?: Omit<PushOptions, "delayMs">,
  ): Promise<{ readonly result: ClaimResult; readonly id?: string }>;
  /** Claims a slot and all earlier ones, and pushes nothing. */
  skip(slot: ScheduleSlot): Promise<ClaimResult>;
  /** Sets aside what is claimed ahead; false when it no longer reaches up to `untilMs`. */
  setAside(schedule: string, ahead: { untilMs: number; nowMs: number }): Promise<boolean>;
  /** Which slots are claimed; undefined for a schedule that is not in the book. Changes nothing. */
  look(schedule: string, nowMs: number): Promise<ScheduleClaims | undefined>;
}

/** For a text that no page of jobs has told as the place of the next. */
export function noJobPlace(text: string): FervoError {
  return new FervoError(
    "JOB_FAILED",
    `Cannot continue after "${text}": use the place that the previous page of these jobs printed`,
  );
}

/** For a text that is neither a place in the list of dead letters nor the id of one. */
export function noPlace(text: string): FervoError {
  return new FervoError(
    "JOB_FAILED",
    `Cannot continue after "${text}": no dead letter has that id; was it retried or removed? Use the place that the previous page ` +
      "printed, or start from the first page",
  );
}

/**
 * What people and their tools ask a broker. Each part is absent where the broker has no way to it: who asks says so then, and
 * does not make it up. Every call may reject with QUEUE_UNAVAILABLE.
 */
export interface BrokerAdmin {
  /** Names of all queues that hold a job, sorted. */
  queues?(): Promise<string[]>;
  depth?(queue: string): Promise<QueueDepth>;
  /**
   * For how long the next job of the queue has been ready, milliseconds; undefined when none is, or it is not
   * known. Where the broker keeps no time at which it became ready, since it was pushed.
   */
  latencyMs?(queue: string): Promise<number | undefined>;
  /** Asked every few seconds while jobs run, so it costs the broker next to nothing, however many jobs there are. */
  census?(queues: readonly string[]): Promise<Census>;
  /**
   * A page of a queue's jobs: those that are ready in the order in which they are taken, those that are delayed by when they are due. What
   * one page costs is bounded, however many jobs there are: it may have fewer jobs than `limit`, or none, and tell where to go on.
   * Between two pages jobs come and go, and one may be missed or told twice by that.
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
   * Deletes the queue's ready jobs, those that are there when it begins; returns how many. Jobs that run, that wait for their time or
   * are dead stay.
   */
  purge?(queue: string): Promise<number>;
  /** What is to be said of the broker's own settings, good and bad. */
  findings?(): Promise<Finding[]>;
}
