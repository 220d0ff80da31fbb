import assert from "node:assert/strict";
import { FOREVER_MS, soon, take, textOf } from "../../../conformance/fixture.ts";
import { type Clock, systemClock, type Timer } from "../../../../src/core/time/clock.ts";
import { LOOK_EVERY_MS } from "../../../../src/brokers/sqlite/leases.ts";
import { makeFolder, openSqlite } from "./broker.ts";
import { OtherProcess } from "./process.ts";
import { ACK } from "../../../support/verdicts.ts";

/** Longer than any step of the alert phase, shorter than any sleep. */
const SLEEP_MS = 10;
/** Longer than a sleep without watching, shorter than the safety net of one with it. */
const SAFETY_NET_MS = 500;

/** The machine's clock without the safety net: long timers never fire. Tells when a receive has gone to sleep. */
class SleepersClock implements Clock {
  readonly #asleep = Promise.withResolvers<void>();
  readonly asleep = this.#asleep.promise;

  nowMs(): number {
    return systemClock.nowMs();
  }

  monotonicMs(): number {
    return systemClock.monotonicMs();
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    // Beside the receive, the broker looks after its leases.
    if (delayMs > SLEEP_MS && delayMs !== LOOK_EVERY_MS) this.#asleep.resolve();
    return delayMs > SAFETY_NET_MS ? { cancel: () => {} } : systemClock.setTimer(callback, delayMs);
  }
}

/** A receive that has gone to sleep is to be woken by a push of another process, and by nothing else. */
async function assertWakes(path: string): Promise<void> {
  const clock = new SleepersClock();
  await using broker = openSqlite(path, { clock });
  const waiting = take(broker, { waitMs: FOREVER_MS });
  await soon("the sleep", clock.asleep);
  await using producer = OtherProcess.command("push", [path, "wake up"]);
  const [delivery] = await soon("the wake-up", waiting);
  assert.equal(textOf(delivery!), "wake up");
  await delivery!.settle(ACK);
  assert.equal(await producer.line(), delivery!.id);
}

Deno.test("SqliteBroker.receive() is woken from its sleep by the watched files when another process pushes", async () => {
  await using folder = await makeFolder();
  await assertWakes(`${folder.path}/queue.sqlite`);
});

Deno.test("SqliteBroker.receive() is woken also when the path is a link to a file elsewhere", async () => {
  await using folder = await makeFolder();
  await Deno.mkdir(`${folder.path}/real`);
  await openSqlite(`${folder.path}/real/queue.sqlite`).close();
  await Deno.symlink(`${folder.path}/real/queue.sqlite`, `${folder.path}/link.sqlite`);
  await assertWakes(`${folder.path}/link.sqlite`);
});

Deno.test("SqliteBroker.receive() is woken also where files cannot be watched", async () => {
  await using folder = await makeFolder();
  const { watchFs } = Deno;
  let calls = 0;
  Deno.watchFs = () => {
    calls++;
    throw new Error("inotify_init: Too many open files");
  };
  try {
    await assertWakes(`${folder.path}/queue.sqlite`);
  } finally {
    Deno.watchFs = watchFs;
  }
  assert.equal(calls, 1, "asked once, and not again in vain");
});

Deno.test("SqliteBroker.receive() is woken also when the watching breaks", async () => {
  await using folder = await makeFolder();
  const { watchFs } = Deno;
  Deno.watchFs = (...args) => {
    const watcher = watchFs(...args);
    const broken: AsyncIterableIterator<Deno.FsEvent> = {
      next: () => Promise.reject(new Error("the watch broke")),
      [Symbol.asyncIterator]: () => broken,
    };
    watcher[Symbol.asyncIterator] = () => broken;
    return watcher;
  };
  try {
    await assertWakes(`${folder.path}/queue.sqlite`);
  } finally {
    Deno.watchFs = watchFs;
  }
});

Deno.test("SqliteBroker.receive() is not ended by another queue's jobs, and gets its own after them", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  const clock = new SleepersClock();
  await using broker = openSqlite(path, { clock });
  await using another = openSqlite(path);
  const waiting = take(broker, { queues: ["mine"], waitMs: FOREVER_MS });
  await soon("the sleep", clock.asleep);
  for (let i = 0; i < 50; i++) await another.push("other", new Uint8Array(1));
  const id = await another.push("mine", new Uint8Array(1));
  assert.deepEqual((await soon("the wake-up", waiting)).map((delivery) => delivery.id), [id]);
});
