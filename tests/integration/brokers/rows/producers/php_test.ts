/** Jobs that PHP inserts with PDO, as the worker's broker receives them. The bundle's tests do the same for the drivers of DBAL. */
import assert from "node:assert/strict";
import { takeNow, textOf } from "../../../../conformance/fixture.ts";
import { runProgram } from "../../../../support/run_program.ts";
import { openRows } from "../broker.ts";
import { ApplicationDatabase, SERVER_KINDS } from "./application_database.ts";

const RUNNER = new URL("./run.php", import.meta.url).pathname;

/** PHP's and our spelling of the same bytes: NUL, invalid UTF-8, a lone continuation byte, quotes and backslashes, all values. */
const NASTY = Uint8Array.from([
  0,
  65,
  0,
  0xff,
  0xfe,
  0x80,
  0xc3,
  0x28,
  0x5c,
  0x27,
  0x22,
  0,
  ...Array(256).keys(),
  0,
]);
const NASTY_PHP =
  `"\\0A\\0\\xff\\xfe\\x80\\xc3\\x28\\\\'\\"\\0" . implode(array_map('chr', range(0, 255))) . "\\0"`;

/** Runs code with `$db`; fails with what PHP said when it fails. */
async function php(database: ApplicationDatabase, code: string): Promise<void> {
  const file = await Deno.makeTempFile({ prefix: "fervo-php-", suffix: ".php" });
  try {
    await Deno.writeTextFile(file, `<?php\n${code}`);
    const { success, said } = await runProgram("php", RUNNER, ...database.phpArguments, file);
    assert.ok(success, said);
  } finally {
    await Deno.remove(file);
  }
}

for (const kind of SERVER_KINDS) {
  const { product } = kind;
  const server = await kind.start();
  Deno.test.afterAll(() => server[Symbol.asyncDispose]());
  const open = (database: ApplicationDatabase) =>
    openRows(kind.driver, { address: server.address, user: kind.user, database: database.name });

  for (const emulates of ["false", "true"]) {
    Deno.test(`RowsBroker.receive() gives the exact bytes that PHP has bound on ${product} (emulated: ${emulates})`, async () => {
      await using database = await ApplicationDatabase.create(kind, server);
      await using broker = open(database);
      await php(
        database,
        `$db->setAttribute(PDO::ATTR_EMULATE_PREPARES, ${emulates});
        foreach ([${NASTY_PHP}, ''] as $payload) {
          $insert = $db->prepare('INSERT INTO fervo_jobs (queue, payload) VALUES (?, ?)');
          $insert->bindValue(1, 'q');
          $insert->bindValue(2, $payload, PDO::PARAM_LOB);
          $insert->execute();
        }`,
      );
      const [nasty, empty] = await takeNow(broker);
      assert.deepEqual([...nasty!.message.body], [...NASTY]);
      assert.equal(empty!.message.body.length, 0);
    });
  }

  Deno.test(`RowsBroker.receive() gives the job of a transaction after its commit, with its headers, on ${product}`, async () => {
    await using database = await ApplicationDatabase.create(kind, server);
    await using broker = open(database);
    await php(
      database,
      `$insert = $db->prepare('INSERT INTO fervo_jobs (queue, payload, headers) VALUES (?, ?, ?)');
      foreach (['rollBack', 'commit'] as $end) {
        $db->beginTransaction();
        $insert->execute(['q', $end, json_encode(['traceparent' => '00-ab', 'name' => 'Zoë'])]);
        $db->$end();
      }`,
    );
    const received = await takeNow(broker);
    assert.deepEqual(received.map(textOf), ["commit"]);
    assert.deepEqual({ ...received[0]!.message.headers }, { traceparent: "00-ab", name: "Zoë" });
  });

  Deno.test(`A job that PHP inserts with a due_at in the future waits until then on ${product}`, async () => {
    await using database = await ApplicationDatabase.create(kind, server);
    await using broker = open(database);
    await php(
      database,
      `$insert = $db->prepare("INSERT INTO fervo_jobs (queue, payload, due_at) VALUES ('q', ?, ?)");
      $insert->execute(['later', (int) (microtime(true) * 1000) + 3_600_000]);
      $insert->execute(['long ago', (int) (microtime(true) * 1000) - 3_600_000]);`,
    );
    assert.deepEqual((await takeNow(broker)).map(textOf), ["long ago"]);
    // A worker makes it delayed when it meets it.
    const { ready = 0, delayed = 0, reserved } = await broker.admin.depth!("q");
    assert.deepEqual({ waiting: ready + delayed, reserved }, { waiting: 1, reserved: 1 });
  });

  Deno.test(`A push with a unique key that waits already reports 0 rows to PHP on ${product}`, async () => {
    await using database = await ApplicationDatabase.create(kind, server);
    const end = kind.name === "postgres"
      ? "ON CONFLICT (queue, unique_key) WHERE unique_key IS NOT NULL DO NOTHING"
      : "ON DUPLICATE KEY UPDATE id = id";
    await php(
      database,
      `$insert = $db->prepare("INSERT INTO fervo_jobs (queue, payload, unique_key) VALUES ('q', ?, 'key') ${end}");
      foreach (['first' => 1, 'second' => 0] as $payload => $rows) {
        $insert->execute([$payload]);
        if ($insert->rowCount() !== $rows) { throw new LogicException("$payload: {$insert->rowCount()}"); }
      }`,
    );
    await using broker = open(database);
    assert.deepEqual((await takeNow(broker)).map(textOf), ["first"]);
  });

  Deno.test(`A PHP producer is told when a column's value makes no sense on ${product}`, async () => {
    await using database = await ApplicationDatabase.create(kind, server);
    const values: readonly (readonly [column: string, php: string])[] = [
      ["due_at", "'2026-01-01 10:00:00'"],
      ["due_at", "(int) (microtime(true) * 1e9)"],
      ["created_at", "'now'"],
      ["max_attempts", "0"],
      ["state", "'gone'"],
      ["payload", "null"],
      ["queue", "str_repeat('q', 256)"],
    ];
    for (const [column, value] of values) {
      const row = Object.entries({ queue: "'q'", payload: "'x'", [column]: value });
      const names = row.map(([name]) => name).join(", ");
      const sql = `INSERT INTO fervo_jobs (${names}) VALUES (${row.map(() => "?").join(", ")})`;
      const values = row.map(([, written]) => written).join(", ");
      await assert.rejects(
        php(database, `$db->prepare("${sql}")->execute([${values}]);`),
        /SQLSTATE/,
        column,
      );
    }
    assert.deepEqual(await database.rows("SELECT id FROM fervo_jobs"), []);
  });
}

Deno.test("A payload that PHP binds as text on PostgreSQL is cut, changed or refused, as docs/protocol.md warns", async () => {
  const [kind] = SERVER_KINDS;
  await using server = await kind!.start();
  await using database = await ApplicationDatabase.create(kind!, server);
  const insert = (payload: string) =>
    php(
      database,
      `$db->prepare("INSERT INTO fervo_jobs (queue, payload) VALUES ('q', ?)")->execute([${payload}]);`,
    );
  await insert(String.raw`"before\0behind"`);
  await insert(String.raw`'\x4142'`);
  await assert.rejects(insert(String.raw`'App\Mail'`), /invalid input syntax for type bytea/);
  const rows = await database.rows("SELECT payload FROM fervo_jobs ORDER BY id");
  const texts = rows.map(({ payload }) => new TextDecoder().decode(payload as Uint8Array));
  assert.deepEqual(texts, ["before", "AB"]);
});
