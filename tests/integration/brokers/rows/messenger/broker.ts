import { RowsBroker, type RowsBrokerOptions } from "../../../../../src/brokers/rows/broker.ts";
import { MessengerLayout } from "../../../../../src/brokers/rows/messenger/layout.ts";
import type { MessengerLayoutOptions } from "../../../../../src/brokers/rows/messenger/table.ts";
import type { Broker } from "../../../../../src/core/broker.ts";
import type { Format } from "../../../../../src/core/format.ts";
import type { Observer } from "../../../../../src/core/observer.ts";
import { type Clock, systemClock } from "../../../../../src/core/time/clock.ts";
import type { SocketAddress } from "../../../../../src/net/address.ts";
import type { SqlClient, SqlDriver } from "../../../../../src/sql/driver.ts";
import { sqliteDriver } from "../../../../../src/sql/sqlite.ts";
import type { BrokerFixture, TestBroker } from "../../../../conformance/fixture.ts";
import { MovableClock } from "../../../../support/movable_clock.ts";
import { type Shape, TABLES } from "./tables.ts";

export const LEASE_MS = 60_000;
const REDELIVER_TIMEOUT_MS = 3_600_000;

/** The messages, as far as the broker reads them. */
export const MESSENGER: Format = {
  name: "messenger",
  framework: { isToldFailures: true },
  read: ({ body }) => ({ payload: body }),
};

export interface OpenOptions extends Partial<MessengerLayoutOptions>, Partial<RowsBrokerOptions> {
  readonly clock?: Clock;
  readonly observe?: Observer;
}

/** Where a database is. */
export interface Where {
  readonly address: SocketAddress;
  readonly user: string;
  readonly database: string;
}

/** Opens the broker on a server's database, as one more process would. */
export function openMessenger(
  driver: SqlDriver,
  { address, user, database }: Where,
  { clock = systemClock, observe, ...options }: OpenOptions = {},
): RowsBroker {
  const layout = new MessengerLayout(
    { dialect: driver.dialect, format: MESSENGER, clock, owner: `test:${crypto.randomUUID()}` },
    {
      table: "messenger_messages",
      queueNames: new Map(),
      timezone: "UTC",
      redeliverTimeoutMs: REDELIVER_TIMEOUT_MS,
      leaseMs: LEASE_MS,
      maxPayloadBytes: 64 * 1024 * 1024,
      ...options,
    },
  );
  return new RowsBroker({ clock, driver, layout, format: MESSENGER, observe }, {
    endpoints: [address],
    access: () => Promise.resolve({ username: user, password: undefined, database, tls: undefined }),
    name: "fervo-worker",
    connectTimeoutMs: 5_000,
    lockTimeoutMs: 5_000,
    // On a clock that is moved ahead.
    statementTimeoutMs: 36_000_000,
    keepaliveMs: 0,
    leaseMs: LEASE_MS,
    ...options,
  });
}

/** Creates the table as Doctrine does. */
export async function createTable(client: SqlClient, shape: Shape): Promise<void> {
  for (const statement of TABLES[client.dialect.name][shape]) {
    // A function of PostgreSQL has several statements, and no values.
    await client.run(statement);
  }
}

/** PHP-serialized messages are texts without NUL: the suite's payloads travel in base64. */
export const AS_TEXT: NonNullable<BrokerFixture["messages"]> = {
  encode: (payload) => new TextEncoder().encode(payload.toBase64()),
  decode: (raw) => {
    const text = new TextDecoder().decode(raw);
    // The beginning of a long one may end anywhere.
    return Uint8Array.fromBase64(text.slice(0, text.length - (text.length % 4)));
  },
};

/** A server whose clock can be moved, as the tests' servers are. */
interface MovableServer {
  readonly address: SocketAddress;
  database(): Promise<{ readonly name: string } & AsyncDisposable>;
  passTime(ms: number): Promise<void>;
}

/** A database of one's own for the conformance suite. */
export async function messengerTestBroker(
  driver: SqlDriver,
  server: MovableServer,
  user: string,
  shape: Shape,
): Promise<TestBroker> {
  const database = await server.database();
  const where = { address: server.address, user, database: database.name };
  const clock = new MovableClock();
  let aheadMs = 0;
  await withClient(driver, where, (client) => createTable(client, shape));
  return {
    leaseMs: LEASE_MS,
    open: () => Promise.resolve<Broker>(openMessenger(driver, where, { clock })),
    async passTime(ms) {
      // The server first: a worker that asks in between sees a step of less than two seconds, or one backwards.
      aheadMs += ms;
      await server.passTime(ms);
      clock.moveAhead(ms);
    },
    async [Symbol.asyncDispose]() {
      await database[Symbol.asyncDispose]();
      // The next test begins at the machine's time.
      await server.passTime(-aheadMs);
    },
  };
}

/** The same in a SQLite file of the application. */
export async function messengerSqliteBroker(shape: Shape): Promise<TestBroker> {
  const folder = await Deno.makeTempDir({ prefix: "fervo-messenger-" });
  const clock = new MovableClock();
  const where = sqliteFile(`${folder}/data.db`);
  await withClient(sqliteDriver(clock), where, (client) => createTable(client, shape));
  return {
    leaseMs: LEASE_MS,
    open: () => Promise.resolve(openMessenger(sqliteDriver(clock, { isForeign: true }), where, { clock })),
    passTime(ms) {
      clock.moveAhead(ms);
      return Promise.resolve();
    },
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

/** A file as the address of a database. */
export function sqliteFile(path: string): Where {
  return { address: { transport: "unix", path }, user: "", database: "" };
}

/** A connection for one piece of work. */
export async function withClient<T>(
  driver: SqlDriver,
  { address, user, database }: Where,
  work: (client: SqlClient) => Promise<T>,
): Promise<T> {
  const client = await driver.connect(
    address,
    { username: user, password: undefined, database, tls: undefined },
    { name: "test", connectTimeoutMs: 10_000, lockTimeoutMs: 30_000 },
    () => {},
  );
  try {
    return await work(client);
  } finally {
    client.destroy();
  }
}
