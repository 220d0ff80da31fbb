/** The time of day is set under the embedded queue, forward or back: by a person, a time server, or a machine that wakes up. */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { bytes, FOREVER_MS, pushAll, soon, take, takeNow, takeOne } from "../../../conformance/fixture.ts";
import type { SqliteBroker } from "../../../../src/brokers/sqlite/broker.ts";
import type { Timer } from "../../../../src/core/time/clock.ts";
import type { Delivery } from "../../../../src/core/delivery.ts";
import { JobError } from "../../../../src/core/errors.ts";
import { LOOK_EVERY_MS, SqliteHoldings } from "../../../../src/brokers/sqlite/leases.ts";
import { eventually } from "../../../support/eventually.ts";
import { EventLog } from "../../../support/event_log.ts";
import { MovableClock } from "../../../support/movable_clock.ts";
import { makeFolder, openSqlite } from "./broker.ts";
import { ACK, retry } from "../../../support/verdicts.ts";

const LEASE_MS = 60_000;
const HOUR_MS = 3_600_000;
/** Longer than a worker waits at its start, and than it takes to notice that a clock was set. */
const A_WHILE_MS = 5_000;
/** How often a worker looks whether its clock was set. */
const LOOK_MS = LOOK_EVERY_MS;

/** A queue, and workers on it with one clock, unless one brings its own. */
class Machine implements AsyncDisposable {
  readonly clock = new MovableClock();
  readonly #folder: { path: string } & AsyncDisposable;

  private constructor(folder: { path: string } & AsyncDisposable) {
    this.#folder = folder;
  }

  static async start(): Promise<Machine> {
    return new Machine(await makeFolder());
  }

  get path(): string {
    return `${this.#folder.path}/queue.sqlite`;
  }

  open(options: Parameters<typeof openSqlite>[1] = {}): SqliteBroker {
    return openSqlite(this.path, { clock: this.clock, leaseMs: LEASE_MS, ...options });
  }

  /** One that has been at work for a while. */
  async openEarlier(options: Parameters<typeof openSqlite>[1] = {}): Promise<SqliteBroker> {
    const broker = this.open(options);
    assert.deepEqual(await takeNow(broker), []);
    this.clock.moveAhead(A_WHILE_MS);
    return broker;
  }

  /** How long the lease of the only job lasts, by the clock of the machine; milliseconds. */
  leftMs(): number {
    using db = new DatabaseSync(this.path);
    return Number(db.prepare("SELECT due_at FROM fervo_jobs").get()!["due_at"]) - this.clock.nowMs();
  }

  async leaseIsRenewed(): Promise<void> {
    await eventually("the lease is renewed", () => {
      this.clock.moveAhead(LOOK_MS);
      const leftMs = this.leftMs();
      return leftMs > LEASE_MS / 2 && leftMs <= LEASE_MS;
    });
  }

  /** The only job goes to this worker, and not before it has waited for a lease. */
  async takesAfterALease(broker: SqliteBroker): Promise<void> {
    const startMs = this.clock.monotonicMs();
    let delivery: Delivery | undefined;
    void take(broker, { waitMs: FOREVER_MS }).then((deliveries) => delivery = deliveries[0]);
    await eventually("the job of the dead", () => {
      if (delivery === undefined) this.clock.moveAhead(LOOK_MS);
      return delivery !== undefined;
    });
    assert.equal(delivery!.attempt, 2);
    assert.ok(this.clock.monotonicMs() - startMs >= LEASE_MS - LOOK_MS);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#folder[Symbol.asyncDispose]();
  }
}

for (const byMs of [HOUR_MS, -HOUR_MS]) {
  const step = `set ${byMs < 0 ? "back" : "forward"} by an hour`;

  Deno.test(`A clock that is ${step} gives no job again to the worker that holds it, which renews the lease and tells so`, async () => {
    await using machine = await Machine.start();
    const log = new EventLog();
    await using broker = await machine.openEarlier({ observe: log.observe });
    await pushAll(broker, ["a job"]);
    const held = await takeOne(broker);
    machine.clock.setTimeOfDay(byMs);
    assert.deepEqual(await takeNow(broker), []);
    await machine.leaseIsRenewed();
    assert.deepEqual(await takeNow(broker), []);
    await held.settle(ACK);
    assert.equal(log.of("clock_stepped").length, 1);
    assert.ok(Math.abs((await log.next("clock_stepped")).byMs - byMs) < 1_000);
  });

  Deno.test(`A clock that is ${step} gives no job to another worker while its holder lives`, async () => {
    await using machine = await Machine.start();
    await using holder = await machine.openEarlier();
    await using other = await machine.openEarlier();
    await pushAll(holder, ["a job"]);
    const held = await takeOne(holder);
    machine.clock.setTimeOfDay(byMs);
    // It looks first.
    assert.deepEqual(await takeNow(other), []);
    await machine.leaseIsRenewed();
    for (let i = 0; i < 9; i++) {
      machine.clock.moveAhead(LEASE_MS / 3);
      await held.lease!.extend();
      assert.deepEqual(await takeNow(other), []);
    }
    await held.settle(ACK);
  });

  Deno.test(`A clock that is ${step} keeps no job of a dead worker for longer than a lease`, async () => {
    await using machine = await Machine.start();
    await using other = await machine.openEarlier();
    {
      await using holder = await machine.openEarlier();
      await pushAll(holder, ["a job"]);
      await takeOne(holder);
    }
    machine.clock.setTimeOfDay(byMs);
    await machine.takesAfterALease(other);
  });

  Deno.test(`A worker whose clock alone is ${step} takes no job of one that lives, for as long as it runs`, async () => {
    await using machine = await Machine.start();
    const wrong = new MovableClock();
    await using holder = await machine.openEarlier();
    await using other = await machine.openEarlier({ clock: wrong });
    wrong.moveAhead(A_WHILE_MS);
    await pushAll(holder, ["a job"]);
    const held = await takeOne(holder);
    wrong.setTimeOfDay(byMs);
    for (let i = 0; i < 12; i++) {
      assert.deepEqual(await takeNow(other), []);
      for (const clock of [machine.clock, wrong]) clock.moveAhead(LEASE_MS / 3);
      await held.lease!.extend();
    }
    await held.settle(ACK);
  });

  Deno.test(`A worker that is started just after the clock was ${step} leaves the owners time to notice`, async () => {
    await using machine = await Machine.start();
    await using holder = await machine.openEarlier();
    await pushAll(holder, ["a job"]);
    const held = await takeOne(holder);
    machine.clock.setTimeOfDay(byMs);
    await using other = machine.open();
    assert.deepEqual(await takeNow(other), []);
    await machine.leaseIsRenewed();
    machine.clock.moveAhead(A_WHILE_MS);
    assert.deepEqual(await takeNow(other), []);
    await held.settle(ACK);
  });
}

Deno.test("A delayed job that is due when the clock was set forward wakes whoever waits", async () => {
  await using machine = await Machine.start();
  await using broker = await machine.openEarlier();
  await broker.push("q", bytes("later"), { delayMs: HOUR_MS });
  const waiting = take(broker, { waitMs: FOREVER_MS });
  machine.clock.setTimeOfDay(HOUR_MS);
  assert.equal((await soon("the job", waiting)).length, 1);
});

Deno.test("Two drivers of one process give no job to each other, however late they are with the lease", async () => {
  await using machine = await Machine.start();
  const holdings = new SqliteHoldings();
  await using one = await machine.openEarlier({ holdings });
  await using other = await machine.openEarlier({ holdings });
  await pushAll(one, ["a job"]);
  const held = await takeOne(one);
  machine.clock.moveAhead(2 * LEASE_MS);
  assert.deepEqual(await takeNow(other), []);
  await held.settle(retry(0, new JobError("JOB_FAILED", "once")));
  const again = await takeOne(other);
  assert.equal(again.attempt, 2);
  machine.clock.moveAhead(2 * LEASE_MS);
  assert.deepEqual(await takeNow(one), []);
  await again.settle(ACK);
});

Deno.test("What a driver held when it was closed goes to another driver of its process", async () => {
  await using machine = await Machine.start();
  const holdings = new SqliteHoldings();
  await using other = await machine.openEarlier({ holdings });
  {
    await using one = machine.open({ holdings });
    await pushAll(one, ["a job"]);
    await takeOne(one);
  }
  machine.clock.moveAhead(LEASE_MS);
  assert.equal((await takeOne(other)).attempt, 2);
});

Deno.test("A lease is judged by its own length, also by a worker with another lease_ms", async () => {
  await using machine = await Machine.start();
  await using short = await machine.openEarlier({ leaseMs: 1_000 });
  {
    await using long = await machine.openEarlier();
    await pushAll(long, ["a job"]);
    await takeOne(long);
  }
  machine.clock.setTimeOfDay(HOUR_MS);
  await machine.takesAfterALease(short);
});

/** The clock of a worker that is so busy that none of its timers fires. */
class BusyClock extends MovableClock {
  override setTimer(): Timer {
    return { cancel: () => {} };
  }
}

const others = [
  ["A worker", new MovableClock()],
  ["A worker that is too busy for its timers", new BusyClock()],
] as const;

for (const [who, clock] of others) {
  Deno.test(`${who} takes no job of one whose clock is behind, though its own was never set`, async () => {
    await using machine = await Machine.start();
    const behind = new MovableClock();
    behind.setTimeOfDay(-HOUR_MS);
    await using other = machine.open({ clock });
    assert.deepEqual(await takeNow(other), []);
    clock.moveAhead(A_WHILE_MS);
    await using holder = await machine.openEarlier({ clock: behind });
    behind.moveAhead(A_WHILE_MS);
    // What it sees now is all that it can know of the leases to come.
    assert.deepEqual(await takeNow(other), []);
    await pushAll(holder, ["a job"]);
    const held = await takeOne(holder);
    for (let i = 0; i < 12; i++) {
      assert.deepEqual(await takeNow(other), []);
      for (const moved of [clock, behind]) moved.moveAhead(LEASE_MS / 3);
      await held.lease!.extend();
    }
    await held.settle(ACK);
  });
}
