/** Messages of Symfony Messenger that an application cannot run for a time, or never. tests/e2e has what takes seconds. */
import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import { ChaosSite } from "../support/messenger/chaos_site.ts";

const DEAD = "default__fervo_dead";
/** The number of times that the worker tries a broken application: FERVO_CALLS = 60 takes some minutes. */
const CALLS = Number(Deno.env.get("FERVO_CALLS") ?? 6);
const DEADLINE_MS = 30_000 + 10_000 * CALLS;

/** Messages of the application that is signed from Symfony 7.4 on. */
async function dispatchSigned(site: ChaosSite, names: readonly string[]): Promise<void> {
  const list = names.map((name) => ({ name, class: "Signed", transport: "php", action: "ok" }));
  await site.app.consoleWith(JSON.stringify(list), "app:dispatch");
}

Deno.test("A message with a wrong signature is kept as it is, and those behind it run", async () => {
  await using site = await ChaosSite.create("postgres");
  await dispatchSigned(site, ["001-wrong", "002-right"]);
  await site.sql(
    "UPDATE messenger_messages SET body = replace(body, '001-wrong', '003-wrong') WHERE body LIKE '%001-wrong%'",
  );
  const before = await site.sql("SELECT md5(body) FROM messenger_messages WHERE body LIKE '%003-wrong%'");
  await using worker = site.startWorker();
  await site.isDone(60_000);
  assert.deepEqual(await site.rows(), { [DEAD]: 1 });
  assert.equal(await site.sql("SELECT md5(body) FROM messenger_messages"), before);
  assert.match(await site.sql("SELECT headers FROM messenger_messages"), /DECODE_FAILED.*[Ss]ign/);
  assert.equal(await site.handled("002-right"), true);
  assert.equal(await site.handled("003-wrong"), false);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});

Deno.test("Without APP_SECRET in the pool, no message is buried or counted, and all run when it is back", async () => {
  await using site = await ChaosSite.create("postgres");
  const names = Array.from({ length: 20 }, (_, at) => `1${at}0-signed`);
  await dispatchSigned(site, names);
  await site.fpm.reload({ poolLines: site.poolLines.filter((line) => !line.includes("APP_SECRET")) });
  await using worker = site.startWorker();
  await worker.says("APPLICATION_NOT_STARTED");
  await worker.says("set APP_SECRET");
  assert.deepEqual(await site.rows(), { default: names.length });
  await site.fpm.reload({ poolLines: site.poolLines });
  await site.isDone(60_000);
  assert.deepEqual(await site.rows(), {});
  for (const name of names) assert.equal(await site.handled(name), true, name);
});

Deno.test("An application that does not start costs no message an attempt, and all run when it is mended", async () => {
  await using site = await ChaosSite.create("postgres");
  const kernel = `${site.app.directory}/src/Kernel.php`;
  const code = await Deno.readTextFile(kernel);
  const list = (from: number) =>
    Array.from({ length: 100 }, (_, at) => ({ name: `job-${from + at}`, action: "ok" as const }));
  const produced = await site.produce(list(0));
  // Each request notes that it was there.
  await Deno.writeTextFile(
    kernel,
    `<?php file_put_contents('${site.app.directory}/calls', '.', FILE_APPEND); throw new Error('No kernel here');`,
  );
  await using worker = site.startWorker();
  await worker.says("APPLICATION_NOT_STARTED");
  assert.match(worker.stderr, /No kernel here/);
  await eventually(
    `${CALLS} calls`,
    async () => await Deno.stat(`${site.app.directory}/calls`).then(({ size }) => size >= CALLS, () => false),
    DEADLINE_MS,
  );
  assert.deepEqual(await site.rows(), { default: 100 });
  await Deno.writeTextFile(kernel, code);
  // As a deployment does: OPcache takes a file of the same second for the same.
  await site.fpm.reload();
  produced.push(...await site.produce(list(100)));
  await site.isDone(60_000);
  assert.deepEqual(await site.rows(), {});
  const runs = await site.runs();
  for (const { name } of produced) assert.equal(runs.get(name)?.length, 1, name);
});
