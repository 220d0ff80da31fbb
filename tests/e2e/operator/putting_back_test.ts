/**
 * What an operator sees when jobs are cut off, by every way to stop or change a worker: with `kill_on_timeout` no job ever
 * runs beside itself. Each run holds a lock while its PHP process lives, and writes down whether it was free.
 */
import assert from "node:assert/strict";
import { eventually } from "../../support/eventually.ts";
import { type RunningCommand, Site, type SiteOptions } from "../../support/fervo_worker.ts";
import { PhpFpm } from "../../support/php_fpm.ts";

const QUEUE = "SELECT state, attempts FROM fervo_jobs";

async function start({ killOnTimeout = true, isBatch = false } = {}) {
  await using opened = new AsyncDisposableStack();
  const fpm = opened.use(await PhpFpm.start({ children: 8, statusListen: true }));
  const file = (name: string) => `${fpm.directory}/${name}`;
  const script = await fpm.writeScript(
    "job.php",
    `<?php
    ignore_user_abort(true);
    $id = $_SERVER['FERVO_JOB_ID'] ?? json_decode(fgets(fopen('php://input', 'r')), true)['id'];
    $lock = fopen('${file("lock-")}' . $id, 'c');
    $isFree = flock($lock, LOCK_EX | LOCK_NB);
    $repeat = isset($_SERVER['FERVO_REPEAT']) ? ' repeat' : '';
    file_put_contents('${file("runs")}', ($isFree ? 'alone' : 'beside') . "$repeat\\n", FILE_APPEND);
    for ($i = 0; $i < 6000 && !file_exists('${file("go")}'); $i++) usleep(10000);
    if (isset($_SERVER['FERVO_BATCH'])) {
      header('X-Fervo-Outcome: batch');
      echo "\\x1e", json_encode(['id' => $id, 'outcome' => 'ack']), "\\n";
    } else header('X-Fervo-Outcome: ack');`,
  );
  const options = (more: SiteOptions = {}): SiteOptions => ({
    ...more,
    fpm: {
      script,
      status_path: fpm.statusPath,
      status_address: fpm.statusAddress!,
      kill_on_timeout: killOnTimeout,
    },
    consumer: { ...(isBatch ? { batch_size: 2, concurrency: 1 } : { concurrency: 2 }), ...more.consumer },
    top: { shutdown_timeout_ms: 600_000, ...more.top },
  });
  const site = opened.use(await Site.create(fpm, options()));
  // What still runs holds up the end of php-fpm.
  opened.defer(() => Deno.writeTextFile(file("go"), ""));
  const resources = opened.move();
  const runs = async () =>
    (await Deno.readTextFile(file("runs")).catch(() => "")).split("\n").filter(Boolean);
  return {
    site,
    runs,
    configure: (more?: SiteOptions) => site.configure(options(more)),
    went: (count: number) =>
      eventually(`${count} runs have begun`, async () => (await runs()).length === count),
    /** Lets all runs end from now on. */
    go: () => Deno.writeTextFile(file("go"), ""),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

type Started = Awaited<ReturnType<typeof start>>;

/** Every way to cut jobs off that ends the worker. */
const WAYS: readonly [
  how: string,
  end: (worker: RunningCommand, t: Started) => Promise<void>,
  top?: SiteOptions["top"],
][] = [
  ["the shutdown timeout", (worker) => Promise.resolve(worker.kill("SIGTERM")), { shutdown_timeout_ms: 100 }],
  ["a second signal", async (worker) => {
    worker.kill("SIGTERM");
    await worker.says('"msg":"Stopping');
    worker.kill("SIGINT");
  }],
  ["stop --now", async (_, { site }) => void await site.runOk(["stop", "--now", "--wait"])],
];

for (const [how, end, top] of WAYS) {
  for (const isBatch of [false, true]) {
    Deno.test(`A job that ${how} cuts off never runs beside itself (${isBatch ? "in a batch" : "alone"})`, async () => {
      await using t = await start({ isBatch });
      await t.configure({ top: { ...top } });
      await t.site.push("{}", 2);
      await using worker = t.site.start(["run"]);
      await t.went(isBatch ? 1 : 2);
      await end(worker, t);
      assert.equal((await worker.ended).code, 0, worker.stderr);
      assert.deepEqual(
        t.site.queueRows(QUEUE).map((row) => ({ ...row })),
        Array(2).fill({ state: "ready", attempts: 0 }),
      );
      assert.match(
        worker.stderr,
        /"level":"warn".*"pid":\d+,"msg":"Ended the PHP process of the job that was cut off"/,
      );
      assert.doesNotMatch(worker.stderr, /may run on/);
      await t.go();
      await t.site.runOk(["run", "--until-empty"]);
      assert.deepEqual(new Set(await t.runs()), new Set(["alone"]));
    });
  }
}

Deno.test("A job that a reload cuts off never runs beside itself", async () => {
  await using t = await start();
  await t.configure({ top: { shutdown_timeout_ms: 100 } });
  await t.site.push("{}");
  await using worker = t.site.start(["run"]);
  await t.went(1);
  await t.configure({ top: { shutdown_timeout_ms: 100 }, consumer: { concurrency: 3 } });
  await t.site.runOk(["reload", "--wait"]);
  await t.went(2);
  await t.go();
  await eventually("the job is done", () => t.site.queueRows(QUEUE).length === 0);
  assert.deepEqual(await t.runs(), ["alone", "alone"]);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});

Deno.test("Without kill_on_timeout the log says of a job that is put back that PHP may run on, and its next run is told", async () => {
  await using t = await start({ killOnTimeout: false });
  await t.configure({ top: { shutdown_timeout_ms: 100 } });
  await t.site.push("{}");
  await using worker = t.site.start(["run"]);
  await t.went(1);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
  assert.match(
    worker.stderr,
    /"level":"warn".*"msg":"Job put back; its process may still run, and the next run may overlap with it"/,
  );
  await using next = t.site.start(["run"]);
  await t.went(2);
  assert.deepEqual(await t.runs(), ["alone", "beside repeat"]);
  await t.go();
  await eventually("the job is done", () => t.site.queueRows(QUEUE).length === 0);
  next.kill("SIGTERM");
  await next.ended;
});

Deno.test("The next run of a job is told that its worker was killed while PHP ran it", async () => {
  await using t = await start();
  await t.configure({ broker: { lease_ms: 1_000 } });
  await t.site.push("{}");
  {
    await using worker = t.site.start(["run"]);
    await t.went(1);
    worker.kill("SIGKILL");
    await worker.ended;
  }
  await using next = t.site.start(["run"]);
  await t.went(2);
  assert.deepEqual(await t.runs(), ["alone", "beside repeat"]);
  next.kill("SIGTERM");
  await t.go();
  assert.equal((await next.ended).code, 0);
});

/** Whether a process runs: one that has ended, and whose parent has not noticed, does not. */
function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(Deno.readTextFileSync(`/proc/${pid}/stat`));
  } catch {
    return false;
  }
}

Deno.test("A process that is cut off has ended, with all that it started, before its job is put back", async () => {
  await using site = await Site.create(undefined, {
    top: { shutdown_timeout_ms: 100 },
    process: { command: ["/bin/sh", "job"], kill_after_ms: 1_000 },
  });
  // A child that obeys no SIGTERM, and outlives its parent, which does.
  await Deno.writeTextFile(
    `${site.directory}/job`,
    `(trap '' TERM; while sleep 0.01; do :; done) & echo $! > child; wait\n`,
  );
  await site.configure({
    top: { shutdown_timeout_ms: 100 },
    process: { command: ["/bin/sh", "job"], directory: site.directory, kill_after_ms: 1_000 },
  });
  await site.push("{}");
  await using worker = site.start(["run"]);
  const childFile = `${site.directory}/child`;
  const read = () => Deno.readTextFile(childFile).catch(() => "");
  await eventually("the child runs", async () => (await read()).endsWith("\n"));
  const child = Number(await read());
  worker.kill("SIGTERM");
  await eventually("the job is put back", () => {
    const isBack = site.queueRows(QUEUE)[0]!["state"] === "ready";
    if (isBack) assert.equal(isRunning(child), false);
    return isBack;
  });
  assert.equal((await worker.ended).code, 0);
  assert.doesNotMatch(worker.stderr, /may run on/);
});
