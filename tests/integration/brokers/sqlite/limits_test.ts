import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { bytes, problemOf, takeNow, takeOne } from "../../../conformance/fixture.ts";
import { makeFolder, openSqlite } from "./broker.ts";
import { bury } from "../../../support/verdicts.ts";

/** Inserts as a producer does, with a connection of its own. */
function insert(path: string, columns: Readonly<Record<string, string | number | Uint8Array>>): void {
  const db = new DatabaseSync(path);
  const names = Object.keys(columns);
  db.prepare(`INSERT INTO fervo_jobs (${names.join()}) VALUES (${names.map(() => "?").join()})`)
    .run(...Object.values(columns));
  db.close();
}

Deno.test("SqliteBroker.push() refuses a payload above maxPayloadBytes and takes one that just fits", async () => {
  await using folder = await makeFolder();
  await using broker = openSqlite(`${folder.path}/queue.sqlite`, { maxPayloadBytes: 100 });
  await assert.rejects(broker.push("q", new Uint8Array(101)), {
    code: "JOB_MALFORMED",
    message: /"q" has 101 bytes, more than the 100 that max_payload_bytes allows/,
    details: { bytes: 101, maxBytes: 100 },
  });
  assert.deepEqual(await broker.admin.queues(), []);
  await broker.push("q", new Uint8Array(100));
  const delivery = await takeOne(broker);
  assert.equal(delivery.message.body.length, 100);
  assert.equal(problemOf(delivery), undefined);
});

for (const kind of ["text", "blob"]) {
  Deno.test(`A payload above maxPayloadBytes that was inserted as ${kind} is a problem; buried it keeps its bytes`, async () => {
    await using folder = await makeFolder();
    const path = `${folder.path}/queue.sqlite`;
    await using broker = openSqlite(path, { maxPayloadBytes: 100 });
    // 80 characters, 160 bytes.
    const text = "ä".repeat(80);
    insert(path, { queue: "q", payload: kind === "text" ? text : bytes(text) });
    await broker.push("q", bytes("fits"));
    const [large, small] = await takeNow(broker);
    assert.equal(problemOf(large!)?.code, "JOB_MALFORMED");
    assert.match(problemOf(large!)!.message, /160 bytes, more than the 100/);
    assert.equal(large!.message.body.length, 0);
    assert.equal(problemOf(small!), undefined);
    await large!.settle(bury(problemOf(large!)!));
    const letter = await broker.admin.dead.get(large!.id);
    assert.deepEqual([...letter!.payload], [...bytes(text)]);
    assert.equal(letter!.error.code, "JOB_MALFORMED");
  });
}

for (
  const headers of [
    "",
    "{",
    "null",
    "[]",
    "7",
    '"text"',
    '{"a": 1}',
    '{"a": {"b": "c"}}',
    "x".repeat(100_000),
  ]
) {
  const shown = headers.length > 50 ? "a long text" : headers;
  Deno.test(`A headers column of ${JSON.stringify(shown)} is a problem; buried the job keeps its bytes`, async () => {
    await using folder = await makeFolder();
    const path = `${folder.path}/queue.sqlite`;
    await using broker = openSqlite(path);
    insert(path, { queue: "q", payload: bytes("the payload"), headers });
    const delivery = await takeOne(broker);
    assert.equal(problemOf(delivery)?.code, "JOB_MALFORMED");
    assert.ok(problemOf(delivery)!.message.length < 200);
    assert.deepEqual({ ...delivery.message.headers }, {});
    await delivery.settle(bury(problemOf(delivery)!));
    assert.deepEqual([...(await broker.admin.dead.get(delivery.id))!.payload], [...bytes("the payload")]);
    assert.deepEqual(await takeNow(broker), []);
  });
}

Deno.test("SqliteBroker.receive() takes odd but readable headers as they are", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using broker = openSqlite(path);
  insert(path, { queue: "q", payload: "x", headers: ' {"__proto__": "a", "constructor": "b"} ' });
  const delivery = await takeOne(broker);
  assert.equal(problemOf(delivery), undefined);
  assert.deepEqual(Object.entries(delivery.message.headers), [["__proto__", "a"], ["constructor", "b"]]);
});

for (const error of [null, "", "gone wrong", '"text"', "[]", "{}", '{"code": 1}']) {
  Deno.test(`dead.list() shows a job that a person has killed by hand with the error ${JSON.stringify(error)}`, async () => {
    await using folder = await makeFolder();
    const path = `${folder.path}/queue.sqlite`;
    await using broker = openSqlite(path);
    const id = await broker.push("q", bytes("a job"));
    const db = new DatabaseSync(path);
    db.prepare("UPDATE fervo_jobs SET state = 'dead', error = ?").run(error);
    db.close();
    const [letter] = await broker.admin.dead.list({ limit: 10 });
    assert.equal(letter!.id, id);
    assert.equal(letter!.error.code, "JOB_FAILED");
    assert.equal(letter!.error.message, error || "No error was recorded");
  });
}
