import assert from "node:assert/strict";
import { JobError } from "../../../src/core/errors.ts";
import { QueuePauses } from "../../../src/worker/queue_pauses.ts";
import { EventLog } from "../../support/event_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";

function build() {
  const clock = new FakeClock();
  const log = new EventLog();
  const pauses = new QueuePauses({ clock, observe: log.observe }, { broker: "default" });
  let changes = 0;
  const unwatch = pauses.watch(() => changes++);
  return { clock, log, pauses, unwatch, changes: () => changes };
}

Deno.test("QueuePauses lets nothing begin for its time, then one, and all when that has passed", async () => {
  const { clock, log, pauses, unwatch, changes } = build();
  assert.deepEqual([pauses.limit("mail"), pauses.open(["mail", "pay"])], [Infinity, ["mail", "pay"]]);
  pauses.pause("mail", 5_000);
  assert.deepEqual([pauses.limit("mail"), pauses.begin("mail")], [0, false]);
  assert.deepEqual(pauses.open(["mail", "pay"]), ["pay"]);
  await clock.advance(4_000);
  assert.deepEqual(pauses.list(), [{ queue: "mail", forMs: 1_000 }]);
  await clock.advance(1_000);
  assert.deepEqual([pauses.limit("mail"), pauses.list()], [1, [{ queue: "mail", forMs: 0 }]]);
  assert.deepEqual([pauses.begin("mail"), pauses.begin("mail")], [true, false]);
  pauses.passed("mail");
  assert.deepEqual([pauses.limit("mail"), pauses.list(), changes()], [Infinity, [], 3]);
  assert.deepEqual(log.types, ["queue_held_back", "queue_let_go"]);
  unwatch();
  assert.equal(clock.pendingTimers, 0);
});

Deno.test("QueuePauses goes on when the one job says the same, and ends when it says nothing for three seconds", async () => {
  const { clock, log, pauses, unwatch } = build();
  const error = new JobError("JOB_POSTPONED", "The job did not run, and asked to run later: maintenance");
  pauses.pause("mail", 1_000, error);
  await clock.advance(1_000);
  pauses.begin("mail");
  pauses.pause("mail", 1_000);
  // What began before says nothing of what came after.
  pauses.passed("mail");
  assert.equal(pauses.limit("mail"), 0);
  await clock.advance(1_000);
  pauses.begin("mail");
  await clock.advance(2_999);
  assert.equal(pauses.limit("mail"), 0);
  await clock.advance(1);
  assert.equal(pauses.limit("mail"), Infinity);
  assert.deepEqual(log.of("queue_held_back").map((event) => event.error), [error]);
  unwatch();
});

Deno.test("QueuePauses forgets all when nobody listens any more", () => {
  const { clock, pauses, unwatch } = build();
  const other = pauses.watch(() => {});
  pauses.pause("mail", 60_000);
  unwatch();
  assert.equal(pauses.limit("mail"), 0);
  other();
  assert.deepEqual([pauses.limit("mail"), clock.pendingTimers], [Infinity, 0]);
});
