import { RowsBroker, type RowsBrokerOptions } from "../../../../src/brokers/rows/broker.ts";
import { FervoLayout, type FervoLayoutOptions } from "../../../../src/brokers/rows/fervo/layout.ts";
import type { Observer } from "../../../../src/core/observer.ts";
import type { PlainFormat } from "../../../../src/core/format.ts";
import { type Clock, systemClock } from "../../../../src/core/time/clock.ts";
import { raw } from "../../../../src/formats/raw.ts";
import type { SocketAddress } from "../../../../src/net/address.ts";
import type { SqlAccess, SqlDriver } from "../../../../src/sql/driver.ts";
import type { TestBroker } from "../../../conformance/fixture.ts";
import { MovableClock } from "../../../support/movable_clock.ts";

export const LEASE_MS = 60_000;

export interface OpenRowsOptions extends Partial<FervoLayoutOptions>, Partial<RowsBrokerOptions> {
  readonly clock?: Clock;
  readonly format?: PlainFormat;
  readonly observe?: Observer;
  readonly owner?: string;
  readonly access?: () => Promise<SqlAccess>;
}

/** Opens the broker on a server's database, as one more process would. */
export function openRows(
  driver: SqlDriver,
  where: { readonly address: SocketAddress; readonly user: string; readonly database: string },
  { clock = systemClock, format = raw, observe, owner = `test:${crypto.randomUUID()}`, ...options }:
    OpenRowsOptions = {},
): RowsBroker {
  const layout = new FervoLayout({ dialect: driver.dialect, format, clock, owner }, {
    tablePrefix: "fervo_",
    createTables: true,
    leaseMs: LEASE_MS,
    maxPayloadBytes: 64 * 1024 * 1024,
    ...options,
  });
  return new RowsBroker({ clock, driver, layout, format, observe }, {
    endpoints: [where.address],
    access: () =>
      Promise.resolve({
        username: where.user,
        password: undefined,
        database: where.database,
        tls: undefined,
      }),
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

/** A server whose clock can be moved, as the tests' servers are. */
interface MovableServer {
  readonly address: SocketAddress;
  database(): Promise<{ readonly name: string } & AsyncDisposable>;
  passTime(ms: number): Promise<void>;
}

/** A database of one's own for the conformance suite. */
export async function rowsTestBroker(
  driver: SqlDriver,
  server: MovableServer,
  user: string,
): Promise<TestBroker> {
  const database = await server.database();
  const clock = new MovableClock();
  let aheadMs = 0;
  return {
    leaseMs: LEASE_MS,
    open: () =>
      Promise.resolve(
        openRows(driver, { address: server.address, user, database: database.name }, { clock }),
      ),
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
