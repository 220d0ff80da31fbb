import { raw } from "../../../src/formats/raw.ts";
import assert from "node:assert/strict";
import { createApp } from "../../../src/app/app.ts";
import { parseConfig } from "../../../src/config/load.ts";
import { systemClock } from "../../../src/core/time/clock.ts";
import { DEFAULT_SQLITE_OPTIONS, SqliteBroker } from "../../../src/brokers/sqlite/broker.ts";
import { parseAddress } from "../../../src/fastcgi/address.ts";
import { DEFAULT_POOL_OPTIONS, Pool } from "../../../src/fastcgi/pool.ts";
import { EventLog } from "../../support/event_log.ts";
import { eventually } from "../../support/eventually.ts";
import { PhpFpm, type PhpFpmOptions } from "../../support/php_fpm.ts";
import { HOLD, SAY_ACK } from "../../support/worker_site.ts";

/*
 * `concurrency = "auto"` on a real php-fpm: the number of jobs at the same time follows the pool, and no attempt is burnt
 * on the way.
 */

const SHORT_JOB = `usleep(5000); ${SAY_ACK}`;
const NEVER = new AbortController().signal;

interface Settings {
  /** Lines of the consumer, for more than the queue and "auto". */
  readonly consumers?: string;
  /** Lines of the pool. */
  readonly pool?: string;
  /** Of the queue's file: several workers with the same one share the queue. */
  readonly name?: string;
}

/** A whole worker, put together as the command does it, on that php-fpm. */
async function startWorker(fpm: PhpFpm, code: string, { consumers, pool, name = "queue" }: Settings = {}) {
  const script = await fpm.writeScript(`${name}.php`, `<?php ${code}`);
  const path = `${fpm.directory}/${name}.sqlite`;
  const hasStatusAddress = fpm.statusAddress !== fpm.address;
  const text = `
[brokers.default]
driver = "sqlite"
path = "${path}"
[fpm.default]
address = "${fpm.address}"
script = "${script}"
${
    pool ??
      `status_path = "${fpm.statusPath}"\n${
        hasStatusAddress ? `status_address = "${fpm.statusAddress}"` : ""
      }`
  }
${consumers ?? '[[consumers]]\nqueues = ["default"]\nconcurrency = "auto"'}
`;
  const config = await parseConfig(text, "fervo.toml", { env: () => undefined });
  await using opened = new AsyncDisposableStack();
  const driver = opened.use(
    SqliteBroker.open({ clock: systemClock, owner: "test", format: raw }, {
      ...DEFAULT_SQLITE_OPTIONS,
      path,
    }),
  );
  const log = new EventLog();
  const app = opened.use(await createApp(config, { clock: systemClock, observe: log.observe }));
  const running = app.worker.run({ untilEmpty: false });
  opened.defer(async () => {
    app.worker.stop();
    app.worker.stop();
    await running;
  });
  const resources = opened.move();
  let ended: Promise<void> | undefined;
  return {
    log,
    app,
    driver,
    /** Pushes so many jobs. */
    push: (count: number, queue = "default") =>
      Promise.all(Array.from({ length: count }, () => driver.push(queue, new Uint8Array(0)))),
    /** Resolves when there are so many slots, or when there were. */
    slots: (count: number) => log.next("slots_changed", ({ slots }) => slots === count),
    get slotsNow() {
      return log.of("slots_changed").at(-1)!.slots;
    },
    /** Keeps jobs waiting in the queue until `work` has ended; then all of them are done, each at its first try. */
    async busyWhile(work: () => Promise<void>) {
      let isOver = false;
      const working = work().finally(() => isOver = true);
      let pushed = 0;
      const done = () =>
        log.of("job_settled").filter(({ verdict: outcome }) => outcome.kind === "ack").length;
      while (!isOver) {
        if (pushed - done() < 500) pushed += (await this.push(500)).length;
        else {await Promise.race([
            working.catch(() => {}),
            log.count("job_settled", log.of("job_settled").length + 100),
          ]);}
      }
      await working;
      await eventually("all jobs are done", () => done() === pushed, 30_000);
      const failed = log.of("job_settled").filter(({ verdict: outcome, attempt }) =>
        attempt > 1 || outcome.kind === "retry" || outcome.kind === "bury"
      );
      assert.deepEqual(failed, []);
    },
    [Symbol.asyncDispose]: () => ended ??= resources.disposeAsync(),
  };
}

/** Children that somebody else keeps busy until the file `go` is there. */
async function occupy(fpm: PhpFpm, children: number): Promise<AsyncDisposable> {
  const script = await fpm.writeScript(
    "other.php",
    `<?php while (!file_exists(__DIR__ . '/go')) usleep(1000);`,
  );
  const pool = new Pool({ address: parseAddress(fpm.address), clock: systemClock }, {
    ...DEFAULT_POOL_OPTIONS,
    maxConnections: children,
  });
  const request = {
    params: [["REQUEST_METHOD", "GET"], ["SCRIPT_FILENAME", script], ["SCRIPT_NAME", "/other"]] as const,
    body: new Uint8Array(0),
  };
  const all = Array.from({ length: children }, () => pool.request(request, NEVER));
  return {
    async [Symbol.asyncDispose]() {
      await Deno.writeTextFile(`${fpm.directory}/go`, "");
      await Promise.all(all);
      await pool.close();
    },
  };
}

const began = async (fpm: PhpFpm) => {
  let count = 0;
  for await (const { name } of Deno.readDir(fpm.directory)) if (name.startsWith("began-")) count++;
  return count;
};

for (
  const [title, options] of [
    ["whose status page has an address of its own", { statusListen: true }],
    ["whose status page waits behind jobs", {}],
    ["over TCP", { statusListen: true, transport: "tcp" }],
    ["that makes its children as they are needed", {
      statusListen: true,
      poolLines: ["pm = ondemand"],
    }],
  ] as [string, PhpFpmOptions][]
) {
  Deno.test(`Worker with concurrency "auto" uses all 4 children of a pool ${title}`, async () => {
    await using fpm = await PhpFpm.start({ children: 4, ...options });
    await using worker = await startWorker(fpm, `${HOLD} ${SAY_ACK}`);
    await worker.push(8);
    await eventually("4 jobs run", async () => await began(fpm) === 4);
    await Deno.writeTextFile(`${fpm.directory}/go`, "");
    await worker.log.count(
      "job_settled",
      8,
      ({ verdict: outcome, attempt }) => outcome.kind === "ack" && attempt === 1,
    );
  });
}

Deno.test('Worker with concurrency "auto" follows a pool that is reloaded with more and with fewer children', async () => {
  await using fpm = await PhpFpm.start({ children: 4, statusListen: true });
  await using worker = await startWorker(fpm, SHORT_JOB);
  assert.equal(worker.slotsNow, 4);
  await worker.busyWhile(async () => {
    await worker.log.count("job_settled", 100);
    await fpm.reload({ children: 7 });
    await worker.slots(7);
    await fpm.reload({ children: 2 });
    await worker.log.next("slots_changed", ({ slots, reason }) => slots <= 2 && reason === "children");
  });
});

Deno.test('Worker with concurrency "auto" gives way to others, and comes back when they are gone', async () => {
  await using fpm = await PhpFpm.start({ children: 4, statusListen: true });
  await using worker = await startWorker(fpm, SHORT_JOB);
  await worker.busyWhile(async () => {
    await worker.log.count("job_settled", 100);
    const others = await occupy(fpm, 3);
    const { reason } = await worker.slots(1);
    assert.equal(reason, "others");
    const at = worker.log.events.length;
    await others[Symbol.asyncDispose]();
    await worker.log.until(
      "4 slots again",
      () => worker.log.events.slice(at).some((event) => event.type === "slots_changed" && event.slots === 4),
    );
  });
});

Deno.test('Workers with concurrency "auto" share a pool: one that comes later gets its part, and all attempts are first ones', async () => {
  await using fpm = await PhpFpm.start({ children: 6, statusListen: true });
  await using first = await startWorker(fpm, SHORT_JOB);
  await first.busyWhile(async () => {
    await first.log.count("job_settled", 100);
    await using second = await startWorker(fpm, SHORT_JOB, { name: "second" });
    assert.ok(second.slotsNow < 6);
    await second.busyWhile(async () => {
      await second.log.next("slots_changed", ({ slots }) => slots >= 2);
      await first.log.next("slots_changed", ({ slots, reason }) => slots <= 4 && reason === "others");
    });
  });
});

Deno.test('Worker with concurrency "auto" beside a fixed consumer leaves that one its children', async () => {
  await using fpm = await PhpFpm.start({ children: 5, statusListen: true });
  const consumers = `[[consumers]]
queues = ["default"]
concurrency = "auto"
[[consumers]]
queues = ["fixed"]
concurrency = 2`;
  await using worker = await startWorker(fpm, `${HOLD} ${SAY_ACK}`, { consumers });
  await worker.push(8);
  await eventually("3 jobs run", async () => await began(fpm) === 3);
  await worker.push(4, "fixed");
  await eventually("5 jobs run", async () => await began(fpm) === 5);
  await Deno.writeTextFile(`${fpm.directory}/go`, "");
  await worker.log.count("job_settled", 12, ({ verdict: outcome }) => outcome.kind === "ack");
});

Deno.test('Worker with concurrency "auto" has two consumers on one pool get their parts of it', async () => {
  await using fpm = await PhpFpm.start({ children: 4, statusListen: true });
  const consumers = `[[consumers]]
queues = ["default"]
concurrency = "auto"
[[consumers]]
queues = ["mail"]
concurrency = "auto"`;
  await using worker = await startWorker(fpm, SHORT_JOB, { consumers });
  await worker.push(400);
  await worker.log.count("job_settled", 50);
  await worker.push(100, "mail");
  await worker.log.count("job_settled", 100, ({ queue }) => queue === "mail");
  assert.ok(worker.log.of("job_settled").filter(({ queue }) => queue === "default").length < 400);
  await worker.log.count(
    "job_settled",
    500,
    ({ verdict: outcome, attempt }) => outcome.kind === "ack" && attempt === 1,
  );
});

Deno.test('Worker with concurrency "auto" and no status page uses the children that the configuration tells', async () => {
  await using fpm = await PhpFpm.start({ children: 3 });
  await using worker = await startWorker(fpm, `${HOLD} ${SAY_ACK}`, { pool: "children = 3" });
  await worker.push(6);
  await eventually("3 jobs run", async () => await began(fpm) === 3);
  await Deno.writeTextFile(`${fpm.directory}/go`, "");
  await worker.log.count("job_settled", 6, ({ verdict: outcome }) => outcome.kind === "ack");
});

Deno.test('Worker with concurrency "auto" that starts while php-fpm is away takes the pool when it comes', async () => {
  await using fpm = await PhpFpm.start({ children: 4, statusListen: true });
  await fpm.stop();
  await using worker = await startWorker(fpm, SHORT_JOB);
  assert.equal(worker.slotsNow, 1);
  await worker.busyWhile(async () => {
    await worker.log.next("consumer_paused");
    await fpm.restart();
    await worker.slots(4);
  });
});
