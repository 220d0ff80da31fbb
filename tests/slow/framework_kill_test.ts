/** A worker that is killed again and again while it runs the messages of a framework. */
import assert from "node:assert/strict";
import { systemClock } from "../../src/core/time/clock.ts";
import { DEFAULT_SQLITE_OPTIONS, SqliteBroker } from "../../src/brokers/sqlite/broker.ts";
import { eventually } from "../support/eventually.ts";
import { FRAMEWORK } from "../support/framework_format.ts";
import { FRAMEWORK_FILE, messageBytes, QUEUE } from "../support/framework_site.ts";
import { PhpFpm } from "../support/php_fpm.ts";

const WORKER = new URL("../support/framework_worker.ts", import.meta.url).pathname;
const KILLS = 10;

Deno.test("A worker that is killed ten times with a message has its framework told each time, and runs the other 99", async () => {
  await using fpm = await PhpFpm.start({ children: 3, statusListen: true });
  const file = (name: string) => `${fpm.directory}/${name}`;
  const linesOf = async (name: string) =>
    (await Deno.readTextFile(file(name)).catch(() => "")).split("\n").slice(0, -1);
  await fpm.writeScript("front.php", `<?php require '${FRAMEWORK_FILE}'; serve(__DIR__);`);
  await Deno.writeTextFile(
    file("fervo-worker.toml"),
    `[brokers.default]\ndriver = "sqlite"\nformat = "framework"\npath = "queue.sqlite"\nlease_ms = 1000\n` +
      `[fpm.default]\naddress = "${fpm.address}"\nstatus_path = "/status"\nstatus_address = "${fpm.statusAddress}"\n` +
      `script = "${file("front.php")}"\nkill_on_timeout = true\n` +
      `[[consumers]]\nqueues = ["${QUEUE}"]\nconcurrency = 2\n`,
  );
  await Deno.chmod(file("fervo-worker.toml"), 0o600);
  await using broker = SqliteBroker.open({ clock: systemClock, owner: "test", format: FRAMEWORK }, {
    ...DEFAULT_SQLITE_OPTIONS,
    path: file("queue.sqlite"),
  });
  const poison = { name: "poison", max: KILLS + 2, do: Array<"hold">(KILLS).fill("hold") };
  await broker.push(QUEUE, messageBytes(poison));
  const names = Array.from({ length: 99 }, (_, at) => `m${at}`);
  // Those that run when their worker is killed may have to be told of it each time, too.
  for (const name of names) await broker.push(QUEUE, messageBytes({ name, max: KILLS + 2 }));

  const start = () =>
    new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", WORKER, "run", "--config", file("fervo-worker.toml")],
      stdout: "null",
      stderr: "null",
    }).spawn();
  for (let kill = 0; kill < KILLS; kill++) {
    await using worker = start();
    await eventually(`try ${kill}`, async () => (await linesOf("runs")).includes(`poison ${kill}`), 60_000);
    worker.kill("SIGKILL");
    await worker.status;
    await Deno.writeTextFile(file(`go-poison-${kill}`), "");
  }
  await using worker = start();
  const left = async () => {
    const { ready, delayed, reserved } = await broker.admin.depth(QUEUE);
    return ready! + delayed! + reserved!;
  };
  await eventually("all is done", async () => await left() === 0, 60_000);
  worker.kill("SIGTERM");
  await worker.status;

  const deaths = (await linesOf("deaths")).map((line) => line.split(" "));
  assert.deepEqual(
    deaths.filter(([name]) => name === "poison").map(([, tries, code]) => `${tries} ${code}`),
    Array.from({ length: KILLS }, (_, kill) => `${kill} JOB_ABANDONED`),
  );
  assert.deepEqual(new Set(deaths.map(([, , code]) => code)), new Set(["JOB_ABANDONED"]));
  assert.deepEqual(await linesOf("failed"), []);
  const runs = new Set((await linesOf("runs")).map((line) => line.split(" ")[0]));
  assert.deepEqual([...names, "poison"].filter((name) => !runs.has(name)), []);
  assert.equal((await broker.admin.depth(QUEUE)).dead, 0);
});
