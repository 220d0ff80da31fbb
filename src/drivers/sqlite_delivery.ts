import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Clock } from "../core/clock.ts";
import type { Delivery } from "../core/delivery.ts";
import { type FervoError, QueueError } from "../core/errors.ts";
import type { SqliteChanges } from "./sqlite_changes.ts";
import type { SqliteWriter } from "./sqlite_writer.ts";

/** What the parts of the driver share. */
export interface SqliteShared {
  readonly db: DatabaseSync;
  readonly path: string;
  readonly clock: Clock;
  readonly writer: SqliteWriter;
  readonly changes: SqliteChanges;
}

const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({});

/** A job that this process holds under `lease`. */
export class SqliteDelivery implements Delivery {
  readonly id: string;
  readonly queue: string;
  readonly raw: Uint8Array;
  headers = NO_HEADERS;
  problem?: FervoError;
  attempt = 1;
  maxAttempts?: number;
  enqueuedAtMs?: number;
  readyAtMs?: number;
  readonly #settler: SqliteSettler;
  readonly #rowId: number;
  readonly #lease: string;

  constructor(settler: SqliteSettler, lease: string, rowId: number, queue: string, raw: Uint8Array) {
    this.#settler = settler;
    this.#lease = lease;
    this.#rowId = rowId;
    this.id = String(rowId);
    this.queue = queue;
    this.raw = raw;
  }

  ack(): Promise<void> {
    return this.#settler.ack(this.#rowId, this.#lease);
  }

  retry(delayMs: number, error: FervoError): Promise<void> {
    return this.#settler.retry(this.#rowId, this.#lease, delayMs, error);
  }

  bury(error: FervoError): Promise<void> {
    return this.#settler.bury(this.#rowId, this.#lease, error);
  }

  release(): Promise<void> {
    return this.#settler.release(this.#rowId, this.#lease);
  }

  extend(): Promise<void> {
    return this.#settler.extend(this.#rowId, this.#lease);
  }
}

/** Changes the rows of jobs that are ours; a row whose lease is another one is left alone: LEASE_LOST. */
export class SqliteSettler {
  readonly #clock: Clock;
  readonly #writer: SqliteWriter;
  readonly #changes: SqliteChanges;
  readonly #leaseMs: number;
  readonly #ack: StatementSync;
  readonly #requeue: StatementSync;
  readonly #bury: StatementSync;
  readonly #release: StatementSync;
  readonly #extend: StatementSync;

  constructor({ db, clock, writer, changes }: SqliteShared, leaseMs: number) {
    this.#clock = clock;
    this.#writer = writer;
    this.#changes = changes;
    this.#leaseMs = leaseMs;
    const ours = "WHERE id = ? AND lease = ?";
    this.#ack = db.prepare(`DELETE FROM fervo_jobs ${ours}`);
    this.#requeue = db.prepare(
      `UPDATE fervo_jobs SET state = ?, due_at = ?, error = ?, lease = NULL ${ours}`,
    );
    this.#bury = db.prepare(
      `UPDATE fervo_jobs SET state = 'dead', due_at = ?, error = ?, lease = NULL ${ours}`,
    );
    this.#release = db.prepare(
      `UPDATE fervo_jobs SET state = 'ready', due_at = ?, attempts = attempts - 1, lease = NULL ${ours}`,
    );
    this.#extend = db.prepare(`UPDATE fervo_jobs SET state = 'reserved', due_at = ? ${ours}`);
  }

  ack(id: number, lease: string): Promise<void> {
    return this.#change(id, () => this.#ack.run(id, lease));
  }

  retry(id: number, lease: string, delayMs: number, error: FervoError): Promise<void> {
    return this.#change(id, () => {
      this.#changes.announceOwn();
      const dueAtMs = this.#clock.nowMs() + delayMs;
      return this.#requeue.run(delayMs > 0 ? "delayed" : "ready", dueAtMs, errorColumn(error), id, lease);
    });
  }

  bury(id: number, lease: string, error: FervoError): Promise<void> {
    return this.#change(id, () => this.#bury.run(this.#clock.nowMs(), errorColumn(error), id, lease));
  }

  release(id: number, lease: string): Promise<void> {
    return this.#change(id, () => {
      this.#changes.announceOwn();
      return this.#release.run(this.#clock.nowMs(), id, lease);
    });
  }

  extend(id: number, lease: string): Promise<void> {
    return this.#change(id, () => this.#extend.run(this.#clock.nowMs() + this.#leaseMs, id, lease));
  }

  #change(id: number, apply: () => { changes: number | bigint }): Promise<void> {
    return this.#writer.write(() => {
      if (apply().changes === 0) {
        throw new QueueError(
          "LEASE_LOST",
          `Job "${id}" is no longer ours: it is settled, or its lease ended and another worker took it`,
        );
      }
    });
  }
}

/** What the `error` column holds: `{"code", "message", "stderr"?}` as JSON. */
function errorColumn({ code, message, details }: FervoError): string {
  return JSON.stringify({ code, message, stderr: details.stderr });
}
