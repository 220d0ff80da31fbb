import assert from "node:assert/strict";
import { type JobState, LISTED_PAYLOAD_BYTES, type ListedJob } from "../../src/core/admin.ts";
import type { Broker, Capabilities } from "../../src/core/broker.ts";
import {
  adminOf,
  type BrokerTest,
  bytes,
  DELAY_MS,
  needing,
  pushAll,
  rejectsWith,
  take,
  takeOne,
} from "./fixture.ts";
import { RELEASE } from "../support/verdicts.ts";

/** Jobs that wait or run, page by page. */
export function jobTests(all: BrokerTest, { jobs, attempts }: Capabilities): void {
  if (!jobs) {
    all("Jobs that wait or run cannot be looked at", async (server) => {
      await using broker = await server.open();
      assert.equal(broker.admin.jobs, undefined);
    });
  }
  const test = needing(all, "pages of jobs");

  test("jobs() tells the jobs of a queue by their state", async (server) => {
    await using broker = await server.open();
    await using other = await server.open();
    const beganMs = Date.now();
    const [running, ...ready] = await pushAll(broker, ["running", "one", "two"]);
    await pushAll(broker, ["of another"], "r");
    const later = await broker.push("q", bytes("later"), { delayMs: DELAY_MS });
    const delivery = await takeOne(broker);
    assert.equal(delivery.id, running);
    const told = async (state: JobState) =>
      (await listed(other, state)).map(({ id, payload }) => [id, new TextDecoder().decode(payload)]);
    assert.deepEqual(await told("ready"), [[ready[0], "one"], [ready[1], "two"]]);
    assert.deepEqual(await told("delayed"), [[later, "later"]]);
    assert.deepEqual(await told("reserved"), [[running, "running"]]);
    const [first] = await listed(other, "ready");
    const [delayed] = await listed(other, "delayed");
    const [reserved] = await listed(other, "reserved");
    assert.deepEqual(
      [first, delayed, reserved].map((job) => job!.attempts),
      attempts ? [0, 0, 1] : [undefined, undefined, undefined],
    );
    for (const { enqueuedAtMs = beganMs } of [first!, delayed!, reserved!]) isNear(enqueuedAtMs, beganMs);
    isNear(first!.readyAtMs ?? beganMs, beganMs);
    isNear(delayed!.readyAtMs!, beganMs + DELAY_MS);
    assert.equal(reserved!.readyAtMs, undefined);
    await delivery.settle(RELEASE);
    assert.deepEqual(await listed(other, "reserved"), []);
    assert.equal((await listed(other, "ready")).length, 3);
    assert.deepEqual(await listed(other, "ready", "never"), []);
  }, ["delays"]);

  test("jobs() tells each job once, page by page, in the order in which they are taken", async (server) => {
    await using broker = await server.open();
    const names = Array.from({ length: 25 }, (_, i) => `job ${i}`);
    const ready = await pushAll(broker, names);
    await pushAll(broker, ["of another"], "r");
    const delayed: string[] = [];
    for (const name of names) delayed.push(await broker.push("q", bytes(name), { delayMs: DELAY_MS }));
    for (const limit of [1, 7, 25, 100]) {
      assert.deepEqual((await listed(broker, "ready", "q", limit)).map(({ id }) => id), ready);
      const found = (await listed(broker, "delayed", "q", limit)).map(({ id }) => id);
      assert.deepEqual(found.sort(), delayed.toSorted());
    }
    const held = await take(broker, { max: 25 });
    const reserved = (await listed(broker, "reserved", "q", 7)).map(({ id }) => id);
    assert.deepEqual(reserved.sort(), held.map(({ id }) => id).sort());
  }, ["delays"]);

  test("jobs() goes on where jobs have gone meanwhile, and refuses what is no place", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["one", "two", "three", "four"]);
    const { next } = await adminOf(broker).jobs("q", "ready", { limit: 2 });
    await take(broker, { max: 2 });
    const { jobs } = await adminOf(broker).jobs("q", "ready", { limit: 2, after: next });
    assert.ok(jobs.length <= 2);
    for (const state of ["ready", "delayed", "reserved"] as const) {
      for (const after of ["", "x y", "%:%", "-"]) {
        await rejectsWith("JOB_FAILED", adminOf(broker).jobs("q", state, { limit: 2, after }));
      }
    }
  });

  test("jobs() tells the beginning of a long payload, and how long it is", async (server) => {
    await using broker = await server.open();
    await pushAll(broker, ["x".repeat(100_000)]);
    const [job] = await listed(broker, "ready");
    assert.equal(job!.payload.length, LISTED_PAYLOAD_BYTES);
    assert.ok(job!.payloadBytes >= 100_000);
  });
}

/** All of them, page by page. */
async function listed(broker: Broker, state: JobState, queue = "q", limit = 100): Promise<ListedJob[]> {
  const all: ListedJob[] = [];
  let after: string | undefined;
  do {
    const { jobs, next } = await adminOf(broker).jobs(queue, state, { limit, after });
    assert.ok(jobs.length <= limit);
    all.push(...jobs);
    assert.match(next ?? "none", /^\S+$/);
    after = next;
  } while (after !== undefined);
  return all;
}

/** Times are told as they were, not as long as the test takes. */
function isNear(timeMs: number, expectedMs: number): void {
  assert.ok(timeMs >= expectedMs - 5_000 && timeMs < expectedMs + 600_000, `${timeMs - expectedMs} ms`);
}
