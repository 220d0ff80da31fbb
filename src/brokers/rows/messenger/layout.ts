import type { BrokerAdmin } from "../../../core/admin.ts";
import type { Capabilities } from "../../../core/broker.ts";
import type { Format, PushOptions } from "../../../core/format.ts";
import type { Clock } from "../../../core/time/clock.ts";
import type { Given } from "../../../sql/database.ts";
import type { SqlDialect } from "../../../sql/dialect.ts";
import type { SqlClient, SqlSession } from "../../../sql/driver.ts";
import { HUNDRED_YEARS } from "../../delays.ts";
import type { ClaimedRow, ClaimRequest, IsHeld, LastingVerdict, Layout, Look, Pushed } from "../layout.ts";
import type { RowsShared } from "../shared.ts";

export interface MessengerLayoutOptions {
  /** The table of the transports, as `table_name` of Symfony has it. */
  readonly table: string;
  /** The `queue_name` of each transport; one that is absent has its own name there. */
  readonly queueNames: ReadonlyMap<string, string>;
  /** The time zone of the times in the table: `UTC`, or a name such as `Europe/Berlin`. */
  readonly timezone: string;
  /** After this time Symfony's own consumers take a message again, milliseconds. */
  readonly redeliverTimeoutMs: number;
  /** At most {@link redeliverTimeoutMs}. */
  readonly leaseMs: number;
  readonly maxPayloadBytes: number;
}

export const MESSENGER_CAPABILITIES: Capabilities = {
  lease: "timed",
  redeliveries: "counted",
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
  priority: false,
  headers: true,
  unique: false,
  counts: "estimated",
  jobs: true,
  dead: "errors",
  pauses: "none",
  pauseReasons: false,
  purge: true,
  schedule: false,
};

/** The table of Symfony Messenger's Doctrine transports. */
export class MessengerLayout implements Layout {
  readonly capabilities = MESSENGER_CAPABILITIES;
  readonly tableName: string;
  readonly channel: string | undefined;

  /** @param deps.owner Our name, unique among all workers. */
  constructor(
    deps: { dialect: SqlDialect; format: Format; clock: Clock; owner: string },
    options: MessengerLayoutOptions,
  ) {
    this.tableName = options.table;
    this.channel = deps.dialect.name === "postgres" ? options.table : undefined;
  }

  prepare(_client: SqlClient): Promise<void> {
    throw new Error("not built yet");
  }

  look(_session: SqlSession, _queues: readonly string[]): Promise<Look> {
    throw new Error("not built yet");
  }

  promote(
    _session: SqlSession,
    _queues: readonly string[],
    _isHeld: IsHeld,
    _mayEnd: boolean,
  ): Promise<void> {
    throw new Error("not built yet");
  }

  claim(_session: SqlSession, _request: ClaimRequest): Promise<Given<ClaimedRow[]>> {
    throw new Error("not built yet");
  }

  giveBack(_session: SqlSession, _queues: readonly string[], _isHeld: IsHeld): Promise<void> {
    throw new Error("not built yet");
  }

  remove(_session: SqlSession, _rows: readonly ClaimedRow[]): Promise<ReadonlySet<string>> {
    throw new Error("not built yet");
  }

  renew(_session: SqlSession, _rows: readonly ClaimedRow[]): Promise<Given<ReadonlySet<string>>> {
    throw new Error("not built yet");
  }

  settle(_session: SqlSession, _row: ClaimedRow, _verdict: LastingVerdict): Promise<Given<boolean>> {
    throw new Error("not built yet");
  }

  isTaken(_session: SqlSession, _row: ClaimedRow): Promise<boolean> {
    throw new Error("not built yet");
  }

  push(
    _queue: string,
    _payload: Uint8Array,
    _options: PushOptions,
  ): (session: SqlSession) => Promise<Given<Pushed>> {
    throw new Error("not built yet");
  }

  admin(_shared: RowsShared): BrokerAdmin {
    throw new Error("not built yet");
  }
}
