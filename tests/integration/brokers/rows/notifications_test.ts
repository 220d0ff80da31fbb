/** PostgreSQL tells of new rows: a job is picked up by that, on a clock on which the next look never comes. */
import assert from "node:assert/strict";
import type { RowsBroker } from "../../../../src/brokers/rows/broker.ts";
import { FervoError } from "../../../../src/core/errors.ts";
import { type Clock, systemClock } from "../../../../src/core/time/clock.ts";
import { FOREVER_MS, rejectsWith, take, textOf } from "../../../conformance/fixture.ts";
import { eventually } from "../../../support/eventually.ts";
import { PgBouncer } from "../../../support/pgbouncer.ts";
import { PostgresServer } from "../../../support/postgres_server.ts";
import { soon } from "../../../support/soon.ts";
import { Database, KINDS } from "./servers.ts";

/** A waiting receive looks this often without a notification, milliseconds. */
const LOOK_MS = 1_000;

/** The machine's clock, on which a look comes only when the test asks for it. */
class LookClock implements Clock {
  readonly #looks = new Set<() => void>();

  nowMs(): number {
    return systemClock.nowMs();
  }

  monotonicMs(): number {
    return systemClock.monotonicMs();
  }

  setTimer(callback: () => void, delayMs: number) {
    if (delayMs !== LOOK_MS) return systemClock.setTimer(callback, delayMs);
    this.#looks.add(callback);
    return { cancel: () => void this.#looks.delete(callback) };
  }

  /** Whether a receive waits for nothing but a notification. */
  get isWaiting(): boolean {
    return this.#looks.size > 0;
  }

  look(): void {
    for (const callback of this.#looks) {
      this.#looks.delete(callback);
      callback();
    }
  }
}

const INSERT = "INSERT INTO fervo_jobs (queue, payload) VALUES ('q', 'a job')";
const LISTENERS =
  "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";

/** One receive, made again after an outage. */
async function receive(broker: Parameters<typeof take>[0]): Promise<string> {
  for (;;) {
    try {
      const [delivery] = await take(broker, { waitMs: FOREVER_MS });
      return textOf(delivery!);
    } catch (error) {
      if (!(error instanceof FervoError) || error.code !== "QUEUE_UNAVAILABLE") throw error;
    }
  }
}

for (
  const [what, harm] of [
    ["an administrator has ended the connections", async (database) => {
      await database.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fervo-worker'",
      );
    }],
    ["an administrator has ended the connection for notifications", async (database) => {
      await database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'");
    }],
    ["the server has died", async (_, server) => {
      await server.kill();
      await server.restart();
    }],
    ["the connection for notifications has hung and was given up", async (_, server, broker) => {
      await server.signal("SIGSTOP");
      try {
        await soon("the limit of a statement", rejectsWith("QUEUE_UNAVAILABLE", broker.admin.depth!("q")));
      } finally {
        await server.signal("SIGCONT");
      }
    }],
  ] satisfies [string, (database: Database, server: PostgresServer, broker: RowsBroker) => Promise<void>][]
) {
  Deno.test(`PostgreSQL: a waiting receive is told of a row by a producer, and again after ${what}`, async () => {
    await using server = await PostgresServer.start();
    await using database = await Database.create(KINDS["PostgreSQL"]!, server);
    const clock = new LookClock();
    // Its halves are no looks.
    await using broker = database.open({ clock, statementTimeoutMs: 3_000 });
    const isListening = async () => clock.isWaiting && await database.sql(LISTENERS) === "1";
    const first = receive(broker);
    await eventually("it listens", isListening);
    await database.sql(INSERT);
    assert.equal(await soon("the job", first), "a job");
    const second = receive(broker);
    await eventually("it waits", () => clock.isWaiting);
    await harm(database, server, broker);
    // It notices by its next look at the latest.
    await eventually("it listens again", async () => {
      if (await isListening()) return true;
      clock.look();
      return false;
    });
    await database.sql(INSERT);
    assert.equal(await soon("the job", second), "a job");
  });
}

Deno.test("PostgreSQL: behind a pooler a waiting receive is told of nothing, and finds a row by its look", async () => {
  await using server = await PostgresServer.start();
  await using bouncer = await PgBouncer.start(server);
  await using database = await Database.create(KINDS["PostgreSQL"]!, server);
  const clock = new LookClock();
  await using broker = database.open({ clock, place: { address: bouncer.address } });
  const receiving = receive(broker);
  await eventually("it waits", () => clock.isWaiting);
  await database.sql(INSERT);
  assert.equal(clock.isWaiting, true);
  clock.look();
  assert.equal(await soon("the job", receiving), "a job");
  assert.equal(await database.sql(LISTENERS), "0");
});
