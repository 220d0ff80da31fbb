/** What the worker makes of rows that Symfony's own code has written or taken, on every server. */
import assert from "node:assert/strict";
import { isUnreadable } from "../../../../../src/core/format.ts";
import { systemClock } from "../../../../../src/core/time/clock.ts";
import { sqliteDriver } from "../../../../../src/sql/sqlite.ts";
import { bytes, FAILED, rejectsWith, takeNow, takeOne } from "../../../../conformance/fixture.ts";
import { ACK, bury, RELEASE, retry } from "../../../../support/verdicts.ts";
import { createTable, openMessenger, sqliteFile, withClient } from "./broker.ts";
import { insert, rowsOf, type Site, SITES, textOf } from "./sites.ts";

for (const [name, site] of Object.entries(SITES)) {
  const test = (claim: string, run: (site: Site) => Promise<void>) =>
    Deno.test(`Messenger's table on ${name}: ${claim}`, async () => {
      await using started = await site();
      await run(started);
    });

  test("a claim writes whole seconds, so that the lease is over when Symfony's redeliver_timeout is", async ({ client, open }) => {
    await insert(client);
    await using broker = open();
    const beforeMs = Date.now();
    const delivery = await takeOne(broker);
    const written = () =>
      rowsOf(client).then(([row]) => Date.parse(`${String(row!["delivered_at"]).replace(" ", "T")}Z`));
    const endsInMs = await written() + 3_600_000 - beforeMs;
    assert.ok(endsInMs > 50_000 && endsInMs <= 61_000, `${endsInMs}`);
    await delivery.lease!.extend();
    assert.equal(await written() % 1_000, 0);
    await delivery.settle(ACK);
    assert.deepEqual(await rowsOf(client), []);
  });

  test("what Symfony's own consumer has taken meanwhile stays its own", async ({ client, open }) => {
    await using broker = open();
    const changes = { ack: ACK, retry: retry(0, FAILED), bury: bury(FAILED), release: RELEASE };
    for (const verdict of Object.values(changes)) {
      await insert(client);
      const delivery = await takeOne(broker);
      const now = textOf(Date.now());
      // As Connection::get() does it.
      await client.run("UPDATE messenger_messages SET delivered_at = ? WHERE id = ?", [
        now,
        BigInt(delivery.id),
      ]);
      await rejectsWith("LEASE_LOST", delivery.settle(verdict));
      const [row] = await rowsOf(client);
      assert.equal(row!["delivered_at"], now);
      await client.run("DELETE FROM messenger_messages");
    }
  });

  test("a message that is marked as done is never taken", async ({ client, open }) => {
    await insert(client, { delivered_at: "9999-12-31 23:59:59" });
    await using broker = open();
    assert.deepEqual(await takeNow(broker), []);
    assert.deepEqual(await broker.admin.depth!("q"), { ready: 0, delayed: 0, reserved: 0, dead: 0 });
    assert.equal((await rowsOf(client)).length, 1);
  });

  test("a message whose consumer was lost comes back, and the loss is counted in a header that is taken off", async ({ client, open }) => {
    const headers = '{"type":"App\\\\Mail","X-Message-Stamp-A":"[]"}';
    await insert(client, { headers, delivered_at: textOf(Date.now() - 3_610_000) });
    await using broker = open();
    const delivery = await takeOne(broker);
    assert.deepEqual([delivery.redeliveries, delivery.attempt, delivery.isRepeat], [1, 2, true]);
    assert.deepEqual(delivery.message.headers, { type: "App\\Mail", "X-Message-Stamp-A": "[]" });
    const [row] = await rowsOf(client);
    assert.equal(
      row!["headers"],
      headers.slice(0, -1) + ',"X-Fervo-Worker":"{\\"lost\\":1,\\"isRepeat\\":true}"}',
    );
    await delivery.settle(ACK);
  });

  test("a dead letter that is retried is the same to the last byte", async ({ client, open }) => {
    await using broker = open();
    for (
      const headers of ["[]", "{}", '{"type":"App\\\\Mail", "X-Message-Stamp-A":"[{\\"a\\":1}]"}', "no JSON"]
    ) {
      const body = `O:36:\\"Symfony\\\\Component\\\\Messenger\\\\Envelope\\":ä😀`.replace(
        "😀",
        name === "MariaDB" ? "" : "😀",
      );
      await insert(client, { headers, body });
      const before = await rowsOf(client);
      const first = await takeOne(broker);
      if (!isUnreadable(first.job)) await first.settle(retry(0, FAILED));
      const second = isUnreadable(first.job) ? first : await takeOne(broker);
      await second.settle(bury(FAILED));
      assert.deepEqual((await rowsOf(client)).map((row) => row["queue_name"]), ["default__fervo_dead"]);
      assert.equal(await broker.admin.dead!.retry([first.id]), 1);
      const after = await rowsOf(client);
      for (const column of ["id", "body", "headers", "queue_name", "created_at", "delivered_at"]) {
        assert.deepEqual(after[0]![column], before[0]![column], column);
      }
      await client.run("DELETE FROM messenger_messages");
    }
  });

  test("headers that are no object of texts concern their message alone", async ({ client, open }) => {
    for (const headers of ['{"type":7}', '["a"]', "{", ""]) await insert(client, { headers });
    await insert(client);
    await using broker = open();
    const deliveries = [];
    for (let i = 0; i < 5; i++) deliveries.push(await takeOne(broker));
    const errors = deliveries.map(({ job }) => isUnreadable(job) ? job.error.code : undefined);
    assert.deepEqual(errors, [...Array(4).fill("JOB_MALFORMED"), undefined]);
  });

  test("a replacement is a new row, and one that is refused leaves the original", async ({ client, open }) => {
    await insert(client, { headers: '{"type":"a"}' });
    await using broker = open();
    const delivery = await takeOne(broker);
    const replace = (body: Uint8Array) =>
      delivery.settle({ kind: "replace", message: { body, headers: {} }, delayMs: 1_500, error: FAILED });
    await rejectsWith("JOB_MALFORMED", replace(Uint8Array.of(0xff)));
    if (name === "PostgreSQL") await rejectsWith("JOB_MALFORMED", replace(bytes("a\0b")));
    assert.deepEqual((await rowsOf(client)).map((row) => String(row["id"])), [delivery.id]);
    const beforeMs = Date.now();
    await replace(bytes("next"));
    const [row, ...others] = await rowsOf(client);
    assert.deepEqual(others, []);
    assert.notEqual(String(row!["id"]), delivery.id);
    assert.deepEqual([row!["headers"], row!["queue_name"], row!["delivered_at"]], ["[]", "default", null]);
    const availableMs = Date.parse(`${String(row!["available_at"]).replace(" ", "T")}Z`);
    assert.ok(availableMs >= beforeMs + 1_500, "not before its delay is over");
  });

  test("a queue_name of 190 characters has dead letters", async ({ client, open }) => {
    const queueName = "ä".repeat(190);
    await insert(client, { queue_name: queueName });
    await using broker = open({ queueNames: new Map([["long", queueName]]) });
    await (await takeOne(broker, { queues: ["long"] })).settle(bury(FAILED));
    assert.deepEqual(await broker.admin.queues!(), ["long"]);
    const [letter] = await broker.admin.dead!.list({ limit: 1 });
    assert.equal(letter!.queue, "long");
    assert.equal(await broker.admin.dead!.retry("all"), 1);
    assert.equal((await rowsOf(client))[0]!["queue_name"], queueName);
  });

  test("the times of a zone are those of Symfony 5.4, which wrote PHP's default zone", async ({ client, open }) => {
    const tokyo = 9 * 3_600_000;
    await insert(client, {
      available_at: textOf(Date.now() + tokyo - 2_000),
      created_at: textOf(Date.now() + tokyo),
    });
    await insert(client, { available_at: textOf(Date.now() + tokyo + 60_000) });
    await using broker = open({ timezone: "Asia/Tokyo" });
    const delivery = await takeOne(broker);
    assert.ok(Math.abs(delivery.enqueuedAtMs! - Date.now()) < 60_000);
    assert.deepEqual(await broker.admin.depth!("q"), { ready: 0, delayed: 1, reserved: 1, dead: 0 });
    await broker.push("q", bytes("new"));
    const created = String((await rowsOf(client)).at(-1)!["created_at"]);
    assert.ok(Math.abs(Date.parse(`${created.replace(" ", "T")}Z`) - Date.now() - tokyo) < 60_000);
  });

  Deno.test(`Messenger's table on ${name}: without it, or a column of it, what creates it is told`, async () => {
    await using empty = await SITES[name]!(true);
    for (const statement of ["SELECT 1", "CREATE TABLE messenger_messages (id BIGINT, body TEXT)"]) {
      await empty.client.run(statement);
      await using broker = empty.open();
      const error = await broker.push("q", bytes("job")).then(() => undefined, (error: Error) => error);
      assert.match(
        String(error?.message),
        /the table "messenger_messages".*bin\/console messenger:setup-transports/,
      );
    }
  });
}

Deno.test("Messenger's table in an application's SQLite file: a missing file is not created, and its journal mode stays", async () => {
  const folder = await Deno.makeTempDir({ prefix: "fervo-messenger-" });
  const where = sqliteFile(`${folder}/data.db`);
  const driver = sqliteDriver(systemClock, { isForeign: true });
  {
    await using broker = openMessenger(driver, where);
    await rejectsWith("QUEUE_UNAVAILABLE", broker.push("q", bytes("job")));
    assert.deepEqual([...Deno.readDirSync(folder)], []);
  }
  for (const mode of ["delete", "wal"]) {
    await withClient(sqliteDriver(systemClock), where, async (client) => {
      await client.run(`PRAGMA journal_mode = ${mode}`);
      if (mode === "delete") await createTable(client, "composite");
    });
    await using broker = openMessenger(driver, where);
    await broker.push("q", bytes("job"));
    await (await takeOne(broker)).settle(ACK);
    const { rows } = await withClient(driver, where, (client) => client.run("PRAGMA journal_mode"));
    assert.equal(rows[0]!["journal_mode"], mode);
  }
  await Deno.remove(folder, { recursive: true });
});
