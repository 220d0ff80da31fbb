/** What a waiting consumer asks of its database. */
import assert from "node:assert/strict";
import { sqliteDriver } from "../../../../src/sql/sqlite.ts";
import type { SqlDriver } from "../../../../src/sql/driver.ts";
import { FakeClock, settlePromises } from "../../../support/fake_clock.ts";
import { openRows } from "./broker.ts";

/** The same driver, which notes when a statement was run. */
function noting(driver: SqlDriver, note: (text: string) => void): SqlDriver {
  return {
    ...driver,
    async connect(...args) {
      const client = await driver.connect(...args);
      const run = client.run.bind(client);
      client.run = (text, values) => {
        note(text);
        return run(text, values);
      };
      return client;
    },
  };
}

Deno.test("An idle consumer asks its database once a second, and exactly when the next job is due", async () => {
  const clock = new FakeClock();
  const folder = await Deno.makeTempDir({ prefix: "fervo-rows-" });
  const askedMs: number[] = [];
  const driver = noting(sqliteDriver(clock), () => askedMs.push(clock.monotonicMs()));
  {
    await using broker = openRows(driver, {
      address: { transport: "unix", path: `${folder}/queue.sqlite` },
      user: "",
      database: "",
    }, { clock });
    await broker.push("q", new Uint8Array([1]), { delayMs: 100_500 });
    const subscription = broker.subscribe();
    const received = subscription.receive(
      { queues: ["q"], max: 1, waitMs: 600_000 },
      new AbortController().signal,
    );
    await settlePromises();
    await clock.advance(10_000);
    askedMs.length = 0;
    await clock.advance(60_000);
    assert.equal(askedMs.length, 60);
    await clock.advance(30_499);
    askedMs.length = 0;
    await clock.advance(1);
    await received;
    // A look, and the claim.
    assert.ok(askedMs.length > 1 && askedMs.every((ms) => ms === 100_500), askedMs.join());
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("A consumer asks ever less often for a job that it may not take", async () => {
  const clock = new FakeClock();
  const folder = await Deno.makeTempDir({ prefix: "fervo-rows-" });
  const place = {
    address: { transport: "unix", path: `${folder}/queue.sqlite` },
    user: "",
    database: "",
  } as const;
  let asked = 0;
  {
    await using holder = openRows(sqliteDriver(clock), place, { clock });
    await using broker = openRows(noting(sqliteDriver(clock), () => asked++), place, { clock });
    await holder.push("q", new Uint8Array([1]));
    const stop = new AbortController();
    await holder.subscribe().receive({ queues: ["q"], max: 1, waitMs: 0 }, stop.signal);
    const receiving = broker.subscribe().receive({ queues: ["q"], max: 1, waitMs: 600_000 }, stop.signal);
    await clock.advance(10_000);
    // The lease is over by the server's clock, which was set: for one lease, the holder may still renew it.
    clock.setTimeOfDay(clock.nowMs() + 3_600_000);
    await clock.advance(1_000);
    asked = 0;
    await clock.advance(10_000);
    assert.ok(asked > 0 && asked < 600, `${asked} statements in 10 s`);
    stop.abort();
    await receiving;
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("A look for jobs says whether a queue is paused, so that an idle worker need not ask for it", async () => {
  const clock = new FakeClock();
  const folder = await Deno.makeTempDir({ prefix: "fervo-rows-" });
  const place = {
    address: { transport: "unix", path: `${folder}/queue.sqlite` },
    user: "",
    database: "",
  } as const;
  {
    await using broker = openRows(sqliteDriver(clock), place, { clock });
    await using administrator = openRows(sqliteDriver(clock), place, { clock });
    const pauses = broker.admin.pauses!;
    assert.equal(pauses.latest, undefined);
    const stop = new AbortController();
    const receiving = broker.subscribe().receive({ queues: ["q"], max: 1, waitMs: 600_000 }, stop.signal);
    await clock.advance(10_000);
    for (let i = 0; i < 50; i++) {
      assert.deepEqual(pauses.latest, []);
      await clock.advance(137);
    }
    await administrator.admin.pauses!.pause("other");
    await clock.advance(1_000);
    assert.equal(pauses.latest, undefined);
    assert.deepEqual(await pauses.list(), [{ queue: "other" }]);
    await administrator.admin.pauses!.resume("other");
    await clock.advance(1_000);
    assert.deepEqual(pauses.latest, []);
    stop.abort();
    await receiving;
    await clock.advance(1_201);
    assert.equal(pauses.latest, undefined);
  }
  await Deno.remove(folder, { recursive: true });
});
