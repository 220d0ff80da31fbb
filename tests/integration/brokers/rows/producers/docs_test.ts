/** What docs/protocol.md shows of producers on PostgreSQL, MariaDB and MySQL is run here as it stands, on real servers. */
import assert from "node:assert/strict";
import { type DocBlock, docBlocks, placeOf } from "../../../../support/doc_blocks.ts";
import { runProgram } from "../../../../support/run_program.ts";
import { ApplicationDatabase, SERVER_KINDS, type ServerKind } from "./application_database.ts";

const RUNNER = new URL("./run.php", import.meta.url).pathname;

/** The first line of a piece that is for one server only. */
const SERVER_LINES = { postgres: "// PostgreSQL", mysql: "// MariaDB and MySQL" } as const;

const BLOCKS = docBlocks().filter(({ file, language, text }) =>
  file === "docs/protocol.md" && language === "php" && text.includes("fervo_jobs")
);

function isFor({ text }: DocBlock, { name }: ServerKind): boolean {
  const first = text.split("\n")[0]!;
  return !Object.values<string>(SERVER_LINES).includes(first) || first === SERVER_LINES[name];
}

async function run({ text }: DocBlock, database: ApplicationDatabase): Promise<void> {
  const file = await Deno.makeTempFile({ prefix: "fervo-docs-", suffix: ".php" });
  try {
    await Deno.writeTextFile(file, `<?php\n${text}`);
    const { success, said } = await runProgram("php", RUNNER, ...database.phpArguments, file);
    assert.ok(success, said);
    assert.equal(said, "");
  } finally {
    await Deno.remove(file);
  }
}

interface Row {
  readonly queue: string;
  readonly payload: string;
  readonly headers: unknown;
  readonly priority: number;
  readonly max_attempts: number | null;
  /** When it can run, from the push on, in seconds. */
  readonly delay: number;
  readonly unique_key: string | null;
}

async function jobs(database: ApplicationDatabase): Promise<Row[]> {
  const columns = "queue, payload, headers, priority, max_attempts, unique_key, due_at - created_at AS delay";
  const { rows } = await database.client.run(`SELECT ${columns} FROM fervo_jobs ORDER BY id`);
  return rows.map((row) => ({
    ...row,
    payload: new TextDecoder().decode(row["payload"] as Uint8Array),
    headers: row["headers"] === null ? null : JSON.parse(String(row["headers"])),
    // The two times of a row may be of different milliseconds.
    delay: Math.round(Number(row["delay"]) / 1_000) + 0,
  } as unknown as Row));
}

const PLAIN = { headers: null, priority: 0, max_attempts: null };
const MAIL = { ...PLAIN, queue: "mail", delay: 0, unique_key: null };
const SEARCH = {
  ...PLAIN,
  queue: "search",
  payload: 'a:1:{s:5:"index";s:8:"products";}',
  delay: 60,
  unique_key: "search:products",
};
const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/** By a part of the piece: the orders and jobs that it leaves. */
const EXPECTED: readonly (readonly [part: string, orders: readonly number[], jobs: readonly Row[]])[] = [
  ["ann@example.org", [7], [{ ...MAIL, payload: '{"order":7}' }]],
  ["bob@example.org", [8], [{ ...MAIL, payload: '{"order":8}' }]],
  ["traceparent", [], [{ ...SEARCH, headers: { traceparent: TRACEPARENT }, priority: 5, max_attempts: 3 }]],
  ["executeStatement", [], [SEARCH]],
];

for (const kind of SERVER_KINDS) {
  Deno.test(`The producers that docs/protocol.md shows push their jobs on ${kind.product}`, async (t) => {
    await using server = await kind.start();
    const blocks = BLOCKS.filter((block) => isFor(block, kind));
    assert.equal(blocks.length, EXPECTED.length);
    for (const block of blocks) {
      await t.step(placeOf(block), async () => {
        const [, orders, rows] = EXPECTED.find(([part]) => block.text.includes(part))!;
        await using database = await ApplicationDatabase.create(kind, server);
        await run(block, database);
        assert.deepEqual(await jobs(database), rows);
        assert.deepEqual((await database.rows("SELECT id FROM orders")).map(({ id }) => id), orders);
        // A second time: its key is taken, or the order exists and the job goes with the transaction.
        if (orders.length === 0) await run(block, database);
        else await assert.rejects(run(block, database), /duplicate/i);
        assert.deepEqual(await jobs(database), rows);
      });
    }
  });
}
