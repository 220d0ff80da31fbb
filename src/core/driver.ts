import type { Delivery } from "./delivery.ts";
import type { Finding } from "./finding.ts";
import type { Beginning, ClaimResult, ScheduleClaims, SlotClaim } from "./schedule_claims.ts";

/** What a broker can do. A driver declares it; the conformance suite and the documentation go by it. */
export interface DriverCapabilities {
  /** How a delivery stays ours: for a time that `extend` renews, as long as the connection lives, or for ever. */
  readonly lease: "timed" | "connection" | "none";
  /** `push` takes a delay. */
  readonly delay: boolean;
  /** `push` takes a priority. */
  readonly priority: boolean;
  /** `push` takes headers and a limit of tries, and the broker keeps them beside the payload. */
  readonly headers: boolean;
  /**
   * A dead letter keeps why and when its job died, is listed by when, and keeps its id when it is retried. Else its
   * error says that nothing is known.
   */
  readonly deadErrors: boolean;
  /** It keeps a {@link ScheduleBook}. */
  readonly schedule: boolean;
  /**
   * How long {@link Pauses} last: until somebody resumes the queue, or `loose`, which may end by itself: when the broker
   * restarts, or when nobody uses the queue and it holds no job.
   */
  readonly pauses: "kept" | "loose";
  /** Its deliveries tell {@link Delivery.isRepeat}. */
  readonly repeats: boolean;
}

/** What to receive. */
export interface ReceiveRequest {
  /** In order: a later queue is only looked at when the earlier ones have nothing ready. */
  readonly queues: readonly string[];
  /** At most this many deliveries; at least 1. */
  readonly max: number;
  /** Once their messages have this many bytes, no further one is given; the first always is. No limit when absent. */
  readonly maxBytes?: number;
  /** Wait at most so long for the first one, milliseconds. 0 asks without waiting. */
  readonly waitMs: number;
  /** Ends the wait. */
  readonly signal: AbortSignal;
}

export interface PushOptions {
  /** Not before so many milliseconds from now. */
  readonly delayMs?: number;
  /** Higher runs first within a queue; 0 when absent. A whole number. */
  readonly priority?: number;
  /** The job's own limit of tries instead of its consumer's. */
  readonly maxAttempts?: number;
  /** Stored beside the payload, e.g. `traceparent`. Names in lower case. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** How many jobs a queue holds, by state. */
export interface QueueDepth {
  readonly ready: number;
  readonly delayed: number;
  readonly reserved: number;
  readonly dead: number;
}

/** What a broker counts that concerns a worker now. */
export interface Census {
  /** Jobs that are ready, or overdue to be, by queue; a count of {@link CENSUS_LIMIT} means so many or more. */
  readonly ready: ReadonlyMap<string, number>;
  /** Jobs in flight that the broker has given to this process; undefined where it does not know to whom. */
  readonly inFlight: number | undefined;
}

/** Up to here the ready jobs of a queue are counted. */
export const CENSUS_LIMIT = 1_000;

/** Why a try failed. */
export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly stderr?: string;
  /** The try that failed, 1-based, where the broker knows. */
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
  get(id: string): Promise<DeadLetter | undefined>;
  /** Those of the ids that are dead letters, in any order. */
  find(ids: readonly string[]): Promise<DeadLetter[]>;
  /** Makes dead jobs ready again with no attempt counted; `ids` or all of them. Returns how many. */
  retry(ids: readonly string[] | "all"): Promise<number>;
  /** Deletes dead jobs; `ids` or all of them. Returns how many. */
  remove(ids: readonly string[] | "all"): Promise<number>;
}

/**
 * Queues that nobody takes jobs from until they are resumed, as all workers on the broker see it within two seconds.
 * Jobs that run already go on, pushes too. Every call may reject with QUEUE_UNAVAILABLE.
 */
export interface Pauses {
  /** The names, sorted. */
  list(): Promise<string[]>;
  /** Idempotent. */
  pause(queue: string): Promise<void>;
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

/**
 * One broker.
 *
 * 1. Hands out deliveries, each to one holder at a time, and never more than were asked for.
 * 2. Loses nothing: a job is in the broker until it is acknowledged, whatever dies in between.
 * 3. Moves bytes, not meanings: it never looks into a payload.
 *
 * Every method may reject with QUEUE_UNAVAILABLE, and may then be called again.
 */
export interface Driver extends AsyncDisposable {
  readonly capabilities: DriverCapabilities;
  /** How long a delivery stays ours unless renewed, milliseconds; undefined where there is no timed lease. */
  readonly leaseMs: number | undefined;

  /** Resolves with what is ready; with `[]` when the wait ended or `signal` aborted. Never drops a job it has taken. */
  receive(request: ReceiveRequest): Promise<Delivery[]>;
  /** Resolves with the job's id once the broker holds it durably. */
  push(queue: string, payload: Uint8Array, options?: PushOptions): Promise<string>;
  depth(queue: string): Promise<QueueDepth>;
  /**
   * For how long the next job of the queue has been ready, milliseconds; undefined when none is, or it is not known. Of
   * beanstalkd, since it was put.
   */
  latencyMs(queue: string): Promise<number | undefined>;
  /** Asked every few seconds while jobs run, so it costs the broker next to nothing, however many jobs there are. */
  census(queues: readonly string[]): Promise<Census>;
  /** Names of all queues that hold a job, sorted. */
  queues(): Promise<string[]>;
  readonly dead: DeadLetters;
  readonly pauses: Pauses;
  /** Undefined where the broker has no place for it. */
  readonly schedule?: ScheduleBook;
  /** What is to be said of the broker's own settings, good and bad. */
  findings?(): Promise<Finding[]>;

  /** Shows that this process takes no more jobs, where the broker shows its processes to people. Idempotent. */
  quiet?(): void;

  /** Waits for calls under way, then closes. Idempotent. */
  close(): Promise<void>;
}
