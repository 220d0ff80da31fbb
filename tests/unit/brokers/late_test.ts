import assert from "node:assert/strict";
import { LateBroker } from "../../../src/brokers/late_broker.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { FakeBroker, FakeDelivery, unavailable } from "../../support/fake_broker.ts";

function setUp() {
  const clock = new FakeClock();
  const real = new FakeBroker(clock);
  const t = { clock, real, opens: 0, isThere: false };
  const open = () => {
    t.opens++;
    if (!t.isThere) throw unavailable();
    return real;
  };
  const driver = new LateBroker({ clock, open }, real);
  return Object.assign(t, { driver });
}

const request = { queues: ["a"], max: 1, waitMs: 0, signal: new AbortController().signal };

Deno.test("LateBroker rejects as the broker does that cannot be opened, and tries that twice a second at most", async () => {
  const t = setUp();
  const calls = [
    () => t.driver.receive(request),
    () => t.driver.depth("a"),
    () => t.driver.pauses.list(),
    () => t.driver.dead.list({ limit: 1 }),
    () => t.driver.schedule.skip({ schedule: "s", rule: "r", dueMs: 0, firstMs: 0, nowMs: 0 }),
  ];
  for (const call of calls) await assert.rejects(call, { code: "QUEUE_UNAVAILABLE" });
  assert.equal(t.opens, 1);
  await t.clock.advance(500);
  await assert.rejects(calls[0]!, { code: "QUEUE_UNAVAILABLE" });
  assert.equal(t.opens, 2);
});

Deno.test("LateBroker is the broker once that could be opened", async () => {
  const t = setUp();
  await assert.rejects(t.driver.receive(request));
  t.isThere = true;
  await t.clock.advance(500);
  t.real.give(new FakeDelivery("1"));
  const [delivery] = await t.driver.receive(request);
  assert.equal(delivery!.id, "1");
  t.real.depths.set("a", { ready: 3 });
  assert.equal((await t.driver.depth("a")).ready, 3);
  assert.equal(t.opens, 2);
});

Deno.test("LateBroker that was closed is not opened any more", async () => {
  const t = setUp();
  t.isThere = true;
  await t.driver.close();
  await assert.rejects(t.driver.receive(request), { code: "QUEUE_UNAVAILABLE" });
  assert.equal(t.opens, 0);
});
