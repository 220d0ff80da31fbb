import type { FervoError } from "../../core/errors.ts";
import type { DeadLetter } from "../../core/driver.ts";

/** What the driver has to know of a job to deliver and to file it. */
export interface JobFacts {
  /** The message as it was read, for the format. */
  readonly parsed: unknown;
  /** The job's own id; absent in messages of some producers. */
  readonly id?: string;
  /** The queue that the message names, if it does. */
  readonly queue?: string;
  /** Tries that have begun, 0 for a new job: those that failed and those whose worker died. */
  readonly tries: number;
  /** How often the job was taken back from a worker that died. */
  readonly recoveries: number;
  /** When it was first pushed, and when it last entered its queue; epoch milliseconds. */
  readonly createdAtMs?: number;
  readonly enqueuedAtMs?: number;
  /** A former run of it may not have ended. */
  readonly isRepeat: boolean;
  /** Whether its producer wants it kept when it has failed for good. */
  readonly isKeptWhenDead: boolean;
  /** Why it failed last, where it did. */
  readonly error?: DeadLetter["error"];
}

/** What is told of a dead letter. */
export interface LetterFacts extends Partial<Omit<JobFacts, "parsed">> {
  /** The message that died. */
  readonly payload: Uint8Array;
  /** Where it came from; "" where that is not known of a message that is no job. */
  readonly queue?: string;
}

/** A message and the queue that it belongs into. */
export interface PlacedMessage {
  readonly raw: Uint8Array;
  readonly queue: string;
}

/** A try that failed. */
export interface Failure {
  readonly id: string;
  /** Where the job came from. */
  readonly queue: string;
  readonly error: FervoError;
  readonly nowMs: number;
}

/**
 * The message format of a broker that keeps a job's whole record in its message: what the driver has to read there and
 * to write. Every function leaves the bytes of all other fields as they were, and throws JOB_MALFORMED when the bytes
 * are not of the format. Times are epoch milliseconds.
 */
export interface JobFormat {
  /** The version of Sidekiq that it follows, told by the process list. */
  readonly version: string;
  /** What a process's list of running jobs is called behind its identity: `work`, and `workers` in former versions. */
  readonly workKeys: readonly string[];
  /** @throws {JobError} JOB_MALFORMED */
  read(raw: Uint8Array): JobFacts;
  /** A new job; it keeps its own id where it has one. */
  pushed(
    raw: Uint8Array,
    o: { id: string; queue: string; isDelayed: boolean; nowMs: number },
  ): { readonly raw: Uint8Array; readonly id: string };
  /** A job that failed, as it is tried again. */
  failed(raw: Uint8Array, failure: Failure): PlacedMessage;
  /** A job whose time has come, as it enters its queue. */
  enqueued(raw: Uint8Array, nowMs: number): PlacedMessage;
  /** What a dead letter says of its job, or of its message that is no job. */
  letter(raw: Uint8Array): LetterFacts;
  /** The dead letter of a message that is no job; `queue` is where it came from, if that is known. Never throws. */
  unreadable(
    raw: Uint8Array,
    failure: Omit<Failure, "queue"> & { readonly queue: string | undefined },
  ): Uint8Array;
  /** A dead letter's job that is to begin anew; what is no job goes back as it was. */
  revived(raw: Uint8Array, nowMs: number): PlacedMessage;
  /** A job that is put back while it runs. */
  repeated(raw: Uint8Array): Uint8Array;
  /** A job whose worker died. */
  recovered(raw: Uint8Array, o: { id: string; queue: string }): Uint8Array;
}
