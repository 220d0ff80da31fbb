import assert from "node:assert/strict";
import { FAILED, problemOf, takeNow, takeOne, textOf } from "../../../conformance/fixture.ts";
import { eventually } from "../../../support/eventually.ts";
import { makeFolder, openSqlite } from "./broker.ts";
import { OtherProcess } from "./process.ts";
import { bury } from "../../../support/verdicts.ts";

const PRODUCE = new URL("../../../../examples/plain-php/produce.php", import.meta.url).pathname;
const PRODUCER = new URL("./producer.php", import.meta.url).pathname;

/** Runs PHP; fails with what it said when it fails. Code gets the database's path as `$argv[1]`, and `$db`. */
async function php(args: readonly string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("php", { args: [...args] }).output();
  const said = new TextDecoder().decode(stdout);
  assert.ok(success, said + new TextDecoder().decode(stderr));
  return said;
}

function phpWithDb(path: string, code: string): Promise<string> {
  const open = `$db = new PDO("sqlite:$argv[1]", null, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);`;
  return php(["-r", `${open}\n${code}`, path]);
}

/** PHP's and our spelling of the same bytes: NUL, invalid UTF-8, a lone continuation byte, all values. */
const NASTY = Uint8Array.from([0, 65, 0, 0xff, 0xfe, 0x80, 0xc3, 0x28, 0, ...Array(256).keys(), 0]);
const NASTY_PHP =
  `"\\x00A\\x00\\xff\\xfe\\x80\\xc3\\x28\\x00" . implode(array_map('chr', range(0, 255))) . "\\x00"`;

for (const [how, type] of [["as text", "PDO::PARAM_STR"], ["as a blob", "PDO::PARAM_LOB"]] as const) {
  Deno.test(`SqliteBroker.receive() gives the exact bytes that PHP has bound ${how}`, async () => {
    await using folder = await makeFolder();
    const path = `${folder.path}/queue.sqlite`;
    await using broker = openSqlite(path);
    for (const payload of [NASTY_PHP, "''"]) {
      await phpWithDb(
        path,
        `$insert = $db->prepare('INSERT INTO fervo_jobs (queue, payload) VALUES (?, ?)');
        $insert->bindValue(1, 'q');
        $insert->bindValue(2, ${payload}, ${type});
        $insert->execute();`,
      );
    }
    const [nasty, empty] = await takeNow(broker);
    assert.deepEqual([...nasty!.message.body], [...NASTY]);
    assert.equal(empty!.message.body.length, 0);
    assert.equal(problemOf(nasty!), undefined);
    await nasty!.settle(bury(FAILED));
    assert.deepEqual([...(await broker.admin.dead.get(nasty!.id))!.payload], [...NASTY]);
  });
}

Deno.test("SqliteBroker.receive() reads headers that PHP has bound as text or as a blob", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using broker = openSqlite(path);
  for (const type of ["PDO::PARAM_STR", "PDO::PARAM_LOB"]) {
    await phpWithDb(
      path,
      `$insert = $db->prepare("INSERT INTO fervo_jobs (queue, payload, headers) VALUES ('q', 'x', ?)");
      $insert->bindValue(1, json_encode(['traceparent' => '00-ab', 'name' => 'Zoë']), ${type});
      $insert->execute();`,
    );
  }
  for (const delivery of [await takeOne(broker), await takeOne(broker)]) {
    assert.deepEqual({ ...delivery.message.headers }, { traceparent: "00-ab", name: "Zoë" });
  }
});

Deno.test("A job that PHP inserts with a due_at in the future is delayed until then", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using broker = openSqlite(path);
  await phpWithDb(
    path,
    `$insert = $db->prepare("INSERT INTO fervo_jobs (queue, payload, due_at) VALUES ('q', ?, ?)");
    $insert->execute(['later', (int) (microtime(true) * 1000) + 3_600_000]);
    $insert->execute(['long ago', (int) (microtime(true) * 1000) - 3_600_000]);`,
  );
  assert.deepEqual(await broker.admin.depth("q"), { ready: 1, delayed: 1, reserved: 0, dead: 0 });
  assert.deepEqual((await takeNow(broker)).map(textOf), ["long ago"]);
});

Deno.test("A PHP producer is told when a column's value makes no sense", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using broker = openSqlite(path);
  const values: readonly (readonly [column: string, php: string])[] = [
    ["due_at", "'2026-01-01 10:00:00'"],
    ["due_at", "(int) (microtime(true) * 1e9)"],
    ["created_at", "'now'"],
    ["max_attempts", "0"],
    ["payload", "null"],
  ];
  for (const [column, value] of values) {
    const sql = column === "payload"
      ? "INSERT INTO fervo_jobs (queue, payload) VALUES ('q', ?)"
      : `INSERT INTO fervo_jobs (queue, payload, ${column}) VALUES ('q', 'x', ?)`;
    await assert.rejects(
      phpWithDb(path, `$db->prepare("${sql}")->execute([${value}]);`),
      /constraint failed/,
    );
  }
  assert.deepEqual(await broker.admin.queues(), []);
});

Deno.test("examples/plain-php/produce.php pushes jobs with a delay and a priority", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await assert.rejects(php([PRODUCE, path, "default", "{}"]));
  await using broker = openSqlite(path);
  assert.equal(await php([PRODUCE, path, "default", '{"hello":"world"}']), 'Pushed job 1 to "default"\n');
  await php([PRODUCE, path, "default", "urgent", "0", "9"]);
  await php([PRODUCE, path, "default", "later", "3600"]);
  const received = await takeNow(broker, { queues: ["default"] });
  assert.deepEqual(received.map(textOf), ["urgent", '{"hello":"world"}']);
  assert.deepEqual(await broker.admin.depth("default"), { ready: 0, delayed: 1, reserved: 2, dead: 0 });
});

Deno.test("PHP processes push thousands of jobs to two worker processes: none is lost, none runs twice", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using broker = openSqlite(path);
  await using one = OtherProcess.command("consume", [path]);
  await using other = OtherProcess.command("consume", [path]);
  for (const worker of [one, other]) assert.equal(await worker.line(), "ready");
  const prefixes = ["a", "b", "c"];
  await Promise.all(prefixes.map((prefix) => php([PRODUCER, path, prefix, "1000"])));
  await eventually("all jobs done", async () => (await broker.admin.queues()).length === 0);
  const perWorker: string[][] = [];
  for (const worker of [one, other]) {
    await worker.tell("end");
    perWorker.push(JSON.parse(await worker.line()));
  }
  const expected = prefixes.flatMap((prefix) => Array.from({ length: 1000 }, (_, i) => `${prefix} ${i}`));
  assert.deepEqual(perWorker.flat().sort(), expected.sort());
});
