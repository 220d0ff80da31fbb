import { joined } from "../../core/text/bytes.ts";
import type { Job } from "../../core/job.ts";
import type { Outcome } from "../../core/outcome.ts";
import type { AnswerSoFar, BodyListener } from "../../fastcgi/response.ts";
import type { Batch, JobFailure } from "../executor.ts";
import {
  isRecord,
  LF,
  MAX_RECORD_BYTES,
  messageLengths,
  outcomeOfRecord,
  parseText,
  RECORD_SEPARATOR,
  replacedBy,
} from "./record.ts";

/*
 * A batch on the wire (docs/protocol.md, section 7): STDIN of its request, and the records of its answer.
 */

export const BATCH_CONTENT_TYPE = "application/x-fervo-batch";
/** CONTENT_TYPE of a post-mortem. */
export const POST_MORTEM_CONTENT_TYPE = "application/x-fervo-post-mortem";

const END_OF_LINE = Uint8Array.of(LF);

const utf8 = new TextEncoder();

/** STDIN: for each job a line of JSON with its facts, its payload, and an end of line. */
export function encodeBatch({ jobs, timeoutMs }: Pick<Batch, "jobs" | "timeoutMs">): Uint8Array {
  return joined(jobs.flatMap((job) => encodeJob(job, timeoutMs)));
}

/** The same for a post-mortem, with the failure. */
export function encodePostMortem(job: Job, failure: JobFailure): Uint8Array {
  return joined(encodeJob(job, undefined, failure));
}

function encodeJob(job: Job, timeoutMs?: number, failure?: JobFailure): Uint8Array[] {
  const facts = {
    id: job.id,
    queue: job.queue,
    attempt: job.attempt,
    max_attempts: job.maxAttempts,
    // JSON leaves it out if unknown, like those below.
    repeat: job.isRepeat,
    enqueued_at: job.enqueuedAtMs,
    timeout_ms: timeoutMs,
    traceparent: job.traceparent,
    tracestate: job.tracestate,
    format: job.framework?.format,
    headers: job.framework?.headers,
    failure,
    bytes: job.payload.length,
  };
  return [utf8.encode(jsonOf(facts) + "\n"), job.payload, END_OF_LINE];
}

/** A lone surrogate, as JSON.stringify() writes it. */
const HALF_PAIR = /\\ud[89a-f]/;
/** Any escape. */
const ESCAPE = /\\(?:ud[89a-f]..|.)/g;

/** JSON for PHP: a lone surrogate, which has no bytes, becomes U+FFFD, as in params. */
function jsonOf(facts: object): string {
  const json = JSON.stringify(facts);
  return HALF_PAIR.test(json)
    ? json.replace(ESCAPE, (escape) => escape.length === 6 ? "\\ufffd" : escape)
    : json;
}

/** Receives the records of an answer. */
export interface AnswerListener {
  readonly onBegun: (job: Job) => void;
  /** @param stderr STDERR since the previous record. */
  readonly onOutcome: (outcome: Outcome, job: Job, stderr: string) => void;
}

/**
 * Reads the answer to a batch as it arrives.
 *
 * 1. Counts a record only below the header `X-Fervo-Outcome` with the word for this kind of request, and only for the right
 *    job: the first without a record; for a framework, one that has begun.
 * 2. Reads the message after a record that announces one, whatever its bytes are; if it is cut short, there is no record.
 * 3. Gives STDERR since the previous record to the record's job.
 */
export class BatchAnswer {
  readonly #jobs: readonly Job[];
  /** Jobs without an outcome, in order. */
  readonly #open: { readonly job: Job; readonly id: string; hasBegun: boolean }[];
  /** A framework's records say when a job begins; other jobs begin when the previous one has ended. */
  readonly #tellsBegin: boolean;
  readonly #listener: AnswerListener;
  readonly #word: string;
  readonly #reader = new JsonSequenceReader();
  #hasRecord = false;

  /** @param word The value of the header. */
  constructor(jobs: readonly Job[], listener: AnswerListener, word: "batch" | "post-mortem" = "batch") {
    this.#jobs = jobs;
    // As sent.
    this.#open = jobs.map((job) => ({ job, id: job.id.toWellFormed(), hasBegun: false }));
    this.#tellsBegin = jobs[0]?.framework !== undefined;
    this.#listener = listener;
    this.#word = word;
  }

  /** Whether a record counted. */
  get hasRecord(): boolean {
    return this.#hasRecord;
  }

  /** The jobs with an outcome. */
  get ended(): readonly Job[] {
    return this.#jobs.filter((job) => !this.#open.some((one) => one.job === job));
  }

  /** The running jobs, by the records; none when all have ended, or no other has begun. */
  get running(): readonly Job[] {
    const open = this.#tellsBegin ? this.#open.filter(({ hasBegun }) => hasBegun) : this.#open.slice(0, 1);
    return open.map(({ job }) => job);
  }

  readonly onBody: BodyListener = (piece, answer) => {
    if (answer.headers.get("x-fervo-outcome") !== this.#word) return;
    this.#reader.read(piece, (value) => this.#take(value, answer));
  };

  #take(record: unknown, answer: AnswerSoFar): Behind | undefined {
    if (!isRecord(record)) return undefined;
    if (record["outcome"] === "begun") return this.#begin(record["id"]);
    const job = this.#runningWith(record["id"]);
    if (job === undefined) return undefined;
    const lengths = messageLengths(record);
    if (lengths === undefined) {
      this.#tell(job, (stderr) => outcomeOfRecord(record, stderr), answer);
      return undefined;
    }
    return {
      bytes: lengths.headers + lengths.body,
      onBytes: (bytes) => {
        const message = {
          headers: bytes.subarray(0, lengths.headers),
          body: bytes.subarray(lengths.headers),
        };
        this.#tell(job, (stderr) => replacedBy(record, message, stderr), answer);
      },
    };
  }

  #runningWith(id: unknown): Job | undefined {
    if (this.#tellsBegin) return this.#open.find((one) => one.hasBegun && one.id === id)?.job;
    const first = this.#open[0];
    return first?.id === id ? first?.job : undefined;
  }

  #begin(id: unknown): undefined {
    const next = this.#open.find((one) => !one.hasBegun && one.id === id);
    if (next === undefined || !this.#tellsBegin) return;
    next.hasBegun = true;
    this.#hasRecord = true;
    this.#listener.onBegun(next.job);
  }

  #tell(job: Job, outcomeWith: (stderr: string) => Outcome, answer: AnswerSoFar): void {
    // A framework's job without a word goes on: it gets a post-mortem when the request has ended.
    if (this.#tellsBegin && isNoWord(outcomeWith(""))) return;
    const stderr = answer.takeStderr();
    this.#open.splice(this.#open.findIndex((one) => one.job === job), 1);
    this.#hasRecord = true;
    this.#listener.onOutcome(outcomeWith(stderr), job, stderr);
  }
}

/** Whether a record has no known word. */
function isNoWord(outcome: Outcome): boolean {
  return outcome.kind === "retry" && outcome.error.code === "JOB_NO_OUTCOME";
}

/** Bytes that belong to a text, right after its line end. */
export interface Behind {
  readonly bytes: number;
  /** Called with all of them, once. */
  readonly onBytes: (bytes: Uint8Array) => void;
}

interface BehindSoFar extends Behind {
  readonly pieces: Uint8Array[];
  left: number;
}

/**
 * Finds the texts of a JSON text sequence (RFC 7464) in a stream, however it is cut: 0x1E, JSON, a line end. Everything else in
 * the stream is skipped, also an unfinished text and one that is not JSON. Bytes that belong to a text may follow it, and are
 * not parsed.
 */
export class JsonSequenceReader {
  /** The current text; undefined between two. */
  #begun: Uint8Array[] | undefined;
  #begunBytes = 0;
  /** The bytes after the last text, as far as they have arrived. */
  #behind: BehindSoFar | undefined;

  /** @param onValue Called with each complete text, parsed; returns what belongs to it. */
  read(piece: Uint8Array, onValue: (value: unknown) => Behind | undefined): void {
    for (let at = 0; at < piece.length;) {
      if (this.#behind !== undefined) {
        at = this.#keepBehind(this.#behind, piece, at);
        continue;
      }
      if (this.#begun === undefined) {
        const start = piece.indexOf(RECORD_SEPARATOR, at);
        if (start < 0) return;
        this.#begin();
        at = start + 1;
      }
      const lineEnd = piece.indexOf(LF, at);
      const text = this.#restarted(piece.subarray(at, lineEnd < 0 ? piece.length : lineEnd));
      if (lineEnd < 0) return this.#keep(text);
      this.#end(text, onValue);
      at = lineEnd + 1;
    }
  }

  #begin(): void {
    this.#begun = [];
    this.#begunBytes = 0;
  }

  /** The part of `text` that counts: a separator within it starts again. */
  #restarted(text: Uint8Array): Uint8Array {
    const start = text.lastIndexOf(RECORD_SEPARATOR);
    if (start < 0) return text;
    this.#begin();
    return text.subarray(start + 1);
  }

  #keep(text: Uint8Array): void {
    this.#begunBytes += text.length;
    if (this.#begunBytes > MAX_RECORD_BYTES) this.#begun = undefined;
    else this.#begun?.push(text.slice());
  }

  /** Returns where it ends in the piece. */
  #keepBehind(behind: BehindSoFar, piece: Uint8Array, at: number): number {
    const end = Math.min(piece.length, at + behind.left);
    behind.pieces.push(piece.slice(at, end));
    behind.left -= end - at;
    if (behind.left === 0) {
      this.#behind = undefined;
      behind.onBytes(joined(behind.pieces));
    }
    return end;
  }

  #end(text: Uint8Array, onValue: (value: unknown) => Behind | undefined): void {
    const begun = this.#begun ?? [];
    this.#begun = undefined;
    if (this.#begunBytes + text.length > MAX_RECORD_BYTES) return;
    const value = parseText(joined([...begun, text]));
    const behind = value === undefined ? undefined : onValue(value);
    if (behind === undefined) return;
    if (behind.bytes === 0) behind.onBytes(new Uint8Array(0));
    else this.#behind = { ...behind, pieces: [], left: behind.bytes };
  }
}
