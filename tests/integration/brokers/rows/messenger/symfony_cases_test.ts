/**
 * The cases of Symfony's own tests of the Doctrine transport, on rows that the worker reads and writes:
 * src/Symfony/Component/Messenger/Bridge/Doctrine/Tests/Transport of Symfony 5.4.53. Each test has the name of its case.
 *
 * Not asked, because they are about PHP objects, DSNs or the creation of the table, which the worker never does: ConnectionTest
 * (testBuildConfiguration, testItThrowsAnExceptionIfAnExtraOptions…, testGeneratedSql, testConfigureSchema…, testFindAllSqlGenerated),
 * DoctrineReceiverTest, DoctrineSenderTest, DoctrineTransportTest, DoctrineTransportFactoryTest, and of PostgreSqlConnectionTest all but
 * testListenOnConnection.
 */
import assert from "node:assert/strict";
import {
  bytes,
  FAILED,
  rejectsWith,
  soon,
  take,
  takeNow,
  takeOne,
  textOf as bodyOf,
} from "../../../../conformance/fixture.ts";
import { ACK, bury } from "../../../../support/verdicts.ts";
import { insert, rowsOf, type Site, SITES, textOf } from "./sites.ts";

const HEADERS = '{"type":"Symfony\\\\Component\\\\Messenger\\\\Tests\\\\Fixtures\\\\DummyMessage"}';
const TYPE = JSON.parse(HEADERS).type;

for (const [name, site] of Object.entries(SITES)) {
  const test = (claim: string, run: (site: Site) => Promise<void>) =>
    Deno.test(`Symfony's cases on ${name}: ${claim}`, async () => {
      await using started = await site();
      await run(started);
    });

  test("DoctrineIntegrationTest::testConnectionSendAndGet, DoctrinePostgreSqlIntegrationTest::testPostgreSqlConnectionSendAndGet", async ({ client, open }) => {
    await using broker = open();
    await broker.push("q", bytes('{"message": "Hi"}'), { headers: { type: TYPE } });
    const [row] = await rowsOf(client);
    assert.deepEqual([row!["body"], row!["headers"], row!["queue_name"]], [
      '{"message": "Hi"}',
      HEADERS,
      "default",
    ]);
    const delivery = await takeOne(broker);
    assert.deepEqual([bodyOf(delivery), delivery.message.headers], ['{"message": "Hi"}', { type: TYPE }]);
  });

  test("DoctrineIntegrationTest::testSendWithDelay", async ({ client, open }) => {
    await using broker = open();
    await broker.push("q", bytes("Hi i am delayed"), { delayMs: 600_000 });
    const [row] = await rowsOf(client);
    assert.ok(String(row!["available_at"]) > textOf(Date.now() + 60_000));
    assert.deepEqual(await takeNow(broker), []);
  });

  test("DoctrineIntegrationTest::testSendWithNegativeDelay", async ({ client, open }) => {
    await insert(client, {
      available_at: textOf(Date.now() - 600_000),
      body: "Hi I am not actually delayed",
    });
    await using broker = open();
    assert.equal(bodyOf(await takeOne(broker)), "Hi I am not actually delayed");
  });

  test("DoctrineIntegrationTest::testItRetrieveTheFirstAvailableMessage", async ({ client, open }) => {
    const created_at = "2019-03-15 12:00:00";
    const handled = {
      body: "Hi handled",
      available_at: "2019-03-15 12:00:00",
      delivered_at: textOf(Date.now()),
    };
    await insert(client, { created_at, headers: HEADERS, ...handled });
    await insert(client, {
      created_at,
      headers: HEADERS,
      body: "Hi delayed",
      available_at: "2019-03-15 13:00:00",
    });
    await insert(client, {
      created_at,
      headers: HEADERS,
      body: "Hi available",
      available_at: "2019-03-15 12:30:00",
    });
    await using broker = open();
    assert.equal(bodyOf(await takeOne(broker)), "Hi available");
  });

  test("DoctrineIntegrationTest::testItCountMessages", async ({ client, open }) => {
    const available_at = "2019-03-15 12:30:00";
    await insert(client, { body: "Hi handled", available_at, delivered_at: textOf(Date.now()) });
    await insert(client, { body: "Hi delayed", available_at: textOf(Date.now() + 60_000) });
    for (let i = 0; i < 2; i++) await insert(client, { body: "Hi available", available_at });
    await using broker = open();
    assert.deepEqual(await broker.admin.depth!("q"), { ready: 2, delayed: 1, reserved: 1, dead: 0 });
    assert.equal((await broker.admin.census!(["q"])).ready.get("q"), 2);
  });

  test("DoctrineIntegrationTest::testItRetrieveTheMessageThatIsOlderThanRedeliverTimeout, ahead of later ones once it was looked for", async ({ client, open }) => {
    const requeued = { body: "Hi requeued", available_at: "2019-03-15 12:00:00" };
    await insert(client, { ...requeued, delivered_at: textOf(Date.now() - 7_200_000) });
    await insert(client, { body: "Hi available", available_at: "2019-03-15 12:30:00" });
    await using broker = open();
    // Of several queues it looks before it takes.
    const [next] = await take(broker, { queues: ["q", "other"] });
    assert.equal(bodyOf(next!), "Hi requeued");
    await next!.settle(bury(FAILED));
  });

  test("ConnectionTest::testGetAMessageWillChangeItsStatus, testGetWithNoPendingMessageWillReturnNull", async ({ client, open }) => {
    await using broker = open();
    assert.deepEqual(await takeNow(broker), []);
    await insert(client);
    const delivery = await takeOne(broker);
    assert.notEqual((await rowsOf(client))[0]!["delivered_at"], null);
    assert.deepEqual(await takeNow(broker), []);
    await delivery.settle(ACK);
    assert.deepEqual(await rowsOf(client), []);
  });

  test("ConnectionTest::testItThrowsATransportExceptionIfItCannotAcknowledgeMessage, …IfItCannotRejectMessage", async ({ client, open }) => {
    await insert(client);
    await insert(client);
    await using broker = open();
    const [one, two] = await take(broker, { max: 2 });
    await client.run("DROP TABLE messenger_messages");
    await rejectsWith("QUEUE_UNAVAILABLE", one!.settle(ACK));
    await rejectsWith("QUEUE_UNAVAILABLE", two!.settle(bury(FAILED)));
  });

  test("ConnectionTest::testFind, testFindAll", async ({ client, open }) => {
    await insert(client, { body: "one" });
    await insert(client, { body: "two" });
    await using broker = open();
    const { jobs } = await broker.admin.jobs!("q", "ready", { limit: 10 });
    assert.deepEqual(jobs.map(({ payload }) => new TextDecoder().decode(payload)), ["one", "two"]);
  });
}

Deno.test("Symfony's cases on PostgreSQL: PostgreSqlConnectionTest::testListenOnConnection, which hears a push of the worker", async () => {
  await using site = await SITES["PostgreSQL"]!();
  const heard = Promise.withResolvers<string>();
  await site.client.listen!("messenger_messages", heard.resolve);
  await using broker = site.open();
  await broker.push("q", bytes("job"));
  assert.equal(await soon("the notification", heard.promise), "default");
});
