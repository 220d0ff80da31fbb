import type { BrokerAdmin } from "../../../core/admin.ts";
import type { Capabilities } from "../../../core/broker.ts";
import type { PlainFormat, PushOptions } from "../../../core/format.ts";
import type { Clock } from "../../../core/time/clock.ts";
import { tooLarge } from "../../../core/text/payload.ts";
import { written } from "../../../formats/written.ts";
import type { SqlDialect } from "../../../sql/dialect.ts";
import type { Given } from "../../../sql/database.ts";
import type { SqlClient, SqlSession } from "../../../sql/driver.ts";
import type { SqlValue } from "../../../sql/value.ts";
import { HUNDRED_YEARS, refuseDelay } from "../../delays.ts";
import { refuseInvalidKey } from "../../unique_keys.ts";
import type { ClaimRequest, IsHeld, LastingVerdict, Layout, Pushed } from "../layout.ts";
import type { RowsShared } from "../shared.ts";
import { FervoAdmin } from "./admin.ts";
import { checkedLayout } from "./check.ts";
import { FervoClaims } from "./claims.ts";
import { headersColumn } from "../../job_columns.ts";
import { JobTable } from "./job_table.ts";
import type { FervoRow } from "./row.ts";
import { migrate, refuseTextPayloads } from "./schema/migrate.ts";
import { FervoSettles } from "./settles.ts";
import { type FervoTables, fervoTables } from "./tables.ts";
import { idOf } from "../row_values.ts";

export interface FervoLayoutOptions {
  readonly tablePrefix: string;
  /** Create and migrate the tables when a connection opens. */
  readonly createTables: boolean;
  readonly leaseMs: number;
  readonly maxPayloadBytes: number;
}

export const FERVO_CAPABILITIES: Capabilities = {
  lease: "timed",
  redeliveries: "flagged",
  attempts: true,
  repeats: true,
  release: "uncounted",
  delayedRelease: "uncounted",
  releasePlace: "front",
  replace: "one-step",
  fence: "token",
  orders: ["strict", "weighted"],
  pushDelay: HUNDRED_YEARS,
  retryDelay: HUNDRED_YEARS,
  priority: true,
  headers: true,
  unique: true,
  counts: "estimated",
  jobs: true,
  dead: "errors",
  pauses: "kept",
  pauseReasons: true,
  purge: true,
  schedule: true,
};

/** Our own table: schema/versions.ts has its columns, docs/protocol.md their meaning for producers. */
export class FervoLayout implements Layout<FervoRow> {
  readonly capabilities = FERVO_CAPABILITIES;
  readonly tableName: string;
  readonly channel: string | undefined;
  readonly #tables: FervoTables;
  readonly #table: JobTable;
  readonly #claims: FervoClaims;
  readonly #settles: FervoSettles;
  readonly #format: PlainFormat;
  readonly #clock: Clock;
  readonly #options: FervoLayoutOptions;

  /** @param deps.owner Our name in leases, unique among all workers. */
  constructor(
    deps: { dialect: SqlDialect; format: PlainFormat; clock: Clock; owner: string },
    options: FervoLayoutOptions,
  ) {
    const { dialect, format, clock, owner } = deps;
    this.#format = format;
    this.#clock = clock;
    this.#options = options;
    this.#tables = fervoTables(dialect, options.tablePrefix);
    const { quoted, channel } = this.#tables.jobs;
    this.tableName = this.#tables.jobs.name;
    this.channel = dialect.name === "postgres" ? channel : undefined;
    const table = this.#table = new JobTable({ dialect, name: quoted }, { owner, leaseMs: options.leaseMs });
    this.#claims = new FervoClaims({ table, paused: this.#tables.paused.quoted, clock }, {
      format,
      maxPayloadBytes: options.maxPayloadBytes,
    });
    this.#settles = new FervoSettles(table, clock);
  }

  async prepare(client: SqlClient): Promise<void> {
    this.#table.onServer(client.facts);
    await migrate(client, this.#tables, this.#options.createTables);
    await refuseTextPayloads(client, this.#tables);
  }

  look(session: SqlSession, queues: readonly string[]) {
    return this.#claims.look(session, queues);
  }

  promote(session: SqlSession, queues: readonly string[], isHeld: IsHeld, mayEndLeases: boolean) {
    return this.#claims.promote(session, queues, isHeld, mayEndLeases);
  }

  claim(session: SqlSession, request: ClaimRequest) {
    return this.#claims.claim(session, request);
  }

  giveBack(session: SqlSession, queues: readonly string[], isHeld: IsHeld) {
    return this.#claims.giveBack(session, queues, isHeld);
  }

  remove(session: SqlSession, rows: readonly FervoRow[]) {
    return this.#settles.remove(session, rows);
  }

  renew(session: SqlSession, rows: readonly FervoRow[]) {
    return this.#table.renew(session, rows.map(({ id }) => id));
  }

  isTaken(session: SqlSession, row: FervoRow) {
    return this.#settles.isTaken(session, row);
  }

  settle(session: SqlSession, row: FervoRow, verdict: LastingVerdict) {
    return this.#settles.settle(session, row, verdict);
  }

  push(
    queue: string,
    payload: Uint8Array,
    options: PushOptions,
  ): (session: SqlSession) => Promise<Given<Pushed>> {
    const { maxPayloadBytes } = this.#options;
    const { message: { body, headers }, maxAttempts } = written(
      this.#format,
      payload,
      options,
      this.#clock.nowMs(),
    );
    if (body.length > maxPayloadBytes) throw tooLarge(queue, body.length, maxPayloadBytes);
    refuseInvalidKey(queue, options);
    const { delayMs = 0, priority = 0, unique } = options;
    refuseDelay(queue, delayMs, this.capabilities.pushDelay);
    const { nowMs } = this.#table.dialect;
    const text = `
      INSERT INTO ${this.#table.name} (queue, payload, headers, priority, max_attempts, created_at, due_at, state, unique_key)
      VALUES (?, ?, ?, ?, ?, ${nowMs}, ${nowMs} + ?, ?, ?)`;
    const state = delayMs > 0 ? "delayed" : "ready";
    const values = [
      queue,
      body,
      headersColumn(headers),
      priority,
      maxAttempts ?? null,
      Math.ceil(delayMs),
      state,
      unique ?? null,
    ];
    return async (session) => {
      const waiting = unique === undefined
        ? undefined
        : await this.#table.waitingWith(session, queue, unique);
      if (waiting !== undefined) return { result: Promise.resolve({ id: waiting, isNew: false }) };
      // A producer may use the key at this moment: then this is a duplicate, and the change is made again.
      const inserted = this.#insert(session, text, values);
      return { result: inserted.then((id) => ({ id, isNew: true })) };
    };
  }

  admin(shared: RowsShared): BrokerAdmin {
    return new FervoAdmin(shared, {
      layout: this,
      tables: this.#tables,
      table: this.#table,
      checked: checkedLayout(this.#tables, this.#options),
    });
  }

  async #insert(session: SqlSession, text: string, values: readonly SqlValue[]): Promise<string> {
    if (session.dialect.name !== "mysql") {
      return idOf((await session.run(`${text} RETURNING id`, values)).rows[0]!);
    }
    // Right behind it, before the statements of other changes.
    const [, { rows }] = await Promise.all([
      session.run(text, values),
      session.run("SELECT LAST_INSERT_ID() AS id"),
    ]);
    return idOf(rows[0]!);
  }
}
