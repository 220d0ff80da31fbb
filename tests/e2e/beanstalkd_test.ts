/** The binary on a real beanstalkd, with jobs that PHP has put. */
import assert from "node:assert/strict";
import { Beanstalkd } from "../support/beanstalkd.ts";
import { eventually } from "../support/eventually.ts";
import { Site, type SiteOptions } from "../support/fervo_worker.ts";
import { PhpFpm } from "../support/php_fpm.ts";
import { SeededRandom } from "../support/seeded_random.ts";

const PRODUCER = new URL("./beanstalkd_producer.php", import.meta.url).pathname;

async function putFromPhp(server: Beanstalkd, bodies: readonly string[], tube = "jobs"): Promise<string[]> {
  const php = new Deno.Command("php", {
    args: [PRODUCER, server.addressText, tube, "1024", "0", "60", ...bodies],
  });
  const { success, stdout, stderr } = await php.output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout).trim().split("\n");
}

function on(server: Beanstalkd, options: SiteOptions = {}): SiteOptions {
  return { ...options, broker: { driver: "beanstalkd", address: server.addressText, ...options.broker } };
}

Deno.test("Jobs that PHP put into beanstalkd are run, retried and buried; dead letters are listed, retried, removed", async () => {
  await using server = await Beanstalkd.start();
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm, on(server, { retry: { attempts: 2 } }));
  const [good, flaky, bad, worse] = await putFromPhp(server, [
    "not JSON: ä \r\n",
    '{"fail_until":1}',
    '{"fail_until":9,"name":"bad"}',
    '{"fail_until":9,"name":"worse"}',
  ]);
  {
    await using worker = site.start(["run"]);
    await eventually("all are settled", async () => {
      const [row] = JSON.parse(await site.runOk(["queues", "--json"]));
      return row.ready + row.delayed + row.reserved === 0 && row.dead === 2;
    });
    worker.kill("SIGTERM");
    assert.equal((await worker.ended).code, 0);
  }
  const attempts = (id: string) =>
    site.effects().filter(({ job }) => job === id).map(({ attempt }) => attempt);
  assert.deepEqual([good!, flaky!, bad!, worse!].map(attempts), [[1], [1, 2], [1, 2], [1, 2]]);
  assert.ok(site.payloads().includes("not JSON: ä \r\n"));

  const letters = JSON.parse(await site.runOk(["dead", "list", "--json"]));
  assert.deepEqual(letters.map(({ id, attempts }: { id: string; attempts: number }) => [id, attempts]), [
    [worse, 2],
    [bad, 2],
  ]);
  assert.equal(letters[0].payload, '{"fail_until":9,"name":"worse"}');
  assert.match(await site.runOk(["dead", "list"]), /^ID .*\n.*\bbeanstalkd stores no errors/);
  assert.match(await site.runOk(["dead", "show", bad!]), /^Died: +\(unknown\)$/m);
  assert.equal(await site.runOk(["dead", "remove", worse!]), "Removed 1 job\n");
  assert.equal(await site.runOk(["dead", "retry", "--all", "--yes"]), "Retried 1 job\n");
  await site.runOk(["run", "--until-empty"], { exitCode: 5 });
  const last = site.effects().slice(-2);
  assert.deepEqual(last.map(({ attempt }) => attempt), [1, 2], "a new job, with all its tries");
  assert.notEqual(last[0]?.job, bad);
});

Deno.test("push writes jobs that other programs can reserve, and says what beanstalkd cannot do", async () => {
  await using server = await Beanstalkd.start();
  await using site = await Site.create(undefined, on(server));
  const { ids } = JSON.parse(
    await site.runOk(["push", "jobs", "hello", "--priority", "24", "--delay", "90s", "--json"]),
  );
  using client = await server.client();
  const job = await client.job(ids[0]);
  assert.deepEqual([job?.["tube"], job?.["pri"], job?.["delay"], job?.["ttr"]], ["jobs", "1000", "90", "60"]);
  assert.equal(await client.ask(`peek ${ids[0]}\r\n`), `FOUND ${ids[0]} 5\r\nhello\r\n`);

  const refused = await site.run(["push", "jobs", "hello", "--attempts", "3"]);
  assert.equal(refused.code, 1);
  assert.match(
    refused.stderr,
    /beanstalkd stores no headers and no attempt limit .* use the message format "envelope"/,
  );
  const colon = await site.run(["push", "a:b", "hello"]);
  assert.equal(colon.code, 3);
  assert.match(colon.stderr, /Cannot use the queue "a:b": beanstalkd's tubes have/);
  const big = await site.run(["push", "jobs", "-"], { stdin: new Uint8Array(8_000_001) });
  assert.equal(big.code, 1);
  assert.match(big.stderr, /8000001 bytes, more than beanstalkd accepts; start it with a larger -z/);

  await site.configure(on(server, { broker: { format: "envelope" } }));
  const limited = JSON.parse(await site.runOk(["push", "jobs", "hello", "--attempts", "3", "--json"])).ids[0];
  assert.match(await client.ask(`peek ${limited}\r\n`), /"attempts":3/);
});

Deno.test("check and run say when beanstalkd is not there, and run goes on when it is", async () => {
  await using server = await Beanstalkd.start();
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await Site.create(fpm, on(server, { consumer: { pause_max_ms: 200 } }));
  assert.match((await site.run(["check"])).stdout, /ok +brokers.default: reached/);
  await server.kill();
  const { code, stdout } = await site.run(["check"]);
  assert.equal(code, 4);
  assert.match(stdout, /Cannot connect to beanstalkd at ".*": connection refused; is it running\?/);
  await using worker = site.start(["run"]);
  await worker.says("connection refused; is it running?");
  await server.restart();
  const [id] = await putFromPhp(server, ["job"]);
  await eventually("the job is run", () => site.effects().some(({ job }) => job === id));
});

const SEED = 11;
Deno.test(`Workers and beanstalkd killed with SIGKILL in turn lose no job (seed ${SEED})`, async () => {
  const JOBS = 400, CONCURRENCY = 4, ROUNDS = 4;
  const random = new SeededRandom(SEED);
  await using server = await Beanstalkd.start();
  await using fpm = await PhpFpm.start({ children: 3 * CONCURRENCY });
  await using site = await Site.create(
    fpm,
    on(server, {
      consumer: { concurrency: CONCURRENCY, pause_max_ms: 100 },
      retry: { attempts: 2 * ROUNDS + 1 },
    }),
  );
  const ids = await putFromPhp(server, Array.from({ length: JOBS }, () => '{"sleep_ms":2}'));
  for (let round = 0; round < ROUNDS; round++) {
    await using worker = site.start(["run"]);
    for (const kill of [() => server.restart(), () => Promise.resolve(worker.kill("SIGKILL"))]) {
      const killAt = site.effectCount() + 5 + random.below(JOBS / ROUNDS / 3);
      await eventually(`${killAt} jobs have run`, () => site.effectCount() >= killAt);
      await kill();
    }
    await worker.ended;
  }
  await site.runOk(["run", "--until-empty"]);
  const runs = new Map<string, number>();
  for (const { job } of site.effects()) runs.set(job, (runs.get(job) ?? 0) + 1);
  assert.deepEqual(ids.filter((id) => !runs.has(id)), []);
  const repeated = site.effectCount() - JOBS;
  assert.ok(repeated > 0, "no kill hit a job under way: the test proves nothing");
  assert.ok(repeated <= 2 * ROUNDS * 2 * CONCURRENCY, `${repeated} repetitions, more than were in flight`);
  const [row] = JSON.parse(await site.runOk(["queues", "--json"]));
  assert.deepEqual([row.ready, row.delayed, row.reserved, row.dead], [0, 0, 0, 0]);
});
