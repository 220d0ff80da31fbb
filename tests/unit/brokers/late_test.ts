import assert from "node:assert/strict";
import type { BrokerAdmin } from "../../../src/core/admin.ts";
import type { Broker } from "../../../src/core/broker.ts";
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
    // No other part is asked for.
    return real as unknown as Broker & { admin: Required<BrokerAdmin> };
  };
  const broker = new LateBroker({ clock, open }, real);
  return Object.assign(t, { broker });
}

function receive({ broker }: ReturnType<typeof setUp>) {
  const subscription = broker.subscribe({ queues: ["a"], capacity: 1, onLost: () => {} });
  return subscription.receive({ queues: ["a"], max: 1, waitMs: 0 }, new AbortController().signal);
}

Deno.test("LateBroker rejects as the broker does that cannot be opened, and tries that twice a second at most", async () => {
  const t = setUp();
  const calls = [
    () => receive(t),
    () => t.broker.admin.depth("a"),
    () => t.broker.admin.pauses.list(),
    () => t.broker.admin.dead.list({ limit: 1 }),
    () => t.broker.admin.dead.groups!({}),
    () => t.broker.admin.jobs("a", "ready", { limit: 1 }),
    () => t.broker.admin.schedule.skip({ schedule: "s", rule: "r", dueMs: 0, firstMs: 0, nowMs: 0 }),
  ];
  for (const call of calls) await assert.rejects(call, { code: "QUEUE_UNAVAILABLE" });
  assert.equal(t.opens, 1);
  await t.clock.advance(500);
  await assert.rejects(calls[0]!, { code: "QUEUE_UNAVAILABLE" });
  assert.equal(t.opens, 2);
});

Deno.test("LateBroker is the broker once that could be opened", async () => {
  const t = setUp();
  await assert.rejects(receive(t));
  t.isThere = true;
  await t.clock.advance(500);
  t.real.give(new FakeDelivery("1"));
  const [delivery] = await receive(t);
  assert.equal(delivery!.id, "1");
  t.real.depths.set("a", { ready: 3 });
  assert.equal((await t.broker.admin.depth("a")).ready, 3);
  assert.equal(t.opens, 2);
});

Deno.test("LateBroker that was closed is not opened any more", async () => {
  const t = setUp();
  t.isThere = true;
  await t.broker.close();
  await assert.rejects(receive(t), { code: "QUEUE_UNAVAILABLE" });
  assert.equal(t.opens, 0);
});
