import assert from "node:assert/strict";
import type { InFlightJob } from "../../../../src/worker/consumer/in_flight.ts";
import { Slots } from "../../../../src/worker/consumer/slots.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { FakeDelivery } from "../../../support/fake_broker.ts";

function build(timeoutMs = 1_000) {
  const clock = new FakeClock();
  return { clock, slots: new Slots({ clock, executor: {} }, { limit: { slots: 3 }, timeoutMs }) };
}

function entriesOf(id: string): readonly InFlightJob[] {
  const delivery = new FakeDelivery(id);
  return [{
    delivery,
    startedMs: undefined,
    id,
    attempt: 1,
    maxAttempts: 1,
    isSettling: false,
    isLost: false,
  }];
}

const ids = (slots: Slots) => slots.inUse.map(({ jobs }) => jobs[0]!.id);

Deno.test("Slots tells how many are in use, and gives those in the order in which they were taken", () => {
  const { slots } = build();
  assert.deepEqual([slots.busy, ids(slots)], [0, []]);
  const [a, b] = [slots.begin(entriesOf("a")), slots.begin(entriesOf("b"))];
  slots.end(a);
  const c = slots.begin(entriesOf("c"));
  slots.begin(entriesOf("d"));
  assert.deepEqual([slots.busy, ids(slots)], [3, ["b", "c", "d"]]);
  slots.end(b);
  slots.end(c);
  assert.deepEqual([slots.busy, ids(slots)], [1, ["d"]]);
  slots.close();
});

Deno.test("Slots gives a slot that is used again a new time and a signal of its own", async () => {
  const { clock, slots } = build();
  const first = slots.begin(entriesOf("a"));
  const { signal } = first.abort;
  await clock.advance(900);
  slots.end(first);
  const second = slots.begin(entriesOf("b"));
  await clock.advance(999);
  assert.deepEqual([signal.aborted, second.abort.signal.aborted], [false, false]);
  await clock.advance(1);
  assert.deepEqual([signal.aborted, second.abort.signal.aborted], [false, true]);
  assert.equal(clock.pendingTimers, 0);
});

Deno.test("Slots aborts a slot once, and the others each at their own time", async () => {
  const { clock, slots } = build();
  const first = slots.begin(entriesOf("a"));
  await clock.advance(300);
  const second = slots.begin(entriesOf("b"));
  await clock.advance(700);
  const { reason } = first.abort.signal;
  assert.deepEqual([reason.code, second.abort.signal.aborted], ["JOB_TIMEOUT", false]);
  await clock.advance(200);
  slots.next(second);
  await clock.advance(999);
  assert.equal(second.abort.signal.aborted, false);
  await clock.advance(1);
  assert.equal(second.abort.signal.reason.code, "JOB_TIMEOUT");
  assert.equal(first.abort.signal.reason, reason);
});

Deno.test("Slot.notBegun() begins its time anew, however often", async () => {
  const { clock, slots } = build();
  const slot = slots.begin(entriesOf("a"));
  for (let i = 0; i < 3; i++) {
    await clock.advance(900);
    slot.notBegun();
  }
  await clock.advance(999);
  assert.equal(slot.abort.signal.aborted, false);
  await clock.advance(1);
  assert.equal(slot.abort.signal.aborted, true);
});
