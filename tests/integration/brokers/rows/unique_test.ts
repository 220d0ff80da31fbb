/** Unique keys that an application is about to use in a transaction of its own, which may take long. */
import assert from "node:assert/strict";
import { bytes, FAILED, soon, take, takeOne } from "../../../conformance/fixture.ts";
import { ACK, bury, RELEASE, retry } from "../../../support/verdicts.ts";
import { Database, KINDS } from "./servers.ts";

for (const [product, kind] of Object.entries(KINDS)) {
  const test = (claim: string, run: (database: Database) => Promise<void>) =>
    Deno.test(`${product}: ${claim}`, async () => {
      await using database = await Database.create(kind);
      await run(database);
    });

  for (
    const [what, verdict] of Object.entries({ "retried": retry(0, FAILED), "put back": RELEASE })
  ) {
    test(`a job that is ${what} waits for no open transaction with its key, nor do other jobs`, async (database) => {
      await using worker = database.open();
      const first = await worker.push("q", bytes("first"), { unique: "k" });
      await worker.push("q", bytes("other"));
      const [running, other] = await take(worker, { max: 2 });
      const application = await begin(database);
      await soon("both settles", Promise.all([running!.settle(verdict), other!.settle(ACK)]));
      assert.equal((await takeOne(worker)).id, first);
      await application.run("COMMIT");
      const { id } = await takeOne(worker);
      assert.notEqual(id, first);
    });
  }

  test("several jobs whose keys are about to be used are settled, and taken", async (database) => {
    await using worker = database.open();
    const keys = ["a", "b", "c"];
    for (const unique of keys) await worker.push("q", bytes(unique), { unique });
    const running = await take(worker, { max: 3 });
    const application = await begin(database, keys);
    await soon("all settles", Promise.all(running.map((job) => job.settle(RELEASE))));
    assert.equal((await take(worker, { max: 10 })).length, 3);
    await application.run("ROLLBACK");
  });

  test("a dead letter is retried although its key is about to be used", async (database) => {
    await using worker = database.open();
    const id = await worker.push("q", bytes("job"), { unique: "k" });
    await (await takeOne(worker)).settle(bury(FAILED));
    const application = await begin(database);
    assert.equal(await soon("the retry", worker.admin.dead!.retry([id])), 1);
    assert.equal((await takeOne(worker)).id, id);
    await application.run("ROLLBACK");
  });

  test("a push waits for an open transaction with its key, and finds the job or pushes its own", async (database) => {
    await using producer = database.open();
    assert.deepEqual(await producer.admin.queues!(), []);
    for (const end of ["COMMIT", "ROLLBACK"]) {
      const application = await begin(database, [end]);
      let wasWaiting = false;
      const pushing = producer.push("q", bytes("ours"), { unique: end, onWaiting: () => wasWaiting = true });
      // It has begun: its statement is behind that of the application.
      await database.lockWait();
      await application.run(end);
      await soon("the push", pushing);
      assert.equal(wasWaiting, end === "COMMIT");
    }
    assert.equal(await database.count("fervo_jobs"), 2);
  });
}

/** An application that has pushed jobs with these keys, and has not yet committed. */
async function begin(database: Database, keys: readonly string[] = ["k"]) {
  const client = await database.connect();
  await client.run("BEGIN");
  for (const key of keys) {
    await client.run("INSERT INTO fervo_jobs (queue, payload, unique_key) VALUES ('q', ?, ?)", [
      bytes("application"),
      key,
    ]);
  }
  return client;
}
