import assert from "node:assert/strict";
import { FAILED, take } from "../../../conformance/fixture.ts";
import { isUnreadable } from "../../../../src/core/format.ts";
import { DEFAULT_RETRY_POLICY } from "../../../../src/core/retry.ts";
import { sidekiq6, sidekiq7 } from "../../../../src/formats/sidekiq.ts";
import { jobOf } from "../../../../src/worker/consumer/slot_runner.ts";
import { decide } from "../../../../src/worker/consumer/in_flight.ts";
import { eventually } from "../../../support/eventually.ts";
import { RedisServer } from "../../../support/redis_server.ts";
import { openRedis } from "./broker.ts";
import { SidekiqApi, SidekiqProcess } from "./ruby_sidekiq.ts";

/** A class of Ruby says `retry: true` of itself, which counts where a job says nothing. */
const ATTEMPTS = 26;

/** What a job may say of its retries, all of which fail. */
const RULES = [
  "",
  ',"retry":true',
  ',"retry":false',
  ',"retry":null',
  ',"retry":0',
  ',"retry":1',
  ',"retry":-3',
  ',"retry":5.0',
  ',"retry":0.0',
  ',"retry":0e3',
  ',"retry":"0"',
  ',"retry":""',
  ',"retry":[]',
  ',"retry":12345678901234567890',
  ',"retry":3,"retry_count":1,"failed_at":1700000000.5',
  ',"retry":3,"retry_count":2,"failed_at":1700000000.5',
  ',"retry":3,"retry_count":3,"failed_at":1700000000.5',
  ',"retry":0,"retry_count":-1,"failed_at":1700000000.5',
  ',"retry":1,"retry_count":-1,"failed_at":1700000000.5',
  ',"retry":1,"retry_count":0,"failed_at":1700000000.5',
  ',"retry":true,"retry_count":24,"failed_at":1700000000.5',
  ',"retry":true,"retry_count":23,"failed_at":1700000000.5',
  ',"retry":2,"retry_queue":"slow"',
  ',"retry":2,"retry_queue":null',
  ',"retry":0,"dead":false',
  ',"retry":0,"dead":null',
  ',"retry":0,"dead":"false"',
  ',"retry":2,"backtrace":true',
  ',"retry":2,"backtrace":5',
  ',"retry":2,"tags":["a"]',
];

/** Of 7.1.3 and newer. */
const TIME_RULES = [
  ',"retry":true,"retry_for":3600',
  ',"retry":true,"retry_for":-1',
  ',"retry":false,"retry_for":3600',
  ',"retry":0,"retry_for":3600',
  ',"retry":true,"retry_for":3600,"retry_count":2,"failed_at":1700000000.5',
  ',"retry":true,"retry_for":3153600000,"retry_count":2,"failed_at":1700000000.5',
  ',"retry":2,"retry_for":3153600000,"retry_count":1,"failed_at":1700000000.5',
];

interface Filed {
  /** `nowhere` only of Ruby's: a job without retries is gone. */
  readonly where: string;
  readonly queue?: string;
  readonly retryCount?: number;
}

/** Where each job of a server lies, by its id. */
async function filed(server: RedisServer): Promise<Map<string, Filed>> {
  const all = new Map<string, Filed>();
  for (const set of ["retry", "dead"]) {
    for (const text of await server.elements("ZRANGE", set, "0", "-1")) {
      const { jid, queue, retry_count: retryCount } = JSON.parse(text);
      all.set(jid, { where: set, queue, retryCount });
    }
  }
  return all;
}

Deno.test("A job that fails is filed by us as by a real Sidekiq process, whatever it says of its retries", async () => {
  await using theirs = await RedisServer.start();
  await using ours = await RedisServer.start();
  await using sidekiq = await SidekiqApi.start(theirs);
  const [major, minor, patch] = (await sidekiq.ask("version")).split(".").map(Number);
  const knowsTime = major * 1e6 + minor * 1e3 + patch >= 7_001_003;
  const rules = knowsTime ? [...RULES, ...TIME_RULES] : RULES;
  for (const [i, fields] of rules.entries()) {
    const job = `{"class":"Fails","args":[],"jid":"${i}","queue":"q"${fields}}`;
    for (const server of [theirs, ours]) await server.cli("LPUSH", "queue:q", job);
  }
  {
    await using _ruby = new SidekiqProcess(theirs, "/dev/null", ["q"]);
    await eventually(
      "Ruby has run all",
      async () => (await sidekiq.ask("stats")).failed === rules.length,
      60_000,
    );
  }
  const format = knowsTime ? sidekiq7 : sidekiq6;
  await using broker = openRedis(ours, { format });
  for (const delivery of await take(broker, { max: 100 })) {
    const nowMs = Date.now();
    const job = jobOf(delivery, { maxAttempts: ATTEMPTS, timeoutMs: 1_000, nowMs, format });
    if (isUnreadable(job)) throw job.error;
    const outcome = { kind: "retry", error: FAILED } as const;
    const rest = { ...job, nowMs, retry: DEFAULT_RETRY_POLICY, format, random: Math.random };
    await delivery.settle(decide(outcome, rest));
  }
  const [theirJobs, ourJobs] = [await filed(theirs), await filed(ours)];
  for (const [i, fields] of rules.entries()) {
    const their = theirJobs.get(`${i}`) ?? { where: "nowhere" };
    const our = ourJobs.get(`${i}`) ?? { where: "nowhere" };
    // Ours are kept also without retries.
    const isDropped = their.where === "nowhere" && !fields.includes('"dead":false');
    if (isDropped) assert.equal(our.where, "dead", fields);
    else assert.deepEqual(our, their, fields);
  }
});
