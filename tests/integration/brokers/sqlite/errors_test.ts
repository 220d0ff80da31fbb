/** What the embedded queue keeps of the failures before a job's last one. */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { JobError } from "../../../../src/core/errors.ts";
import { migrate, MIGRATIONS } from "../../../../src/brokers/sqlite/store/schema.ts";
import { bytes, FAILED, takeOne } from "../../../conformance/fixture.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { makeFolder, openSqlite } from "./broker.ts";
import { bury, RELEASE, retry } from "../../../support/verdicts.ts";

const START_MS = Date.UTC(2026, 0, 31, 12);

Deno.test("A dead letter of the embedded queue tells of the failures before the last one, cut", async () => {
  await using folder = await makeFolder();
  const clock = new FakeClock(START_MS);
  await using broker = openSqlite(`${folder.path}/queue.sqlite`, { clock });
  const id = await broker.push("q", bytes("a job"));
  const stderr = `${"é".repeat(1_500)}${"ü".repeat(1_500)}`;
  const cut = `${"é".repeat(1_000)}\n… 1000 characters left out …\n${"ü".repeat(1_000)}`;
  await (await takeOne(broker)).settle(
    retry(0, new JobError("JOB_CRASHED", "It died", { details: { stderr } })),
  );
  clock.jump(1_000);
  await (await takeOne(broker)).settle(retry(0, new JobError("JOB_TIMEOUT", "It hung")));
  await (await takeOne(broker)).settle(RELEASE);
  clock.jump(1_000);
  await (await takeOne(broker)).settle(bury(FAILED));
  const letter = (await broker.admin.dead.get(id))!;
  assert.deepEqual(letter.error, {
    code: "JOB_FAILED",
    message: "It went wrong",
    stderr: "PHP Warning: oh",
    attempt: 3,
    atMs: START_MS + 2_000,
  });
  assert.deepEqual(letter.earlierErrors, [
    { code: "JOB_CRASHED", message: "It died", stderr: cut, attempt: 1, atMs: START_MS },
    { code: "JOB_TIMEOUT", message: "It hung", attempt: 2, atMs: START_MS + 1_000 },
  ]);
});

Deno.test("The embedded queue keeps the last ten failures of a job, also over a retry by a person", async () => {
  await using folder = await makeFolder();
  await using broker = openSqlite(`${folder.path}/queue.sqlite`);
  const id = await broker.push("q", bytes("a job"));
  const fail = (n: number) => new JobError("JOB_FAILED", `Failure ${n}`);
  for (let n = 1; n <= 7; n++) await (await takeOne(broker)).settle(retry(0, fail(n)));
  await (await takeOne(broker)).settle(bury(fail(8)));
  await broker.admin.dead.retry([id]);
  for (let n = 9; n <= 12; n++) await (await takeOne(broker)).settle(retry(0, fail(n)));
  await (await takeOne(broker)).settle(bury(fail(13)));
  const letter = (await broker.admin.dead.get(id))!;
  assert.equal(letter.error.message, "Failure 13");
  assert.deepEqual(
    letter.earlierErrors!.map(({ message }) => message),
    [4, 5, 6, 7, 8, 9, 10, 11, 12].map((n) => `Failure ${n}`),
  );
});

Deno.test("A job whose errors were written by hand, or by a former version, fails like any other", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using broker = openSqlite(path);
  using db = new DatabaseSync(path);
  const former = '{"code":"JOB_FAILED","message":"before"}';
  for (
    const [error, errors, expected] of [
      ["no JSON", null, []],
      ["no JSON", "no JSON either", []],
      [former, "no JSON either", []],
      [former, null, ["before"]],
      [former, "[]", ["before"]],
      ["null", '["text", 5]', []],
    ] as const
  ) {
    const id = await broker.push("q", bytes("a job"));
    db.prepare("UPDATE fervo_jobs SET error = ?, errors = ? WHERE id = ?").run(error, errors, id);
    await (await takeOne(broker)).settle(bury(FAILED));
    const letter = (await broker.admin.dead.get(id))!;
    assert.equal(letter.error.message, FAILED.message);
    assert.deepEqual(letter.earlierErrors!.map(({ message }) => message), expected, `${error}, ${errors}`);
  }
});

Deno.test("A queue of version 1 is migrated with its jobs, and its producers go on as before", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  using producer = new DatabaseSync(path);
  producer.exec("PRAGMA journal_mode = WAL");
  migrate(producer, path, MIGRATIONS.slice(0, 1));
  // As of before the migration, for the life of a process.
  const insert = producer.prepare("INSERT INTO fervo_jobs (queue, payload) VALUES ('q', ?)");
  insert.run("first");
  await using broker = openSqlite(path);
  insert.run("second");
  for (const expected of ["first", "second"]) {
    const delivery = await takeOne(broker);
    assert.equal(new TextDecoder().decode(delivery.message.body), expected);
    await delivery.settle(retry(60_000, FAILED));
  }
});
