/** What `check` finds of Messenger's table, on every server. */
import assert from "node:assert/strict";
import { ACK } from "../../../../support/verdicts.ts";
import { takeOne } from "../../../../conformance/fixture.ts";
import { createTable } from "./broker.ts";
import { insert, type Site, SITES, textOf } from "./sites.ts";

/** The findings about the table: id, severity and what was found. */
async function findingsOf(site: Site, consumed = ["q"]): Promise<string[]> {
  await using broker = site.open();
  return (await broker.admin.findings!(consumed)).filter(({ id }) => id.startsWith("messenger."))
    .map(({ id, severity, what }) => `${id} ${severity}: ${what}`);
}

for (const [name, site] of Object.entries(SITES)) {
  const ofDone = name === "MariaDB"
    ? ["messenger.done ok: no messages that are done are left in the table"]
    : [];
  const inTime =
    "messenger.redeliver_timeout ok: no message is in flight for longer than redeliver_timeout_ms";

  Deno.test(`findings() of Messenger's table on ${name} tell that all is well, also while a message runs`, async () => {
    await using started = await site();
    await insert(started.client);
    await using broker = started.open();
    const delivery = await takeOne(broker);
    assert.deepEqual(await findingsOf(started), [
      "messenger.indexes ok: the table messenger_messages has the index of all four columns",
      inTime,
      ...ofDone,
    ]);
    await delivery.settle(ACK);
  });

  Deno.test(`findings() of Messenger's table on ${name} tell of the indexes of older versions, and of an index that is missing`, async () => {
    await using started = await site(true);
    const { client } = started;
    await createTable(client, "single");
    assert.equal(
      (await findingsOf(started))[0],
      "messenger.indexes notice: the table messenger_messages has an index for each column alone",
    );
    const onTable = name === "MariaDB" ? " ON messenger_messages" : "";
    await client.run(`DROP INDEX IDX_75EA56E0E3BD61CE${onTable}`);
    assert.equal(
      (await findingsOf(started))[0],
      "messenger.indexes warning: the table messenger_messages has no index that begins with available_at",
    );
    await client.run(`DROP INDEX IDX_75EA56E0FB7336F0${onTable}`);
    assert.equal(
      (await findingsOf(started))[0],
      "messenger.indexes warning: the table messenger_messages has no index that begins with queue_name, and none with available_at",
    );
    await insert(client);
    await using broker = started.open();
    await (await takeOne(broker)).settle(ACK);
  });

  Deno.test(`findings() of Messenger's table on ${name} count messages of lost consumers, and those that are done`, async () => {
    await using started = await site();
    const { client } = started;
    for (let i = 0; i < 3; i++) await insert(client, { delivered_at: textOf(Date.now() - 3_610_000) });
    await insert(client, { delivered_at: textOf(Date.now() - 3_000_000) });
    for (let i = 0; i < 2; i++) await insert(client, { delivered_at: "9999-12-31 23:59:59" });
    assert.deepEqual((await findingsOf(started)).slice(1), [
      "messenger.redeliver_timeout notice: 3 messages are in flight for longer than redeliver_timeout_ms",
      ...(name === "MariaDB"
        ? ["messenger.done notice: 2 messages are done and left in the table messenger_messages"]
        : []),
    ]);
    assert.equal((await findingsOf(started, ["other"]))[1], inTime);
    assert.equal((await findingsOf(started, []))[1], inTime);
    await insert(client, { queue_name: "other", delivered_at: textOf(Date.now() - 3_610_000) });
    assert.match((await findingsOf(started, ["q", "other"]))[1]!, /4 messages are in flight/);
  });
}
