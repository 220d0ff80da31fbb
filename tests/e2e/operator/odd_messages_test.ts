/** Messages and data that nobody should have written, as an operator meets them: all else goes on, and all can be looked at. */
import assert from "node:assert/strict";
import { Beanstalkd } from "../../support/beanstalkd.ts";
import { eventually } from "../../support/eventually.ts";
import { Site, type SiteOptions } from "../../support/fervo_worker.ts";
import { RedisServer } from "../../support/redis_server.ts";

/** A site whose jobs run as processes, each leaving its id as a line in the file `ran`. */
async function noteSite(broker: NonNullable<SiteOptions["broker"]>): Promise<Site> {
  const site = await Site.create(undefined, { broker });
  const command = ["sh", "-c", 'echo "$FERVO_JOB_ID" >> "$0"', `${site.directory}/ran`];
  await site.configure({ broker, process: { command } });
  return site;
}

async function ran(site: Site): Promise<string[]> {
  const text = await Deno.readTextFile(`${site.directory}/ran`).catch(() => "");
  return text.split("\n").filter((line) => line !== "").sort();
}

/** Every command that only looks ends well, as text and as JSON. */
async function lookAtAll(site: Site, letters: number): Promise<void> {
  for (
    const args of [["queues"], ["dead", "list", "--limit", "1000"], ["pause", "jobs"], ["resume", "jobs"]]
  ) {
    await site.runOk(args);
  }
  await site.runOk(["queues", "--json"]);
  const all = JSON.parse(await site.runOk(["dead", "list", "--json", "--limit", "1000"]));
  assert.equal(all.length, letters);
  for (const { id } of all) {
    await site.runOk(["dead", "show", id]);
    await site.runOk(["dead", "show", id, "--json"]);
  }
}

Deno.test("On Redis, odd numbers, times, names and scores keep no other job from running, and no command from its end", async () => {
  await using redis = await RedisServer.start();
  await using site = await noteSite({ driver: "redis", url: redis.url, lease_ms: 10_000 });
  const numbers = ["1e300", "-1e300", "1e999", "9007199254740993", "-1", "null", '"x"', "[]", "1.5e-300"];
  const fields = [
    "created_at",
    "enqueued_at",
    "failed_at",
    "retried_at",
    "retry_count",
    "retry",
    "retry_for",
  ];
  const jobs = fields.flatMap((name) => numbers.map((number) => `"${name}":${number}`));
  jobs.push(
    `"queue":"${"x".repeat(100_000)}"`,
    '"queue":"\\ud800"',
    '"tags":9007199254740993',
    '"fervo_recovered":1e300,"retry":0',
    `"x":${"[".repeat(40_000)}${"]".repeat(40_000)}`,
    '"traceparent":5,"tracestate":[]',
  );
  const job = (id: string, more: string) => `{"class":"X","args":[],"jid":"${id}",${more}}`;
  const pushes = jobs.map((more, i) => ["LPUSH", "queue:jobs", job(`job${i}`, more)]);
  // Dead letters and scheduled jobs of others, with scores that are no dates.
  const scores = ["inf", "-inf", "1e300", "-1e300", "9e15", "-5"];
  for (const [i, score] of scores.entries()) {
    pushes.push(["ZADD", "dead", score, job(`dead${i}`, '"error_class":5,"error_message":[]')]);
  }
  for (const score of ["inf", "1e300", "9e15"]) {
    pushes.push(["ZADD", "schedule", score, job(`s${score}`, '"queue":"jobs"')]);
  }
  pushes.push(["ZADD", "schedule", "-inf", job("past", '"queue":"jobs"')]);
  pushes.push(["ZADD", "schedule", "1", job("stuck", '"queue":"foreign"')], [
    "SET",
    "queue:foreign",
    "a text",
  ]);
  pushes.push(["SADD", "queues", "foreign", "", "odd\n\x1b[2J name"], ["SADD", "paused", "odd\n name", ""]);
  pushes.push(["SADD", "processes", "no process"], ["SADD", "fervo:processes", "no process", "a:1:b"]);
  pushes.push(["HSET", "fervo:suspects", "a:1:b", "no number"], ["HSET", "fervo:schedule", "x", "no number"]);
  for (const push of pushes) await redis.cli(...push);
  await using worker = site.start(["run"]);
  const expected = [...jobs.map((_, i) => `job${i}`), "past"].sort();
  await eventually("all have run", async () => (await ran(site)).length >= expected.length, 60_000);
  assert.deepEqual(await ran(site), expected);
  await lookAtAll(site, scores.length);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
  assert.match(worker.stderr, /the key \\"queue:foreign\\" holds data that is not Sidekiq's/);
  assert.doesNotMatch(worker.stderr, /fault in fervo-worker/);
  const letter = await site.run(["dead", "retry", "--all", "--yes"]);
  assert.deepEqual([letter.code, letter.stdout], [0, `Retried ${scores.length} jobs\n`]);
});

Deno.test("On beanstalkd, odd envelopes are dead letters that can be looked at, and the others run", async () => {
  await using server = await Beanstalkd.start();
  await using site = await noteSite({
    driver: "beanstalkd",
    address: server.addressText,
    format: "envelope",
  });
  using client = await server.client();
  const good = ['"attempts":9007199254740991', '"enqueued_at":1e300', '"enqueued_at":-1e300', '"id":null'];
  const bad = [
    '"attempts":1e300',
    '"attempts":-1',
    '"enqueued_at":1e999',
    '"id":5',
    `"id":"${"x".repeat(300)}"`,
  ];
  for (const more of [...good, ...bad]) await client.put("jobs", `{"fervo":1,"payload":"",${more}}`);
  for (const text of ["null", "5", "", "{", "[".repeat(50_000)]) await client.put("jobs", text);
  await using worker = site.start(["run"]);
  await eventually("all are settled", async () => {
    const [row] = JSON.parse(await site.runOk(["queues", "--json"]));
    return row.ready + row.reserved === 0 && row.dead === bad.length + 5;
  }, 60_000);
  assert.equal((await ran(site)).length, good.length);
  await lookAtAll(site, bad.length + 5);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});
