/**
 * Long jobs behind a firewall that forgets connections on which nothing is sent, as an operator meets them: the answer
 * comes, the job is settled, and a server that has gone is noticed. Servers, worker and firewall have a network each.
 */
import assert from "node:assert/strict";
import { parseAddress } from "../../src/fastcgi/address.ts";
import { Beanstalkd } from "../support/beanstalkd.ts";
import { eventually } from "../support/eventually.ts";
import { Site, type SiteOptions } from "../support/fervo_worker.ts";
import { ForgetfulFirewall } from "../support/forgetful_firewall.ts";
import { Forwarder } from "../support/forwarder.ts";
import { PhpFpm } from "../support/php_fpm.ts";
import { RedisServer } from "../support/redis_server.ts";
import { RedisTls } from "../support/redis_tls.ts";

const FORGETS_AFTER_S = 5;
/** Longer than what the firewall remembers, and what it takes to notice that it was forgotten. */
const JOB_S = 7;
const TLS_PORT = 6380;
const KEEPALIVE = { keepalive_ms: 2_000 };
const BROKERS = KEEPALIVE;
/** Two seconds more than the job takes: an answer that was dropped does not come by being sent again. */
const ONCE: SiteOptions = { consumer: { timeout_ms: (JOB_S + 2) * 1_000 }, retry: { attempts: 1 } };

/** A line a run; works in silence until the time is up. */
const WORK = `<?php
  file_put_contents(__DIR__ . '/runs', "{$_SERVER['FERVO_JOB_ID']}\\n", FILE_APPEND | LOCK_EX);
  sleep(${JOB_S});
  header('X-Fervo-Outcome: ack');`;
/** The same until the file "go" is there. */
const HOLD = WORK.replace(/sleep.*;/, "while (!file_exists(__DIR__ . '/go')) usleep(1000);");

const WHY_NOT = await ForgetfulFirewall.whyImpossible();

/** A test that needs the firewall. */
function behindFirewall(name: string, test: (firewall: ForgetfulFirewall) => Promise<void>): void {
  if (WHY_NOT !== undefined) return;
  Deno.test(name, async () => {
    await using firewall = await ForgetfulFirewall.start({ forgetsAfterS: FORGETS_AFTER_S });
    await test(firewall);
  });
}

async function startFpm({ servers }: ForgetfulFirewall, code: string): Promise<PhpFpm> {
  const fpm = await PhpFpm.start({ network: servers, statusListen: true, children: 4 });
  await fpm.writeScript("job.php", code);
  return fpm;
}

async function runsOf(fpm: PhpFpm): Promise<number> {
  const text = await Deno.readTextFile(`${fpm.directory}/runs`).catch(() => "");
  return text.split("\n").length - 1;
}

const scriptOf = (fpm: PhpFpm) => ({ script: `${fpm.directory}/job.php` });

if (WHY_NOT !== undefined) {
  Deno.test(`A job is silent for longer than a firewall remembers: only simulated here, for there are ${WHY_NOT}`, async () => {
    await using fpm = await PhpFpm.start({ transport: "tcp" });
    await fpm.writeScript("job.php", WORK);
    await using between = await Forwarder.start(parseAddress(fpm.address), {
      forgetsAfterMs: FORGETS_AFTER_S * 1_000,
    });
    const address = { ...scriptOf(fpm), address: between.address };
    await using site = await Site.create(fpm, { ...ONCE, fpm: { ...address, keepalive_ms: 0 } });
    await site.push("");
    assert.match((await site.run(["run", "--until-empty"])).stderr, /JOB_TIMEOUT/);
    await site.configure({ ...ONCE, fpm: { ...address, ...KEEPALIVE } });
    await site.push("");
    assert.doesNotMatch((await site.run(["run", "--until-empty"])).stderr, /JOB_TIMEOUT/);
  });
}

behindFirewall(
  "A job that is silent for longer than the firewall remembers gets its answer, and without keepalive_ms does not",
  async (firewall) => {
    await using fpm = await startFpm(firewall, WORK);
    const run = async (keepalive: { keepalive_ms: number }) => {
      await using site = await Site.create(fpm, { ...ONCE, fpm: { ...scriptOf(fpm), ...keepalive } });
      await site.push("");
      const { stderr } = await site.run(["run", "--until-empty"], { shell: firewall.shell });
      return { stderr, states: site.queueRows("SELECT state FROM fervo_jobs").map(({ state }) => state) };
    };
    // Both at once, for what they wait for is the time.
    const [kept, silent] = await Promise.all([run(KEEPALIVE), run({ keepalive_ms: 0 })]);
    assert.deepEqual(kept.states, [], kept.stderr);
    assert.deepEqual(silent.states, ["dead"], silent.stderr);
    assert.match(silent.stderr, /JOB_TIMEOUT/);
    assert.equal(await runsOf(fpm), 2);
  },
);

for (const transport of ["TCP", "TLS"]) {
  behindFirewall(
    `A worker's connections to Redis last as long as its jobs, and the kernel watches over each (${transport})`,
    async (firewall) => {
      const { host } = firewall.servers;
      await using fpm = await startFpm(firewall, WORK);
      await using tls = await RedisTls.create(host);
      const config = tls.config(TLS_PORT);
      await using redis = await RedisServer.start({ network: firewall.servers, config });
      const address = transport === "TLS"
        ? { url: `rediss://${host}:${TLS_PORT}`, ca_file: tls.caFile }
        : { url: `redis://${redis.hostPort}` };
      await using site = await Site.create(fpm, {
        consumer: { ...ONCE.consumer, concurrency: 1 },
        fpm: { ...scriptOf(fpm), ...KEEPALIVE },
        broker: { driver: "redis", ...address, ...BROKERS },
      });
      await using worker = site.start(["run"], { shell: firewall.shell });
      for (let runs = 1; runs <= 2; runs++) {
        // It comes by a connection that waits, and is silent while the job runs.
        await eventually("it waits", async () => (await redis.cli("CLIENT", "LIST")).includes("cmd=blmove"));
        await redis.cli("LPUSH", "queue:jobs", '{"class":"Report","args":[1]}');
        await eventually("the job runs", async () => await runsOf(fpm) === runs);
        const connections = await firewall.connections();
        assert.ok(connections.length >= 3, connections.join("\n"));
        for (const line of connections) assert.match(line, /timer:\((keepalive|on),/);
        await eventually("it is settled", async () => (await redis.cli("KEYS", "fervo:inflight:*")) === "");
      }
      worker.kill("SIGTERM");
      const { code, stderr } = await worker.ended;
      assert.equal(code, 0);
      assert.doesNotMatch(stderr, /QUEUE_UNAVAILABLE|LEASE_LOST|"level":"(warn|error)"/);
      assert.equal(await runsOf(fpm), 2);
    },
  );
}

behindFirewall(
  "A beanstalkd gets the end of a job whose time to run would let the connection be silent",
  async (firewall) => {
    await using fpm = await startFpm(firewall, WORK);
    await using beanstalkd = await Beanstalkd.start({ network: firewall.servers });
    await using site = await Site.create(fpm, {
      ...ONCE,
      consumer: { ...ONCE.consumer, concurrency: 1 },
      fpm: { ...scriptOf(fpm), ...KEEPALIVE },
      broker: { driver: "beanstalkd", address: beanstalkd.addressText, ttr_ms: 3_600_000, ...BROKERS },
    });
    const { shell } = firewall;
    await site.runOk(["push", "jobs", "x"], { shell });
    await using worker = site.start(["run"], { shell });
    await eventually("it is settled", async () => {
      const [{ ready, delayed, reserved }] = JSON.parse(await site.runOk(["queues", "--json"], { shell }));
      return ready + delayed + reserved === 0;
    });
    worker.kill("SIGTERM");
    const { code, stderr } = await worker.ended;
    assert.equal(code, 0, stderr);
    assert.doesNotMatch(stderr, /QUEUE_UNAVAILABLE|LEASE_LOST/);
    assert.equal(await runsOf(fpm), 1);
  },
);

behindFirewall(
  "A php-fpm that is gone without a word is noticed while a job waits for its answer, which costs no attempt",
  async (firewall) => {
    await firewall.giveUpAfter(2);
    await using fpm = await startFpm(firewall, HOLD);
    await using site = await Site.create(fpm, {
      consumer: { timeout_ms: 3_600_000, pause_max_ms: 50 },
      retry: { attempts: 1 },
      fpm: { ...scriptOf(fpm), connect_timeout_ms: 500, ...KEEPALIVE },
    });
    await site.push("");
    await using worker = site.start(["run"], { shell: firewall.shell });
    await eventually("it runs", async () => await runsOf(fpm) === 1);
    await firewall.breakDown();
    await worker.says("FASTCGI_CONNECT");
    const [job] = site.queueRows("SELECT state, attempts FROM fervo_jobs");
    assert.notEqual(job!["state"], "dead");
    await Deno.writeTextFile(`${fpm.directory}/go`, "");
    await firewall.mend();
    await eventually("it is done", () => site.queueRows("SELECT 1 FROM fervo_jobs").length === 0);
    worker.kill("SIGTERM");
    assert.equal((await worker.ended).code, 0);
    assert.equal(await runsOf(fpm), 2);
  },
);
