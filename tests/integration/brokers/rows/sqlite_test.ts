/** The core for tables, on SQLite: the same rules without a server. */
import { RowsBroker } from "../../../../src/brokers/rows/broker.ts";
import { FERVO_CAPABILITIES, FervoLayout } from "../../../../src/brokers/rows/fervo/layout.ts";
import { raw } from "../../../../src/formats/raw.ts";
import { SQLITE_DIALECT } from "../../../../src/sql/dialect.ts";
import { sqliteDriver } from "../../../../src/sql/sqlite.ts";
import type { TestBroker } from "../../../conformance/fixture.ts";
import { brokerConformance } from "../../../conformance/suite.ts";
import { MovableClock } from "../../../support/movable_clock.ts";

const LEASE_MS = 60_000;

brokerConformance("rows_sqlite", {
  capabilities: FERVO_CAPABILITIES,
  ownership: { attempts: "broker", retry: "worker", dead: "broker" },
  async start(): Promise<TestBroker> {
    const folder = await Deno.makeTempDir({ prefix: "fervo-rows-" });
    const clock = new MovableClock();
    return {
      leaseMs: LEASE_MS,
      open() {
        const owner = `test:${crypto.randomUUID()}`;
        const layout = new FervoLayout({ dialect: SQLITE_DIALECT, format: raw, clock, owner }, {
          tablePrefix: "fervo_",
          createTables: true,
          leaseMs: LEASE_MS,
          maxPayloadBytes: 64 * 1024 * 1024,
        });
        const broker = new RowsBroker({ clock, driver: sqliteDriver(clock), layout, format: raw }, {
          endpoints: [{ transport: "unix", path: `${folder}/queue.sqlite` }],
          access: () =>
            Promise.resolve({ username: undefined, password: undefined, database: "", tls: undefined }),
          name: "test",
          connectTimeoutMs: 5_000,
          lockTimeoutMs: 5_000,
          statementTimeoutMs: 36_000_000,
          keepaliveMs: 0,
          leaseMs: LEASE_MS,
        });
        return Promise.resolve(broker);
      },
      passTime(ms) {
        clock.moveAhead(ms);
        return Promise.resolve();
      },
      [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
    };
  },
});
