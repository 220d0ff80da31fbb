import type { Clock } from "../../../core/time/clock.ts";
import type { SqlDialect } from "../../../sql/dialect.ts";
import { Zone } from "./zone.ts";

/** An expression of SQL and its parameter. */
export interface TimeSql {
  readonly sql: string;
  readonly value: number;
}

/** The expressions of a server. Each `?` is milliseconds from the beginning of the statement. */
interface Expressions {
  /** The exact time, to compare with. It does not change within the statement, so that an index can be used. */
  readonly exact: string;
  /** To the second, as the columns have it. */
  readonly down: string;
  readonly up: string;
  /** A column as a text: `2026-12-01 09:30:00`. */
  text(column: string): string;
}

const POSTGRES_NOW = "statement_timestamp() AT TIME ZONE 'UTC' + make_interval(secs => ?::float8 / 1000)";
const MYSQL_SECONDS = "(? + MICROSECOND(UTC_TIMESTAMP(6)) DIV 1000) / 1000";
const SQLITE_NOW_MS = "(fervo_now_ms() + CAST(? AS INTEGER))";

const EXPRESSIONS: Readonly<Record<SqlDialect["name"], Expressions>> = {
  postgres: {
    exact: `(${POSTGRES_NOW})`,
    down: `date_trunc('second', ${POSTGRES_NOW})`,
    up: `date_trunc('second', ${POSTGRES_NOW} + interval '999999 microseconds')`,
    text: (column) => `to_char(${column}, 'YYYY-MM-DD HH24:MI:SS')`,
  },
  mysql: {
    exact: "(UTC_TIMESTAMP(6) + INTERVAL (? * 1000) MICROSECOND)",
    down: `(UTC_TIMESTAMP() + INTERVAL FLOOR(${MYSQL_SECONDS}) SECOND)`,
    up: `(UTC_TIMESTAMP() + INTERVAL CEILING(${MYSQL_SECONDS}) SECOND)`,
    text: (column) => `DATE_FORMAT(${column}, '%Y-%m-%d %H:%i:%s')`,
  },
  sqlite: {
    exact: `strftime('%Y-%m-%d %H:%M:%f', ${SQLITE_NOW_MS} / 1000.0, 'unixepoch')`,
    down: `strftime('%Y-%m-%d %H:%M:%S', ${SQLITE_NOW_MS} / 1000, 'unixepoch')`,
    up: `strftime('%Y-%m-%d %H:%M:%S', (${SQLITE_NOW_MS} + 999) / 1000, 'unixepoch')`,
    text: (column) => column,
  },
};

/**
 * The times of the table: by the server's clock, in whole seconds, in the zone of the application. The offset of a zone is that of
 * the instant which is meant, so that a limit in the past is right also when the clocks have just been changed.
 */
export class TableTimes {
  readonly zone: Zone;
  readonly #clock: Clock;
  readonly #expressions: Expressions;

  constructor(deps: { dialect: SqlDialect; clock: Clock }, timezone: string) {
    this.#clock = deps.clock;
    this.#expressions = EXPRESSIONS[deps.dialect.name];
    this.zone = new Zone(timezone);
  }

  /** The exact time this many milliseconds from now, to compare columns with. */
  exact(afterMs = 0): TimeSql {
    return { sql: this.#expressions.exact, value: this.#shiftMs(afterMs) };
  }

  /** The second this many milliseconds from now, for a column; with a delay never before it has passed. */
  second(afterMs = 0): TimeSql {
    const { up, down } = this.#expressions;
    return { sql: afterMs > 0 ? up : down, value: this.#shiftMs(Math.ceil(afterMs)) };
  }

  /** A column as a text, which {@link Zone.instantMs} reads. */
  readonly text = (column: string): string => this.#expressions.text(column);

  #shiftMs(afterMs: number): number {
    // The server's time differs too little from ours to matter for the zone.
    return afterMs + this.zone.offsetMs(this.#clock.nowMs() + afterMs);
  }
}
