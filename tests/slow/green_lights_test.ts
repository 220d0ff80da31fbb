/** Jobs that do not move while everything is up: /readyz, metrics, status and the log say so, and only then. */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { eventually } from "../support/eventually.ts";
import { Site, type SiteOptions } from "../support/fervo_worker.ts";
import { ask } from "../support/http.ts";
import { RedisServer } from "../support/redis_server.ts";

/** Jobs are stuck after 30 s, which is seen within 5 s more, or 10 s; the machine is busy. */
const STUCK_LIMIT_MS = 90_000;

interface Lights {
  readonly ready: { readonly ok: boolean; readonly problems: readonly string[] };
  readonly liveStatus: number;
  readonly metrics: string;
  readonly status: {
    readonly consumers: readonly { readonly state: string; readonly reason: string | null }[];
    readonly brokers: readonly { readonly up: boolean; readonly orphans: number }[];
  };
}

/** A worker whose health can be asked. */
async function start(options: SiteOptions, prepare: (site: Site) => Promise<unknown>) {
  await using opened = new AsyncDisposableStack();
  const site = opened.use(await Site.create(undefined, { process: {}, ...options }));
  const at = `${site.directory}/http.sock`;
  await site.configure({ process: {}, http: { listen: at }, ...options });
  await prepare(site);
  const worker = opened.use(site.start(["run"]));
  await worker.says("Consumer started");
  const resources = opened.move();
  const lights = async (): Promise<Lights> => ({
    ready: JSON.parse((await ask(at, "/readyz")).body),
    liveStatus: (await ask(at, "/livez")).status,
    metrics: (await ask(at, "/metrics")).body,
    status: JSON.parse(await site.runOk(["status", "--json"])),
  });
  return {
    site,
    worker,
    lights,
    /** Resolves when /readyz says that something is wrong. */
    async turnsRed(): Promise<Lights> {
      const isRed = async () => (await ask(at, "/readyz")).status === 503;
      await eventually("/readyz is 503", isRed, STUCK_LIMIT_MS);
      return await lights();
    },
    async turnsGreen(): Promise<void> {
      await eventually(
        "/readyz is 200",
        async () => (await ask(at, "/readyz")).status === 200,
        STUCK_LIMIT_MS,
      );
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** What check says of stuck jobs. */
async function findings(site: Site): Promise<string> {
  const { stdout } = await site.run(["check", "--json"]);
  const all = JSON.parse(stdout) as { id: string; severity: string; what: string }[];
  const found = all.filter(({ id }) => id === "worker.stuck_jobs");
  return found.map(({ severity, what }) => `${severity} ${what}`).join("\n");
}

/** Another program keeps the queue's file locked. */
async function lockedQueue(): Promise<void> {
  await using t = await start({}, (site) => site.push("{}", 50));
  const { site, worker } = t;
  {
    using other = new DatabaseSync(site.queueFile, { timeout: 20_000 });
    other.exec("BEGIN IMMEDIATE");
    const { ready, liveStatus, metrics, status } = await t.turnsRed();
    assert.match(
      ready.problems.join("\n"),
      /^consumer "jobs": no job has been taken for \d+ s, though slots are free and "jobs" has jobs ready: \d+$/m,
    );
    assert.equal(liveStatus, 200);
    assert.ok(Number(/^fervo_consumer_starved_seconds\{consumer="jobs"\} (\S+)$/m.exec(metrics)![1]) >= 30);
    assert.match(metrics, /^fervo_broker_up\{broker="default"\} 1$/m);
    const [consumer] = status.consumers;
    assert.equal(consumer?.state, "starved");
    assert.match(String(consumer?.reason), /^no job has been taken for/);
    assert.match(await site.runOk(["status"]), /^Consumer "jobs" is starved: no job has been taken for/m);
    await worker.says('"msg":"Jobs are ready and slots are free, but the consumer takes no jobs"');
    assert.match(
      await findings(site),
      /^warning consumer "jobs" of the running worker \(\d+\): no job has been/m,
    );
    other.exec("ROLLBACK");
  }
  await t.turnsGreen();
  // Some run twice: they ran when the lock came, and their leases have ended.
  const ran = () => new Set(site.effects().map(({ job }) => job)).size;
  await eventually("all have run", () => ran() === 50, STUCK_LIMIT_MS);
  await worker.says('"msg":"The consumer takes jobs again, or no job is ready any more"');
}

/** Somebody has taken a right from the worker that it needs to take jobs, and none that it needs to look at them. */
async function withoutRights(): Promise<void> {
  await using redis = await RedisServer.start();
  const broker = { driver: "redis", url: redis.url };
  await using t = await start({ broker }, async () => {
    await redis.cli("ACL", "SETUSER", "default", "-lmove", "-blmove");
    await redis.cli("LPUSH", "queue:jobs", '{"class":"J","args":[],"jid":"1"}');
  });
  const { ready, status } = await t.turnsRed();
  assert.match(ready.problems.join("\n"), /^consumer "jobs": no job has been taken for \d+ s, .* ready: 1$/m);
  assert.deepEqual([status.consumers[0]?.state, status.brokers[0]?.up], ["starved", true]);
  await redis.cli("ACL", "SETUSER", "default", "+@all");
  await t.turnsGreen();
  await eventually("it has run", () => t.site.effectCount() === 1, STUCK_LIMIT_MS);
}

/** A job that Redis keeps for this worker, which knows nothing of it. */
async function orphan(): Promise<void> {
  await using redis = await RedisServer.start();
  // Within two leases it would look for such a job by itself.
  const broker = { driver: "redis", url: redis.url, lease_ms: 600_000 };
  await using t = await start({ broker }, () => redis.cli("PING"));
  const { worker } = t;
  let process: string | undefined;
  await eventually("the worker has said who it is", async () => {
    [process] = await redis.elements("SMEMBERS", "fervo:processes");
    return process !== undefined;
  });
  await redis.cli("LPUSH", `fervo:inflight:${process}:jobs`, '{"class":"J","args":[],"jid":"1"}');
  const { ready, liveStatus, metrics, status } = await t.turnsRed();
  assert.match(
    ready.problems.join("\n"),
    /^broker "default": it counts 1 job in flight that this worker does not have, for \d+ s$/m,
  );
  assert.equal(liveStatus, 200);
  assert.match(metrics, /^fervo_broker_orphans\{broker="default"\} 1$/m);
  assert.equal(status.brokers[0]?.orphans, 1);
  assert.match(
    await findings(t.site),
    /^warning broker "default" counts jobs in flight with .* does not have: 1/m,
  );
  await worker.says(
    '"msg":"The broker counts jobs in flight that this worker does not have; a restart puts them back"',
  );
  await redis.cli("DEL", `fervo:inflight:${process}:jobs`);
  await t.turnsGreen();
  await worker.says('"msg":"The broker no longer counts jobs in flight that this worker does not have"');
}

/** Jobs that wait for a good reason. */
const WAITING: readonly [why: string, options: SiteOptions, prepare: (site: Site) => Promise<unknown>][] = [
  ["the queue is paused", {}, async (site) => {
    await site.runOk(["pause", "jobs"]);
    await site.push("{}", 10);
  }],
  [
    "the rate limit is reached",
    { consumer: { rate_limit: 1, rate_period_ms: 3_600_000 } },
    (site) => site.push("{}", 10),
  ],
  ["all slots are busy", { consumer: { concurrency: 1, timeout_ms: 3_600_000 } }, async (site) => {
    const { directory } = site;
    await site.push(JSON.stringify({ wait_for: `${directory}/gate` }), 10);
  }],
  ["they are not due", {}, (site) => site.runOk(["push", "jobs", "{}", "--delay", "1h", "--count", "10"])],
];

/** Each waits for longer than jobs may be stuck, and all lights stay green. */
async function waiting(untilOthersAreRed: Promise<unknown>): Promise<void> {
  await Promise.all(WAITING.map(async ([why, options, prepare]) => {
    await using t = await start(options, prepare);
    await untilOthersAreRed;
    const { ready, metrics, status } = await t.lights();
    assert.deepEqual(ready, { ok: true, problems: [] }, why);
    assert.match(metrics, /^fervo_consumer_starved_seconds\{consumer="jobs"\} 0$/m, why);
    assert.deepEqual([status.consumers[0]?.state, status.brokers[0]?.orphans], ["running", 0], why);
    assert.match(await findings(t.site), /^ok no jobs are stuck/, why);
    assert.doesNotMatch(t.worker.stderr, /"level":"(?:warn|error)"/, why);
  }));
}

// At the same time, for each takes more than half a minute.
Deno.test("Jobs that do not move turn the lights red, and jobs that wait for a good reason do not", async () => {
  const red = Promise.all([lockedQueue(), withoutRights(), orphan()]);
  await Promise.all([red, waiting(red)]);
});
