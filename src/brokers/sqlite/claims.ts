import type { ReceiveRequest } from "../../core/broker.ts";
import type { Delivery } from "../../core/delivery.ts";
import { JobError } from "../../core/errors.ts";
import {
  type Format,
  isUnreadable,
  type JobHead,
  type Message,
  readJob,
  type Unreadable,
  unreadable,
} from "../../core/format.ts";
import { tooLarge } from "../../core/text/payload.ts";
import { CUT_OFF, SqliteDelivery, type SqliteSettler } from "./delivery.ts";
import type { SqliteShared } from "./shared.ts";
import type { SqliteStatement } from "./store/file.ts";
import { leaseName, type SqliteLeases } from "./leases.ts";
import { read } from "./store/writer.ts";
import { asBytes, isOutOfRange, shown, wholeNumber } from "./store/values.ts";

/** How often due jobs are looked for while jobs flow, milliseconds; a waiting receive has an exact timer instead. */
const PROMOTE_EVERY_MS = 10;
/** Each limit of a claim up to this has its own statement. */
const MAX_EXACT_LIMIT = 64;

export interface SqliteClaimsDeps {
  readonly settler: SqliteSettler;
  readonly leases: SqliteLeases;
  /** Whether the broker is open; else nothing is taken. */
  readonly isOpen: () => boolean;
}

export interface SqliteClaimsOptions {
  readonly leaseMs: number;
  readonly maxPayloadBytes: number;
  /** Unique among all workers on the file. */
  readonly owner: string;
  readonly format: Format;
}

/** The meaning of a ready job's lease: see {@link ReadyRow}. */
const REPEAT = `CASE WHEN lease IS NULL THEN 0 WHEN lease = '${CUT_OFF}' THEN 1 ELSE 2 END`;
const NO_BYTES = new Uint8Array(0);
const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({});

/**
 * Takes ready jobs of the embedded queue.
 *
 * 1. Waits for them without polling.
 * 2. Reserves them, and counts an attempt of each.
 * 3. Reads each row by itself: an invalid job is handed out with the reason, and does not affect others.
 */
export class SqliteClaims {
  readonly #shared: SqliteShared;
  readonly #deps: SqliteClaimsDeps;
  readonly #options: SqliteClaimsOptions;
  readonly #reserve: SqliteStatement;
  readonly #payload: SqliteStatement;
  readonly #hasReady: SqliteStatement;
  readonly #nextReady: SqliteStatement[] = [];
  readonly #nextReadyExact: SqliteStatement[] = [];
  #claims = 0;
  #promotedAtMs = -Infinity;

  constructor(
    shared: SqliteShared,
    deps: SqliteClaimsDeps,
    options: SqliteClaimsOptions,
  ) {
    this.#shared = shared;
    this.#deps = deps;
    this.#options = options;
    this.#reserve = shared.file.prepare(
      "UPDATE fervo_jobs SET state = 'reserved', attempts = attempts + 1, due_at = ?, lease = ? WHERE id = ?",
    );
    this.#payload = shared.file.prepare(
      `SELECT ${asBytes("payload")} AS payload FROM fervo_jobs WHERE id = ?`,
    );
    this.#hasReady = shared.file.prepare(
      "SELECT 1 FROM fervo_jobs WHERE state = 'ready' AND queue = ? LIMIT 1",
    );
  }

  async receive(request: ReceiveRequest, signal: AbortSignal): Promise<Delivery[]> {
    const { clock, file, writer, changes } = this.#shared;
    const { leases, isOpen } = this.#deps;
    leases.start();
    const untilMs = clock.monotonicMs() + request.waitMs;
    const isOver = () => signal.aborted || !isOpen();
    while (!isOver()) {
      // Under load there is always a settle to share the transaction with, and looking first would cost more.
      const before = writer.hasChanges ? undefined : await read(file, () => this.#look(request.queues));
      if (isOver()) break;
      if (before === undefined || before.hasWork) {
        const deliveries = await writer.write(() => this.#claim(request, before?.isDue ?? false));
        for (const delivery of deliveries) leases.hold(delivery);
        if (deliveries.length > 0) return deliveries;
      }
      const leftMs = untilMs - clock.monotonicMs();
      if (leftMs <= 0) break;
      if (before !== undefined) {
        const untilDueMs = before.nextDueMs === undefined ? Infinity : before.nextDueMs - clock.nowMs();
        await changes.wait(before.mark, Math.min(leftMs, Math.max(untilDueMs, 1)), signal);
      }
    }
    return [];
  }

  /** The facts for a waiting receive, read before it waits. */
  #look(queues: readonly string[]) {
    const mark = this.#shared.changes.mark();
    const nextDueMs = this.#deps.leases.nextDueMs();
    const isDue = nextDueMs !== undefined && nextDueMs <= this.#shared.clock.nowMs();
    const hasWork = isDue || queues.some((queue) => this.#hasReady.get(queue) !== undefined);
    return { mark, nextDueMs, isDue, hasWork };
  }

  /**
   * Within a transaction: takes up to `max` jobs, one queue after the other, until they have `maxBytes`. They are leased after
   * the commit.
   */
  #claim({ queues, max, maxBytes = Infinity }: ReceiveRequest, isDue: boolean): SqliteDelivery[] {
    const { clock } = this.#shared;
    const { owner, leaseMs, maxPayloadBytes } = this.#options;
    const [nowMs, monotonicMs] = [clock.nowMs(), clock.monotonicMs()];
    if (isDue || monotonicMs - this.#promotedAtMs >= PROMOTE_EVERY_MS) {
      this.#promotedAtMs = monotonicMs;
      this.#deps.leases.promote(nowMs);
    }
    const lease = leaseName(owner, ++this.#claims, leaseMs);
    const deliveries: SqliteDelivery[] = [];
    let roomBytes = maxBytes;
    for (const queue of queues) {
      const room = max - deliveries.length;
      if (room === 0 || roomBytes <= 0) break;
      // All that are read together fit; a longer one is read alone when its turn comes.
      for (const row of this.#readyRows(queue, room, Math.floor(roomBytes / room))) {
        if (deliveries.length === max || roomBytes <= 0) break;
        if (row[1] === null && row[2] <= maxPayloadBytes) row[1] = this.#payloadOf(row[0]);
        roomBytes -= row[1]?.length ?? 0;
        this.#reserve.current.run(nowMs + leaseMs, lease, row[0]);
        deliveries.push(this.#toDelivery(queue, lease, row));
      }
    }
    return deliveries;
  }

  /** It may find more than requested. */
  #readyRows(queue: string, limit: number, shareBytes: number): ReadyRow[] {
    const { maxPayloadBytes } = this.#options;
    const longestBytes = Math.min(shareBytes, maxPayloadBytes);
    const rowsBy = (all: SqliteStatement[], isExact: boolean) => {
      // One statement for each limit: with `LIMIT ?` SQLite would compile it at every run, which takes ten times its own time.
      // Large limits are rounded up to keep the number of statements small.
      const rounded = limit <= MAX_EXACT_LIMIT ? limit : 2 ** Math.ceil(Math.log2(limit));
      const statement = all[rounded] ??= this.#prepareNextReady(rounded, isExact);
      return statement.current.all(longestBytes, maxPayloadBytes, queue) as unknown as ReadyRow[];
    };
    try {
      return rowsBy(this.#nextReady, false);
    } catch (error) {
      if (!isOutOfRange(error)) throw error;
      return rowsBy(this.#nextReadyExact, true);
    }
  }

  #payloadOf(id: number | bigint): Uint8Array {
    return this.#payload.get(id)!["payload"] as Uint8Array;
  }

  /**
   * The next jobs of a queue, as {@link ReadyRow}s. One SELECT and one UPDATE for each row take half the time of one `UPDATE …
   * WHERE id IN (SELECT …) RETURNING`, which materialises both the sub-select and its result.
   */
  #prepareNextReady(limit: number, isExact: boolean): SqliteStatement {
    // PHP's PDO binds strings as TEXT by default: the cast gives their bytes, not their characters.
    return this.#shared.file.prepare(
      `
      SELECT id, CASE WHEN octet_length(payload) <= ? THEN ${asBytes("payload")} END, octet_length(payload),
             CASE WHEN octet_length(headers) <= ? THEN ${asBytes("headers")} END, octet_length(headers),
             attempts, max_attempts, created_at, due_at, ${REPEAT}
      FROM fervo_jobs WHERE state = 'ready' AND queue = ? ORDER BY priority DESC, id LIMIT ${limit}`,
      { arrays: true, bigInts: isExact },
    );
  }

  #toDelivery(queue: string, token: string, row: ReadyRow): SqliteDelivery {
    const [id, , , , , attempts, , createdAt, dueAt, repeat] = row;
    const delivery = new SqliteDelivery(this.#deps, token, id, queue, this.#read(queue, row));
    if (Number(repeat) > 0) delivery.isRepeat = true;
    if (Number(repeat) === 2) delivery.redeliveries = 1;
    const createdAtMs = wholeNumber(createdAt);
    const readyAtMs = wholeNumber(dueAt);
    if (createdAtMs !== undefined) delivery.enqueuedAtMs = createdAtMs;
    if (readyAtMs !== undefined) delivery.readyAtMs = readyAtMs;
    delivery.attempt = (countOf(attempts, 0, MAX_COUNT - 1) ?? 0) + 1;
    return delivery;
  }

  /** The message and job of a row. A limit of attempts in the message overrides the row's. */
  #read(queue: string, row: ReadyRow): { message: Message; job: JobHead | Unreadable } {
    const [, payload, bytes, headersText, headersBytes, attempts, maxAttempts] = row;
    const body = payload ?? NO_BYTES;
    if (payload === null) {
      const error = tooLarge(queue, Number(bytes), this.#options.maxPayloadBytes);
      return { message: { body, headers: NO_HEADERS }, job: unreadable(error) };
    }
    const headers = headersBytes === null ? NO_HEADERS : parseHeaders(headersText);
    if (headers instanceof JobError) {
      return { message: { body, headers: NO_HEADERS }, job: unreadable(headers) };
    }
    const message = { body, headers };
    const most = maxAttempts === null ? undefined : countOf(maxAttempts, 1, MAX_COUNT);
    if (maxAttempts !== null && most === undefined) {
      return { message, job: unreadable(notACount("max_attempts", maxAttempts, "1 to 2^53 - 1")) };
    }
    if (countOf(attempts, 0, MAX_COUNT - 1) === undefined) {
      return { message, job: unreadable(notACount("attempts", attempts, "0 to 2^53 - 2")) };
    }
    const job = readJob(this.#options.format, message);
    return { message, job: most === undefined || isUnreadable(job) ? job : { maxAttempts: most, ...job } };
  }
}

/** A job that can be claimed, as others have written it; `payload` and `headers` are null when longer than requested. */
type ReadyRow = [
  id: number | bigint,
  payload: Uint8Array | null,
  bytes: number | bigint,
  headers: Uint8Array | null,
  headersBytes: number | bigint | null,
  attempts: unknown,
  maxAttempts: unknown,
  createdAtMs: unknown,
  dueAtMs: unknown,
  /** 2 if a holder was lost, 1 if it was put back while it ran, else 0. */
  repeat: number | bigint,
];

const MAX_COUNT = Number.MAX_SAFE_INTEGER;

/** A number of attempts; undefined when it is invalid. */
function countOf(value: unknown, least: number, most: number): number | undefined {
  const count = wholeNumber(value);
  return count !== undefined && count >= least && count <= most ? count : undefined;
}

function notACount(column: string, value: unknown, range: string): JobError {
  return new JobError(
    "JOB_MALFORMED",
    `Cannot run the job: its "${column}" is ${shown(value)}, and must be a whole number from ${range}`,
  );
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** @param text Null when it is too long. */
function parseHeaders(text: Uint8Array | null): Record<string, string> | JobError {
  let value: unknown;
  try {
    value = text && JSON.parse(utf8.decode(text));
  } catch {
    // Reported below, together with JSON values that are not headers.
  }
  const isHeaders = typeof value === "object" && value !== null && !Array.isArray(value) &&
    Object.values(value).every((header) => typeof header === "string");
  if (isHeaders) return value as Record<string, string>;
  return new JobError(
    "JOB_MALFORMED",
    "Cannot read the job's headers: they are not a JSON object of strings",
  );
}
