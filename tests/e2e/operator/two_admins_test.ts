/** Several admins who change the same dead letters in the same moment, each with a binary of their own. */
import assert from "node:assert/strict";
import { Beanstalkd } from "../../support/beanstalkd.ts";
import { eventually } from "../../support/eventually.ts";
import { Site, type SiteOptions } from "../../support/fervo_worker.ts";
import { RedisServer } from "../../support/redis_server.ts";

const LETTERS = 200;

/** How many jobs a command says that it has changed. */
function changed(said: string): number {
  return Number(/^(?:Retried|Removed) (\d+) jobs?\n$/.exec(said)![1]);
}

async function depth(site: Site): Promise<{ ready: number; dead: number }> {
  return JSON.parse(await site.runOk(["queues", "--json"]))[0];
}

/** Each dead letter is retried once or removed, by whoever is first. */
async function admins(
  broker: NonNullable<SiteOptions["broker"]> | undefined,
  payload: string,
): Promise<void> {
  await using site = await Site.create(undefined, broker && { broker });
  const process = { command: ["false"] };
  const common = { ...(broker && { broker }), process, exitCodes: { "1": "bury" } };
  await site.configure({ ...common, consumer: { concurrency: 32 } });
  for (const second of ["retry", "remove"]) {
    await site.push(payload, LETTERS);
    {
      await using worker = site.start(["run"]);
      await eventually("all are dead", async () => (await depth(site)).dead === LETTERS, 60_000);
      worker.kill("SIGTERM");
      await worker.ended;
    }
    const commands = ["retry", second].map((verb) => site.runOk(["dead", verb, "--all", "--yes"]));
    const [first, other] = (await Promise.all(commands)).map(changed);
    assert.equal(first! + other!, LETTERS, `retry beside ${second}`);
    const { ready, dead } = await depth(site);
    assert.deepEqual([ready, dead], [second === "retry" ? LETTERS : first, 0], `retry beside ${second}`);
    if (second === "retry") {
      await site.configure({ ...common, process: { command: ["true"] } });
      await site.runOk(["run", "--until-empty"]);
      await site.configure({ ...common, consumer: { concurrency: 32 } });
    }
  }
}

Deno.test("Two admins change each dead letter once on the embedded queue", async () => {
  await admins(undefined, "{}");
});

Deno.test("Two admins change each dead letter once on beanstalkd", async () => {
  await using server = await Beanstalkd.start();
  await admins({ driver: "beanstalkd", address: server.addressText }, "{}");
});

Deno.test("Two admins change each dead letter once on Redis", async () => {
  await using redis = await RedisServer.start();
  await admins({ driver: "redis", url: redis.url }, '{"class":"X","args":[]}');
});
