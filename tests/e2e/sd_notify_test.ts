/** What the binary tells a service manager, by the protocol of sd_notify(3). */
import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import { Site } from "../support/fervo_worker.ts";
import { NotifySocket } from "../support/notify_socket.ts";
import { PhpFpm } from "../support/php_fpm.ts";

Deno.test("run says READY when its consumers run, sends heartbeats, and says STOPPING once", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm);
  await using manager = await NotifySocket.listen();
  const gate = `${site.directory}/gate`;
  await site.push(JSON.stringify({ wait_for: gate }), 2);
  await using worker = site.start(["run"], {
    env: { NOTIFY_SOCKET: manager.path, WATCHDOG_USEC: "100000" },
  });
  await manager.has("READY=1");
  await worker.says('"msg":"Consumer started"');
  assert.match(manager.messages[0]!.join("\n"), /^READY=1\nSTATUS=Running: \d jobs? in flight, 4 slots$/);
  await manager.has("WATCHDOG=1", 5);
  await eventually("2 jobs run", () => site.effectCount() === 2);
  worker.kill("SIGTERM");
  await manager.has("STOPPING=1");
  const stopping = manager.messages.find(([first]) => first === "STOPPING=1");
  assert.deepEqual(stopping, ["STOPPING=1", "STATUS=Stopping: 2 jobs in flight"]);
  const signs = manager.count("WATCHDOG=1");
  await manager.has("WATCHDOG=1", signs + 3);
  await Deno.writeTextFile(gate, "");
  assert.equal((await worker.ended).code, 0);
  assert.deepEqual([manager.count("READY=1"), manager.count("STOPPING=1")], [1, 1]);
});

Deno.test("run sends no heartbeats that are meant for another process, and none when nobody wants them", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm);
  await using manager = await NotifySocket.listen();
  await using worker = site.start(["run"], {
    env: { NOTIFY_SOCKET: manager.path, WATCHDOG_USEC: "1000", WATCHDOG_PID: "1" },
  });
  await manager.has("READY=1");
  await site.push("{}", 20);
  await eventually("the jobs have run", () => site.effectCount() === 20);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
  assert.equal(manager.count("WATCHDOG=1"), 0);
});

Deno.test("Jobs that are processes do not inherit the service manager's socket", async () => {
  await using site = await Site.create(undefined, {
    process: { command: ["sh", "-c", 'env >"$TEST_ENV_FILE"'] },
  });
  await using manager = await NotifySocket.listen();
  const file = `${site.directory}/env`;
  await site.push("{}");
  await using worker = site.start(["run"], {
    env: { NOTIFY_SOCKET: manager.path, WATCHDOG_USEC: "9000000", WATCHDOG_PID: "", TEST_ENV_FILE: file },
  });
  await eventually("the job has run", () => site.queueRows("SELECT 1 FROM fervo_jobs").length === 0);
  const env = await Deno.readTextFile(file);
  assert.match(env, /^FERVO_JOB_ID=1$/m);
  assert.doesNotMatch(env, /NOTIFY_SOCKET|WATCHDOG/);
  worker.kill("SIGTERM");
  await worker.ended;
});

Deno.test("run works without a service manager that can be told anything, and says so", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm);
  for (const socket of ["@abstract", "/nowhere/notify"]) {
    await using worker = site.start(["run"], { env: { NOTIFY_SOCKET: socket } });
    await worker.says("Consumer started");
    worker.kill("SIGTERM");
    const { code, stderr } = await worker.ended;
    assert.equal(code, 0);
    const warnings = stderr.match(/"msg":"Cannot notify the service manager"/g)?.length ?? 0;
    assert.equal(warnings, socket.startsWith("@") ? 1 : 0, stderr);
  }
});
