/** A server whose disk is full. Its files have a limit, because a file system of a test's own needs root. */
import assert from "node:assert/strict";
import type { RowsBroker } from "../../../../src/brokers/rows/broker.ts";
import { FervoError } from "../../../../src/core/errors.ts";
import { bytes, takeNow, textOf } from "../../../conformance/fixture.ts";
import { runProgram } from "../../../support/run_program.ts";
import { asServerUser } from "../../../support/server_user.ts";
import { ACK } from "../../../support/verdicts.ts";
import { Database, KINDS } from "./servers.ts";

const MIB = 1_048_576;
/** Above the size of a segment of the log, and in the middle of a page: so the server writes a part of it. */
const FILE_LIMIT_BYTES = 24 * MIB + 4_096;

/** Pushes until there is no room; returns how many were pushed, and why the next one was not. */
async function fill(broker: RowsBroker): Promise<{ pushed: number; error: FervoError }> {
  for (let pushed = 0; pushed < 100; pushed++) {
    const payload = new Uint8Array(MIB);
    // The server compresses what it can.
    for (let at = 0; at < MIB; at += 65_536) crypto.getRandomValues(payload.subarray(at, at + 65_536));
    const error = await broker.push("q", payload).then(() => undefined, (error) => error);
    if (error !== undefined) return { pushed, error };
  }
  throw new Error("there is room for all");
}

/** Takes and settles all; returns how many. */
async function empty(broker: RowsBroker): Promise<number> {
  let count = 0;
  for (;;) {
    const deliveries = await takeNow(broker, { max: 5 });
    if (deliveries.length === 0) return count;
    for (const delivery of deliveries) {
      assert.equal(delivery.message.body.length, MIB);
      await delivery.settle(ACK);
    }
    count += deliveries.length;
  }
}

/** Sets how large files of these processes can become. */
async function limitFiles(pids: readonly (string | number)[], bytes: number | "unlimited"): Promise<void> {
  // Another user's process would need special rights.
  const [program, ...args] = asServerUser("prlimit", `--fsize=${bytes}:unlimited`);
  for (const pid of pids) {
    const { success, said } = await runProgram(program!, ...args, "--pid", String(pid));
    assert.ok(success, said);
  }
}

Deno.test("PostgreSQL: a full disk is told, the jobs are intact and run, and pushes go on when there is room", async () => {
  await using database = await Database.create(KINDS["PostgreSQL"]!);
  await using broker = database.open();
  await broker.admin.queues!();
  await broker.push("other", bytes("before"));
  const pids = await database.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'fervo-worker'");
  await limitFiles(pids.split("\n"), FILE_LIMIT_BYTES);
  const { pushed, error } = await fill(broker);
  assert.equal(error.code, "QUEUE_UNAVAILABLE");
  // From PostgreSQL 16 on this limit is another error than a full disk.
  assert.match(error.message, /the disk of the server is full: make room|File too large/);
  assert.ok(pushed >= 5, `${pushed}`);
  assert.deepEqual((await takeNow(broker, { queues: ["other"] })).map(textOf), ["before"]);
  assert.equal(await empty(broker), pushed);
  await limitFiles(pids.split("\n"), "unlimited");
  await broker.push("q", new Uint8Array(MIB));
  assert.equal(await empty(broker), 1);
});

Deno.test("MariaDB: a full disk is told, and the jobs are intact", async () => {
  const kind = KINDS["MariaDB"]!;
  // A limit of its files would end the server.
  const config = ["innodb_file_per_table = OFF", "innodb_data_file_path = ibdata1:12M:autoextend:max:40M"];
  await using server = await kind.start({ config });
  // It goes with its server: a full one drops no database.
  const database = await Database.create(kind, server);
  await using broker = database.open();
  const { pushed, error } = await fill(broker);
  assert.equal(error.code, "QUEUE_UNAVAILABLE");
  // Some releases of 11.8 end themselves then, by an assertion of their own.
  if (/the server has closed the connection/.test(error.message)) await server.restart();
  else assert.match(error.message, /the disk of the server is full: make room/);
  assert.ok(pushed >= 5, `${pushed}`);
  assert.equal(await database.sql("SELECT count(*) FROM fervo_jobs"), String(pushed));
  assert.equal((await broker.admin.depth!("q")).ready, pushed);
});
