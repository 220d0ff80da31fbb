/** Leases of several workers on one message, and answers that are lost. */
import assert from "node:assert/strict";
import type { SocketAddress } from "../../../../../src/net/address.ts";
import {
  bytes,
  FAILED,
  FOREVER_MS,
  rejectsWith,
  take,
  takeNow,
  takeOne,
} from "../../../../conformance/fixture.ts";
import { eventually } from "../../../../support/eventually.ts";
import { Forwarder } from "../../../../support/forwarder.ts";
import { soon } from "../../../../support/soon.ts";
import { ACK, bury, RELEASE, retry } from "../../../../support/verdicts.ts";
import { Database, type Kind, KINDS } from "../servers.ts";
import { createTable, openMessenger } from "./broker.ts";
import { insert, rowsOf, SITES, textOf } from "./sites.ts";

/** With the shortest lease there is, no two workers differ in it. */
const SAME_LEASE = { leaseMs: 2_000 };

Deno.test("Messenger's table on PostgreSQL: of two workers that wrote the same second, each changes its own lease only", async () => {
  await using site = await SITES["PostgreSQL"]!();
  const { client } = site;
  await using first = site.open(SAME_LEASE);
  await using second = site.open(SAME_LEASE);
  const verdicts = { ack: ACK, retry: retry(0, FAILED), release: RELEASE, bury: bury(FAILED) };
  for (const [name, verdict] of [...Object.entries(verdicts), ["renewal", undefined] as const]) {
    await eventually(`both took the message in one second, for the ${name}`, async () => {
      await client.run("DELETE FROM messenger_messages");
      await insert(client);
      const late = await takeOne(first);
      const [before] = await rowsOf(client);
      await client.run("UPDATE messenger_messages SET delivered_at = NULL");
      const current = await takeOne(second);
      const [after] = await rowsOf(client);
      if (before!["delivered_at"] !== after!["delivered_at"]) return false;
      await rejectsWith("LEASE_LOST", verdict === undefined ? late.lease!.extend() : late.settle(verdict));
      assert.deepEqual(await rowsOf(client), [after]);
      await current.lease!.extend();
      await current.settle(ACK);
      assert.deepEqual(await rowsOf(client), []);
      return true;
    });
  }
});

/** A worker whose answers can be lost, and a connection past it. */
async function lossy(kind: Kind, stack: AsyncDisposableStack) {
  const server = stack.use(await kind.start({ tcp: true }));
  const database = stack.use(await Database.create(kind, server));
  const client = await database.connect();
  await createTable(client, "composite");
  const forwarder = stack.use(await Forwarder.start(server.address as SocketAddress & { transport: "tcp" }));
  const [hostname, port] = forwarder.address.split(":");
  const address = { transport: "tcp", hostname: hostname!, port: Number(port) } as const;
  const queueNames = new Map([["q", "default"]]);
  const broker = stack.use(openMessenger(kind.driver, { ...database.place, address }, { queueNames }));
  const other = stack.use(openMessenger(kind.driver, database.place, { queueNames }));
  // A statement that is new to a connection waits for its description, and a look comes first.
  for (let round = 0; round < 3; round++) {
    await broker.push("q", bytes("before"));
    await (await takeOne(broker)).settle(ACK);
  }
  return { broker, other, client, forwarder };
}

for (const [product, kind] of Object.entries(KINDS)) {
  Deno.test(`Messenger's table on ${product}: a claim whose answer was lost is given back by the next one, uncounted, and no other`, async () => {
    await using stack = new AsyncDisposableStack();
    const { broker, other, client, forwarder } = await lossy(kind, stack);
    await insert(client, { body: "another worker's", available_at: textOf(Date.now() - 7_200_000) });
    const theirs = await takeOne(other);
    await insert(client, { body: "lost" });
    // Of the new delivered_at, the only time that a claim sends; on MariaDB its answers before the commit are needed.
    const day = textOf(Date.now() - 3_540_000).slice(0, 10);
    const isTaken = async () => (await rowsOf(client)).every((row) => row["delivered_at"] !== null);
    forwarder.silentAfter = (sent) => sent.includes(product === "MariaDB" ? "COMMIT" : day);
    const failing = rejectsWith("QUEUE_UNAVAILABLE", take(broker, { waitMs: FOREVER_MS }));
    await eventually("the server has done it", isTaken);
    const [before] = await rowsOf(client);
    forwarder.cut();
    await soon("the failure", failing);
    const found: Awaited<ReturnType<typeof takeNow>> = [];
    await eventually("the message", async () => {
      found.push(...await takeNow(broker).catch(() => []));
      return found.length > 0;
    });
    const [delivery, ...more] = found;
    assert.deepEqual(more, []);
    assert.equal(new TextDecoder().decode(delivery!.message.body), "lost");
    assert.deepEqual([delivery!.attempt, delivery!.redeliveries, delivery!.isRepeat], [1, 0, undefined]);
    const rows = await rowsOf(client);
    assert.deepEqual([rows[0], rows[1]!["headers"]], [before, "[]"]);
    await delivery!.settle(ACK);
    await theirs.settle(ACK);
    assert.deepEqual(await rowsOf(client), []);
  });
}
