import {
  type BrokerAdmin,
  type Census,
  CENSUS_LIMIT,
  type DeadLetters,
  type JobPage,
  type JobState,
  LISTED_PAYLOAD_BYTES,
  type ListedJob,
  noJobPlace,
  type QueueDepth,
} from "../../../core/admin.ts";
import type { Finding } from "../../../core/finding.ts";
import type { SqlRow, SqlSession } from "../../../sql/driver.ts";
import type { SqlValue } from "../../../sql/value.ts";
import type { RowsShared } from "../shared.ts";
import { messengerFindings } from "./check.ts";
import { MessengerDeadLetters } from "./dead_letters.ts";
import { splitHeaders } from "./facts.ts";
import { deadNameOf, isDeadName, type QueueNames, queueNamesIn } from "./queue_names.ts";
import { attemptsOf } from "./row.ts";
import { type MessengerLayoutOptions, type MessengerTable, type Sql } from "./table.ts";
import { bytesOf, idOf } from "../row_values.ts";

/** Messages of a state are counted up to this number. */
const COUNTED = 100_000;
/** Messages that are deleted in one transaction. */
const PURGED_TOGETHER = 10_000;
/** A page looks at this many messages: those in flight are the first of a queue, and others are between them. */
const LOOKED_AT = 10_000;
/** Of a message in a page, its headers are read up to this length, for its attempts; bytes. */
const READ_HEADERS_BYTES = 64 * 1024;

/** Questions of people and their tools, each by an index, and with counts that have an end. */
export class MessengerAdmin implements BrokerAdmin {
  readonly dead: DeadLetters;
  readonly #shared: RowsShared;
  readonly #table: MessengerTable;
  readonly #names: QueueNames;
  readonly #options: MessengerLayoutOptions;

  constructor(
    shared: RowsShared,
    deps: { table: MessengerTable; names: QueueNames; options: MessengerLayoutOptions },
  ) {
    this.#shared = shared;
    this.#table = deps.table;
    this.#names = deps.names;
    this.#options = deps.options;
    this.dead = new MessengerDeadLetters(shared, deps);
  }

  async queues(): Promise<string[]> {
    const { side } = this.#shared;
    const found = await queueNamesIn(side, this.#table);
    const queues = await Promise.all(
      found.map((name) =>
        isDeadName(name) ? deadQueueOf(side, this.#table, name) : this.#names.transportOf(name)
      ),
    );
    return [...new Set(queues)].filter((queue) => queue !== undefined).sort();
  }

  async depth(queue: string): Promise<QueueDepth> {
    const states = ["ready", "delayed", "reserved"] as const;
    const parts = states.map((state) => ({ state, ...this.#inState(queue, state, COUNTED) }));
    const dead = {
      state: "dead",
      sql: `SELECT id FROM ${this.#table.quoted} WHERE queue_name = ? LIMIT ${COUNTED}`,
      values: [deadNameOf(this.#names.of(queue))],
    };
    const counted = [...parts, dead];
    const { rows } = await this.#shared.side.run(
      counted.map(({ state, sql }) => `SELECT '${state}' AS state, count(*) AS jobs FROM (${sql}) AS counted`)
        .join(" UNION ALL "),
      counted.flatMap(({ values }) => values),
    );
    return Object.fromEntries(
      rows.map((row) => [row["state"], Number(row["jobs"])]),
    ) as unknown as QueueDepth;
  }

  async latencyMs(queue: string): Promise<number | undefined> {
    const table = this.#table;
    const due = table.due(this.#names.of(queue));
    const { rows } = await this.#shared.side.run(
      `SELECT ${table.now}, ${table.times.text("available_at")} AS available_text FROM ${table.ordered}
       WHERE ${due.sql} AND ${table.free} ORDER BY ${table.order} LIMIT 1`,
      due.values,
    );
    const readyAtMs = table.times.zone.instantMs(rows[0]?.["available_text"]);
    return readyAtMs === undefined ? undefined : Math.max(Number(rows[0]!["now_ms"]) - readyAtMs, 0);
  }

  async census(queues: readonly string[]): Promise<Census> {
    const table = this.#table;
    const ended = table.ended();
    const parts = queues.map((queue, i) => {
      const due = table.due(this.#names.of(queue));
      return {
        sql:
          `SELECT ? AS queue, count(*) AS jobs FROM (SELECT delivered_at FROM ${table.ordered} WHERE ${due.sql}
          ORDER BY ${table.order} LIMIT ${2 * CENSUS_LIMIT}) AS f WHERE delivered_at IS NULL OR ${ended.sql}`,
        values: [i, ...due.values, ...ended.values],
      };
    });
    const rows = parts.length === 0 ? [] : (await this.#shared.side.run(
      parts.map(({ sql }) => sql).join(" UNION ALL "),
      parts.flatMap(({ values }) => values),
    )).rows;
    const ready = rows.map((row) =>
      [queues[Number(row["queue"])]!, Math.min(Number(row["jobs"]), CENSUS_LIMIT)] as const
    );
    // A row does not tell who has taken its message.
    return { ready: new Map(ready), inFlight: undefined };
  }

  async jobs(...[queue, state, page]: Parameters<NonNullable<BrokerAdmin["jobs"]>>): Promise<JobPage> {
    const table = this.#table;
    const { side } = this.#shared;
    const place = page.after === undefined ? undefined : placeOf(page.after);
    const within = this.#inState(queue, state, LOOKED_AT, place);
    const found = (await side.run(
      `SELECT id, available_text FROM (${within.sql}) AS looked_at ORDER BY available_text, id LIMIT ${page.limit}`,
      within.values,
    )).rows;
    if (found.length === 0) return { jobs: [] };
    const { sql, values } = table.dialect.isOneOf("id", found.map(idOf));
    const { rows } = await side.run(
      `SELECT id, ${table.start("body", LISTED_PAYLOAD_BYTES)} AS body, ${
        table.dialect.byteLength("body")
      } AS bytes,
         CASE WHEN ${
        table.dialect.byteLength("headers")
      } <= ${READ_HEADERS_BYTES} THEN headers END AS headers,
         ${table.times.text("available_at")} AS available_text, ${
        table.times.text("created_at")
      } AS created_text
       FROM ${table.quoted} WHERE ${sql}`,
      values,
    );
    const byId = new Map(rows.map((row) => [idOf(row), row]));
    const jobs = found.map((row) => byId.get(idOf(row))).filter((row) => row !== undefined)
      .map((row) => this.#toJob(row, state));
    const last = found.length < page.limit ? undefined : found.at(-1)!;
    return last === undefined ? { jobs } : { jobs, next: placeAfter(last) };
  }

  /** In parts, so that others write in between. */
  async purge(queue: string): Promise<number> {
    const { side } = this.#shared;
    const table = this.#table;
    const latest = (await side.run(`SELECT max(id) AS id FROM ${table.quoted}`)).rows[0]?.["id"] ?? null;
    if (latest === null) return 0;
    const due = table.due(this.#names.of(queue));
    let purged = 0;
    for (let part = PURGED_TOGETHER; part === PURGED_TOGETHER;) {
      part = await side.transaction(async (session) => {
        const { rows } = await session.run(
          `SELECT id FROM ${table.ordered} WHERE ${due.sql} AND ${table.free} AND id <= ?
           ORDER BY ${table.order} LIMIT ${PURGED_TOGETHER}${table.locking}`,
          [...due.values, latest],
        );
        if (rows.length === 0) return 0;
        const { sql, values } = side.dialect.isOneOf("id", rows.map(idOf));
        return (await session.run(`DELETE FROM ${table.quoted} WHERE ${sql}`, values)).changes;
      });
      purged += part;
    }
    return purged;
  }

  findings(consumed: readonly string[]): Promise<Finding[]> {
    const { side: database, clock } = this.#shared;
    return messengerFindings({ database, clock }, {
      table: this.#table,
      options: this.#options,
      queueNames: consumed.map((queue) => this.#names.of(queue)),
    });
  }

  /** A SELECT of messages of a state: their ids, and the times of their places. */
  #inState(queue: string, state: JobState, limit: number, place?: Place): Sql {
    const table = this.#table;
    const name = this.#names.of(queue);
    const now = table.times.exact();
    const columns = `id, ${table.times.text("available_at")} AS available_text`;
    const behind = place === undefined ? "" : " AND (available_at > ? OR available_at = ? AND id > ?)";
    const after = place === undefined ? [] : [place.availableAt, place.availableAt, place.id];
    if (state === "reserved") {
      return {
        sql: `SELECT id, available_text FROM (SELECT ${columns}, delivered_at FROM ${table.ordered}
          WHERE queue_name = ? AND available_at <= ${now.sql}${behind} ORDER BY ${table.order} LIMIT ${limit}) AS first
          WHERE ${table.inFlight}`,
        values: [name, now.value, ...after],
      };
    }
    const order = state === "ready" ? "<=" : ">";
    return {
      sql: `SELECT ${columns} FROM ${table.ordered} WHERE queue_name = ? AND available_at ${order} ${now.sql}
        AND ${table.free}${behind} ORDER BY ${table.order} LIMIT ${limit}`,
      values: [name, now.value, ...after],
    };
  }

  #toJob(row: SqlRow, state: JobState): ListedJob {
    const { zone } = this.#table.times;
    const { facts } = splitHeaders(String(row["headers"] ?? ""));
    const enqueuedAtMs = zone.instantMs(row["created_text"]);
    const readyAtMs = zone.instantMs(row["available_text"]);
    return {
      id: idOf(row),
      payload: (bytesOf(row["body"]) ?? new Uint8Array(0)).subarray(0, LISTED_PAYLOAD_BYTES),
      payloadBytes: Number(row["bytes"]),
      attempts: attemptsOf(facts) + (state === "reserved" ? 1 : 0),
      ...(enqueuedAtMs !== undefined && { enqueuedAtMs }),
      ...(state !== "reserved" && readyAtMs !== undefined && { readyAtMs }),
    };
  }
}

interface Place {
  readonly availableAt: string;
  readonly id: bigint;
}

/** A place as a text: `2026-12-01T09:30:00:7`. */
function placeOf(text: string): Place {
  const [, day, time, id] = /^(\d{4,}-\d\d-\d\d)T(\d\d:\d\d:\d\d):(\d{1,19})$/.exec(text) ?? [];
  if (day === undefined || id === undefined) throw noJobPlace(text);
  return { availableAt: `${day} ${time}`, id: BigInt(id) };
}

function placeAfter(row: SqlRow): string {
  return `${String(row["available_text"]).replace(" ", "T")}:${idOf(row)}`;
}

/** The queue of dead letters, as one of them knows it. */
async function deadQueueOf(
  session: SqlSession,
  table: MessengerTable,
  deadName: string,
): Promise<string | undefined> {
  const values: SqlValue[] = [deadName];
  const { rows } = await session.run(
    `SELECT headers FROM ${table.quoted} WHERE queue_name = ? ORDER BY available_at LIMIT 1`,
    values,
  );
  return splitHeaders(String(rows[0]?.["headers"])).facts.dead?.queue;
}
