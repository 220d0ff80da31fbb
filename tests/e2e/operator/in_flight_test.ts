/** What is in flight, as an operator sees it: bounded in bytes on every broker, and never at the broker alone. */
import assert from "node:assert/strict";
import { Beanstalkd } from "../../support/beanstalkd.ts";
import { eventually } from "../../support/eventually.ts";
import { Site, type SiteOptions } from "../../support/fervo_worker.ts";
import { RedisServer } from "../../support/redis_server.ts";

const PAYLOAD_BYTES = 100_000;
const JOBS = 10;

/** A site whose jobs run as processes, each of which ends when the file `go` is there. */
async function holdingSite(broker?: NonNullable<SiteOptions["broker"]>): Promise<Site> {
  const site = await Site.create(undefined, broker && { broker });
  const wait =
    'cat >/dev/null; echo "$FERVO_JOB_ID" >> "$0/ran"; while [ ! -e "$0/go" ]; do sleep 0.02; done';
  await site.configure({
    ...(broker && { broker }),
    process: { command: ["sh", "-c", wait, site.directory] },
    consumer: { concurrency: 8, max_in_flight_bytes: 250_000 },
  });
  return site;
}

async function depth(site: Site): Promise<{ ready: number; reserved: number; dead: number }> {
  const rows = JSON.parse(await site.runOk(["queues", "--json"]));
  return rows.find(({ queue }: { queue: string }) => queue === "jobs");
}

async function ran(site: Site): Promise<string[]> {
  const text = await Deno.readTextFile(`${site.directory}/ran`).catch(() => "");
  return text.split("\n").filter((line) => line !== "");
}

async function isBounded(site: Site): Promise<void> {
  await using worker = site.start(["run"]);
  await eventually("three jobs run", async () => (await ran(site)).length >= 3, 60_000);
  // Two further looks of the worker, which has five slots free.
  for (let look = 0; look < 2; look++) {
    const { ready, reserved } = await depth(site);
    assert.deepEqual([ready, reserved], [JOBS - 3, 3]);
  }
  await Deno.writeTextFile(`${site.directory}/go`, "");
  await eventually(
    "all are done",
    async () => (await depth(site)).ready + (await depth(site)).reserved === 0,
    60_000,
  );
  assert.equal(new Set(await ran(site)).size, JOBS);
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
}

Deno.test("max_in_flight_bytes bounds what is in flight on the embedded queue", async () => {
  await using site = await holdingSite();
  await site.push("x".repeat(PAYLOAD_BYTES), JOBS);
  await isBounded(site);
});

Deno.test("max_in_flight_bytes bounds what is in flight on beanstalkd", async () => {
  await using server = await Beanstalkd.start();
  await using site = await holdingSite({ driver: "beanstalkd", address: server.addressText });
  await site.push("x".repeat(PAYLOAD_BYTES), JOBS);
  await isBounded(site);
});

Deno.test("max_in_flight_bytes bounds what is in flight on Redis, and what a worker does not hold comes back", async () => {
  await using redis = await RedisServer.start();
  await using site = await holdingSite({ driver: "redis", url: redis.url, lease_ms: 1_000 });
  await site.push(`{"class":"X","args":["${"x".repeat(PAYLOAD_BYTES)}"]}`, JOBS);
  await isBounded(site);

  await using worker = site.start(["run"]);
  await eventually("it is in the list", async () => (await redis.cli("SCARD", "fervo:processes")) === "1");
  const [identity] = await redis.elements("SMEMBERS", "fervo:processes");
  await redis.cli("LPUSH", `fervo:inflight:${identity}:jobs`, '{"class":"X","args":[],"jid":"stray"}');
  await eventually("it has run", async () => (await ran(site)).includes("stray"));
  await worker.says("The broker had jobs in flight that this worker does not have");
  worker.kill("SIGTERM");
  assert.equal((await worker.ended).code, 0);
});
