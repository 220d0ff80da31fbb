import assert from "node:assert/strict";
import { type BrokerFixture, bytes, depthOf, FAILED, openOn, takeOne } from "./fixture.ts";
import { JobError } from "../../src/core/errors.ts";
import { bury, retry } from "../support/verdicts.ts";

/** Attempts of a job that has failed once, and of a new one with the very message that it has by then. */
const ATTEMPTS = {
  broker: [2, 1],
  message: [2, 2],
  application: [undefined, undefined],
};

/** Who sees to what becomes of a job, as far as a broker shows it. On messages as the server has them. */
export function ownershipTests(
  name: string,
  { ownership, capabilities, messages, start }: BrokerFixture,
): void {
  const { attempts, retry: retries, dead } = ownership;
  assert.ok(attempts !== "worker", "a worker keeps nothing that outlives it");
  const isOfFramework = retries === "application";
  assert.equal(retries, isOfFramework ? "application" : "worker");
  assert.equal(dead, isOfFramework ? "application" : "broker");
  // What the framework has not seen to is done as ever: an application that dies of each post-mortem counts nothing.
  const rest = isOfFramework ? ", and the worker and the broker see to the rest" : "";

  Deno.test(`${name} broker: attempts belong to the ${attempts}, retries to the ${retries}, dead letters to the ${dead}${rest}`, async () => {
    await using server = await start();
    await using broker = await openOn(server);
    await broker.push("q", messages?.encode(bytes("job")) ?? bytes("job"));
    await (await takeOne(broker)).settle(retry(0, FAILED));
    const again = await takeOne(broker);
    await broker.push("q", again.message.body);
    const copy = await takeOne(broker);
    assert.deepEqual([again.attempt, copy.attempt], ATTEMPTS[attempts]);
    assert.equal(capabilities.attempts, attempts !== "application");
    await again.settle(bury(FAILED));
    // With another reason: messages that are equal to the last byte can be one dead letter.
    await copy.settle(bury(new JobError("JOB_FAILED", "as a copy")));
    assert.deepEqual(await depthOf(broker), { ready: 0, delayed: 0, reserved: 0, dead: 2 });
  });
}
