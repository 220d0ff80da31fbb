import type { BrokerAdmin } from "../../../core/admin.ts";
import type { Capabilities } from "../../../core/broker.ts";
import type { Format, PushOptions } from "../../../core/format.ts";
import type { Clock } from "../../../core/time/clock.ts";
import { tooLarge } from "../../../core/text/payload.ts";
import type { Given } from "../../../sql/database.ts";
import type { SqlDialect } from "../../../sql/dialect.ts";
import type { SqlClient, SqlSession } from "../../../sql/driver.ts";
import { HUNDRED_YEARS, refuseDelay } from "../../delays.ts";
import { refusePriority } from "../../priorities.ts";
import { refuseUnique } from "../../unique_keys.ts";
import type { ClaimRequest, IsHeld, LastingVerdict, Layout, Look, Pushed } from "../layout.ts";
import { ReadyPlaces } from "../ready_place.ts";
import type { RowsShared } from "../shared.ts";
import { MessengerAdmin } from "./admin.ts";
import { MessengerClaims } from "./claims.ts";
import { withFacts } from "./facts.ts";
import { insert } from "./inserts.ts";
import { MessengerLooks } from "./looks.ts";
import { QueueNames } from "./queue_names.ts";
import type { MessengerRow } from "./row.ts";
import { MessengerSettles } from "./settles.ts";
import { type MessengerLayoutOptions, MessengerTable, type Place, SETUP } from "./table.ts";
import { bodyText, headersText } from "./texts.ts";
import { TableTimes } from "./times.ts";

/** A claim begins behind the last one for this long, milliseconds; then a message that has come in front of the others is seen. */
const PLACE_VALID_MS = 500;

/** The columns have whole seconds. */
const SECONDS = { ...HUNDRED_YEARS, stepMs: 1_000 };

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
  pushDelay: SECONDS,
  retryDelay: SECONDS,
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

/** The table of Symfony Messenger's Doctrine transports: docs/brokers has what a worker writes into it. */
export class MessengerLayout implements Layout<MessengerRow> {
  readonly capabilities = MESSENGER_CAPABILITIES;
  readonly tableName: string;
  readonly channel: string | undefined;
  readonly schemaAdvice: string;
  readonly #table: MessengerTable;
  readonly #names: QueueNames;
  readonly #looks: MessengerLooks;
  readonly #claims: MessengerClaims;
  readonly #settles: MessengerSettles;
  readonly #options: MessengerLayoutOptions;

  constructor(
    deps: { dialect: SqlDialect; format: Format; clock: Clock; owner: string },
    options: MessengerLayoutOptions,
  ) {
    const { dialect, format, clock } = deps;
    const { table: name, queueNames, timezone, maxPayloadBytes } = options;
    this.#options = options;
    this.tableName = name;
    this.channel = dialect.name === "postgres" ? name : undefined;
    this.schemaAdvice =
      `the table "${name}" of Symfony Messenger is missing, or a column of it is missing or of another type: ` +
      `run \`${SETUP}\` in the application`;
    const names = this.#names = new QueueNames(queueNames);
    const times = new TableTimes({ dialect, clock }, timezone);
    const table = this.#table = new MessengerTable({ dialect, times }, options);
    const places = new ReadyPlaces<Place>(clock, { validMs: PLACE_VALID_MS });
    const shared = { table, names, places, clock };
    this.#looks = new MessengerLooks(shared);
    this.#claims = new MessengerClaims(shared, { format, maxPayloadBytes });
    this.#settles = new MessengerSettles(shared, { maxPayloadBytes });
  }

  prepare(client: SqlClient): Promise<void> {
    return this.#table.onServer(client);
  }

  look(session: SqlSession, queues: readonly string[]): Promise<Look> {
    return this.#looks.look(session, queues);
  }

  async promote(
    session: SqlSession,
    queues: readonly string[],
    isHeld: IsHeld,
    mayEndLeases: boolean,
  ): Promise<void> {
    if (mayEndLeases) await this.#claims.promote(session, queues, isHeld);
  }

  claim(session: SqlSession, request: ClaimRequest): Promise<Given<MessengerRow[]>> {
    return this.#claims.claim(session, request);
  }

  giveBack(session: SqlSession, queues: readonly string[], isHeld: IsHeld): Promise<void> {
    return this.#claims.giveBack(session, queues, isHeld);
  }

  remove(session: SqlSession, rows: readonly MessengerRow[]): Promise<ReadonlySet<string>> {
    this.#claims.settled(rows);
    return this.#table.remove(session, rows);
  }

  async renew(session: SqlSession, rows: readonly MessengerRow[]): Promise<Given<ReadonlySet<string>>> {
    const { result } = await this.#settles.renew(session, rows);
    return {
      result: result.then((ours) => {
        // Nobody settles one that is lost.
        this.#claims.settled(rows.filter(({ id }) => !ours.has(id)));
        return ours;
      }),
    };
  }

  settle(session: SqlSession, row: MessengerRow, verdict: LastingVerdict): Promise<Given<boolean>> {
    this.#claims.settled([row]);
    return this.#settles.settle(session, row, verdict);
  }

  isTaken(session: SqlSession, row: MessengerRow): Promise<boolean> {
    return this.#settles.isTaken(session, row);
  }

  push(
    queue: string,
    payload: Uint8Array,
    options: PushOptions,
  ): (session: SqlSession) => Promise<Given<Pushed>> {
    const { maxPayloadBytes } = this.#options;
    if (payload.length > maxPayloadBytes) throw tooLarge(queue, payload.length, maxPayloadBytes);
    const { delayMs = 0, headers = {}, maxAttempts } = options;
    refuseUnique(queue, options);
    refusePriority(queue, options);
    refuseDelay(queue, delayMs, this.capabilities.pushDelay);
    const message = {
      queueName: this.#names.of(queue),
      body: bodyText(queue, payload, this.#table.dialect),
      headers: withFacts(headersText(headers), maxAttempts === undefined ? {} : { maxAttempts }),
      delayMs,
    };
    return async (session) => {
      const { result } = await insert(session, this.#table, message);
      return { result: result.then((id) => ({ id, isNew: true })) };
    };
  }

  admin(shared: RowsShared): BrokerAdmin {
    return new MessengerAdmin(shared, { table: this.#table, names: this.#names, options: this.#options });
  }
}
