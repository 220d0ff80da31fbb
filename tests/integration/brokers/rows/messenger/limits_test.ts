/** Whole seconds, long messages, lost consumers under load, and other writers of the table. */
import assert from "node:assert/strict";
import { isUnreadable } from "../../../../../src/core/format.ts";
import { systemClock } from "../../../../../src/core/time/clock.ts";
import { sqliteDriver } from "../../../../../src/sql/sqlite.ts";
import { bytes, FAILED, rejectsWith, take, takeNow, takeOne } from "../../../../conformance/fixture.ts";
import { eventually } from "../../../../support/eventually.ts";
import { MovableClock } from "../../../../support/movable_clock.ts";
import { ACK, bury, RELEASE, retry } from "../../../../support/verdicts.ts";
import { createTable, openMessenger, sqliteFile, withClient } from "./broker.ts";
import { insert, rowsOf, type Site, SITES, textOf } from "./sites.ts";

for (const [name, site] of Object.entries(SITES)) {
  const test = (claim: string, run: (site: Site) => Promise<void>) =>
    Deno.test(`Messenger's table on ${name}: ${claim}`, async () => {
      await using started = await site();
      await run(started);
    });

  test("times are cut to the second, also in its second half", async ({ client, open }) => {
    await using broker = open();
    const isLate = () => Date.now() % 1_000 > 600;
    await eventually("a push in the second half of a second", async () => {
      await client.run("DELETE FROM messenger_messages");
      const fromMs = Date.now();
      const wasLate = isLate();
      await broker.push("q", bytes("job"));
      const delivery = await takeOne(broker);
      const [row] = await rowsOf(client);
      await delivery.settle(retry(0, FAILED));
      const [retried] = await rowsOf(client);
      if (!wasLate || !isLate() || Date.now() - fromMs > 400) return false;
      const second = textOf(fromMs);
      assert.deepEqual([row!["created_at"], row!["available_at"], retried!["available_at"]].map(String), [
        second,
        second,
        second,
      ]);
      return true;
    });
  });

  test("a message beyond max_payload_bytes concerns itself alone, and its dead letter is retried whole", async ({ client, open }) => {
    await insert(client, { body: "x".repeat(2_000) });
    await insert(client, { headers: JSON.stringify({ type: "x".repeat(2_000) }) });
    await insert(client, { body: "short" });
    const before = await rowsOf(client);
    await using broker = open({ maxPayloadBytes: 1_000 });
    const deliveries = [];
    while (deliveries.length < 3) deliveries.push(...await take(broker, { max: 3 }));
    assert.deepEqual(deliveries.map(({ job }) => isUnreadable(job) ? job.error.code : undefined), [
      "JOB_MALFORMED",
      "JOB_MALFORMED",
      undefined,
    ]);
    await rejectsWith("JOB_MALFORMED", broker.push("q", bytes("x".repeat(1_001))));
    for (const delivery of deliveries) await delivery.settle(bury(FAILED));
    assert.equal(await broker.admin.dead!.retry("all"), 3);
    const withoutPlace = (rows: readonly Record<string, unknown>[]) =>
      rows.map(({ available_at: _, ...row }) => row);
    assert.deepEqual(withoutPlace(await rowsOf(client)), withoutPlace(before));
  });

  test("a worker whose table is dropped, or loses a column, names the command that makes it, at every statement", async ({ client, open }) => {
    await insert(client, {});
    await insert(client, {});
    await using broker = open();
    const first = await takeOne(broker);
    const second = await takeOne(broker);
    const advice =
      /the table "messenger_messages" of Symfony Messenger is missing, or a column of it .*`bin\/console messenger:setup-transports`/;
    const areAdvised = async () => {
      await assert.rejects(take(broker), advice);
      await assert.rejects(broker.push("q", bytes("job")), advice);
      await assert.rejects(broker.admin.depth!("q"), advice);
    };
    await client.run("ALTER TABLE messenger_messages RENAME COLUMN headers TO other");
    await assert.rejects(first.settle(retry(0, FAILED)), advice);
    await assert.rejects(broker.push("q", bytes("job")), advice);
    await client.run("DROP TABLE messenger_messages");
    await assert.rejects(second.settle(ACK), advice);
    await areAdvised();
  });

  test("a message whose consumer was lost is taken while its queue is full", async ({ client, open }) => {
    const available_at = "2019-03-15 12:00:00";
    for (let i = 0; i < 200; i++) await insert(client, { available_at: "2019-03-15 13:00:00" });
    const clock = new MovableClock();
    await using broker = open({ clock });
    // Claims in a row, until they begin behind each other.
    for (let i = 0; i < 50; i++) await (await takeOne(broker)).settle(ACK);
    await insert(client, { body: "lost", available_at, delivered_at: textOf(Date.now() - 3_610_000) });
    // It is looked for once a second; the server's clock stays.
    clock.moveAhead(1_100);
    const bodies: string[] = [];
    for (let i = 0; i < 3; i++) {
      const delivery = await takeOne(broker);
      bodies.push(new TextDecoder().decode(delivery.message.body));
      await delivery.settle(ACK);
    }
    assert.ok(bodies.includes("lost"), `${bodies}`);
  });
}

for (const mode of ["delete", "wal"]) {
  Deno.test(`Messenger's table in an application's SQLite file, journal mode ${mode}: another process that waits for no lock writes between all statements`, async () => {
    const folder = await Deno.makeTempDir({ prefix: "fervo-messenger-" });
    const where = sqliteFile(`${folder}/data.db`);
    await withClient(sqliteDriver(systemClock), where, async (client) => {
      await client.run(`PRAGMA journal_mode = ${mode}`);
      await createTable(client, "composite");
      await insert(client);
    });
    {
      await using broker = openMessenger(sqliteDriver(systemClock, { isForeign: true }), where, {
        queueNames: new Map([["q", "default"]]),
      });
      await withClient(sqliteDriver(systemClock), where, async (php) => {
        await php.run("PRAGMA busy_timeout = 0");
        // Fails at once while the worker has a lock.
        const write = () => insert(php, { queue_name: "other" });
        let isOver = false;
        let writes = 0;
        const writing = (async () => {
          while (!isOver) {
            await write();
            writes++;
            await new Promise((resolve) => setTimeout(resolve, 0));
          }
        })();
        for (const verdict of [RELEASE, retry(0, FAILED), retry(0, FAILED), ACK]) {
          const delivery = await takeOne(broker);
          await delivery.lease!.extend();
          await delivery.settle(verdict);
          await broker.push("q", bytes("next"));
        }
        await broker.admin.depth!("q");
        assert.equal((await takeNow(broker)).length, 4);
        isOver = true;
        await writing;
        assert.ok(writes > 3, `${writes}`);
      });
    }
    await Deno.remove(folder, { recursive: true });
  });
}
