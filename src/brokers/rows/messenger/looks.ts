import type { Clock } from "../../../core/time/clock.ts";
import type { SqlRow, SqlSession } from "../../../sql/driver.ts";
import type { SqlValue } from "../../../sql/value.ts";
import type { Look } from "../layout.ts";
import type { ReadyPlaces } from "../ready_place.ts";
import { SEARCHED_FOR_ENDED } from "./claims.ts";
import type { QueueNames } from "./queue_names.ts";
import type { MessengerTable, Place } from "./table.ts";

/** While messages of a queue flow, lost holders are looked for this often, milliseconds. */
const SEARCH_EVERY_MS = 1_000;

interface LooksDeps {
  readonly table: MessengerTable;
  readonly names: QueueNames;
  readonly places: ReadyPlaces<Place>;
  readonly clock: Clock;
}

/** What a waiting receive needs to know, by searches in indexes that do not depend on the number of messages. */
export class MessengerLooks {
  readonly #deps: LooksDeps;
  /** When the queues were searched, monotonic milliseconds. */
  readonly #searchedAtMs = new Map<string, number>();

  constructor(deps: LooksDeps) {
    this.#deps = deps;
  }

  async look(session: SqlSession, queues: readonly string[]): Promise<Look> {
    const { table, clock } = this.#deps;
    const searched = queues.filter((queue) => !this.#isFlowing(queue));
    for (const queue of searched) this.#searchedAtMs.set(queue, clock.monotonicMs());
    const parts = searched.map((queue, i) => this.#search(queue, i));
    const { rows } = await session.run(
      parts.length > 0 ? parts.map(({ sql }) => sql).join(" UNION ALL ") : `SELECT ${table.now}`,
      parts.flatMap(({ values }) => values),
    );
    const found = new Map(rows.map((row) => [searched[Number(row["queue"])], row]));
    const withWork = queues.filter((queue) => {
      const row = found.get(queue);
      return row === undefined || row["is_ready"] === 1 || row["is_ended"] === 1;
    });
    const isDue = rows.some((row) => row["is_ended"] === 1);
    return {
      queues: withWork,
      isDue,
      nextMs: isDue ? 0 : Math.min(...rows.map((row) => this.#nextMs(row))),
      serverMs: Number(rows[0]!["now_ms"]),
      hasPauses: false,
    };
  }

  /** The claim itself finds out. */
  #isFlowing(queue: string): boolean {
    const { places, clock } = this.#deps;
    const searchedAtMs = this.#searchedAtMs.get(queue) ?? -Infinity;
    return places.of(queue) !== undefined && clock.monotonicMs() - searchedAtMs < SEARCH_EVERY_MS;
  }

  #search(queue: string, number: number): { sql: string; values: SqlValue[] } {
    const { table, names } = this.#deps;
    const name = names.of(queue);
    const due = table.due(name);
    const ended = table.ended();
    const now = table.times.exact();
    const { text } = table.times;
    const first = `FROM ${table.ordered} WHERE ${due.sql}`;
    return {
      sql: `SELECT ? AS queue, ${table.now},
        CASE WHEN (SELECT id ${first} AND ${table.free} ORDER BY ${table.order} LIMIT 1) IS NULL THEN 0 ELSE 1 END AS is_ready,
        CASE WHEN EXISTS (SELECT 1 FROM (SELECT delivered_at ${first} ORDER BY ${table.order} LIMIT ${SEARCHED_FOR_ENDED}) AS f
          WHERE ${ended.sql}) THEN 1 ELSE 0 END AS is_ended,
        (SELECT ${
        text("available_at")
      } FROM ${table.ordered} WHERE queue_name = ? AND available_at > ${now.sql}
          AND ${table.free} ORDER BY ${table.order} LIMIT 1) AS next_text`,
      values: [number, ...due.values, ...due.values, ...ended.values, name, now.value],
    };
  }

  /** When the next message is due, in milliseconds. */
  #nextMs(row: SqlRow): number {
    const atMs = this.#deps.table.times.zone.instantMs(row["next_text"]);
    return atMs === undefined ? Infinity : atMs - Number(row["now_ms"]);
  }
}
