import { joined } from "../../core/text/bytes.ts";
import type { Job } from "../../core/job.ts";
import type { Outcome } from "../../core/outcome.ts";
import type { AnswerSoFar, BodyListener } from "../../fastcgi/response.ts";
import type { Batch } from "../executor.ts";
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

/** CONTENT_TYPE of a batch. */
export const BATCH_CONTENT_TYPE = "application/x-fervo-batch";

const END_OF_LINE = Uint8Array.of(LF);

const utf8 = new TextEncoder();

/** STDIN: for each job a line of JSON with its facts, its payload, and an end of line. */
export function encodeBatch({ jobs, timeoutMs }: Pick<Batch, "jobs" | "timeoutMs">): Uint8Array {
  return joined(jobs.flatMap((job) => {
    const facts = {
      id: job.id,
      queue: job.queue,
      attempt: job.attempt,
      max_attempts: job.maxAttempts,
      // Left out by JSON where it is not known, as are those below.
      repeat: job.isRepeat,
      enqueued_at: job.enqueuedAtMs,
      timeout_ms: timeoutMs,
      traceparent: job.traceparent,
      tracestate: job.tracestate,
      bytes: job.payload.length,
    };
    return [utf8.encode(JSON.stringify(facts) + "\n"), job.payload, END_OF_LINE];
  }));
}

/**
 * Reads the answer to a batch while it comes.
 *
 * 1. Counts a record only below the header `X-Fervo-Outcome: batch`, and only when it is for the job whose turn it is.
 * 2. Reads the message behind a record that has one, whatever its bytes are; cut short, there is no record.
 * 3. Gives what was written to STDERR since the record before to the job whose it is.
 */
export class BatchAnswer {
  readonly #jobs: readonly Job[];
  readonly #onOutcome: (outcome: Outcome, job: Job, stderr: string) => void;
  readonly #reader = new JsonSequenceReader();
  #ended = 0;

  /** @param onOutcome Is told of each job as its record comes, and what was written to STDERR since the record before. */
  constructor(jobs: readonly Job[], onOutcome: (outcome: Outcome, job: Job, stderr: string) => void) {
    this.#jobs = jobs;
    this.#onOutcome = onOutcome;
  }

  /** The first job without a record; undefined when all have one. */
  get running(): Job | undefined {
    return this.#jobs[this.#ended];
  }

  readonly onBody: BodyListener = (piece, answer) => {
    if (answer.headers.get("x-fervo-outcome") !== "batch") return;
    this.#reader.read(piece, (value) => this.#take(value, answer));
  };

  #take(record: unknown, answer: AnswerSoFar): Behind | undefined {
    const job = this.running;
    if (job === undefined || !isRecord(record) || record["id"] !== job.id) return undefined;
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

  #tell(job: Job, outcomeWith: (stderr: string) => Outcome, answer: AnswerSoFar): void {
    this.#ended++;
    const stderr = answer.takeStderr();
    this.#onOutcome(outcomeWith(stderr), job, stderr);
  }
}

/** Bytes that belong to a text, right behind its end of line. */
export interface Behind {
  readonly bytes: number;
  /** Is given all of them, once. */
  readonly onBytes: (bytes: Uint8Array) => void;
}

interface BehindSoFar extends Behind {
  readonly pieces: Uint8Array[];
  left: number;
}

/**
 * Finds the texts of a JSON text sequence (RFC 7464) in a stream, wherever that is cut: 0x1E, JSON, an end of line.
 * Whatever else is in the stream is passed over, a text that was begun and not ended, or is no JSON, too. Bytes that belong to a text
 * may follow it, and are not looked into.
 */
export class JsonSequenceReader {
  /** The text that has begun; undefined between two. */
  #begun: Uint8Array[] | undefined;
  #begunBytes = 0;
  /** What follows the last text, as far as it has come. */
  #behind: BehindSoFar | undefined;

  /** @param onValue Is given each text that has come to its end, parsed; says what belongs to it. */
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

  /** What of `text` counts: a separator within it begins anew. */
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
