/** The file of the embedded queue is removed, moved, or replaced while it is open. */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import {
  bytes,
  FOREVER_MS,
  rejectsWith,
  soon,
  take,
  takeNow,
  takeOne,
  textOf,
} from "../../../conformance/fixture.ts";
import type { SqliteBroker } from "../../../../src/brokers/sqlite/broker.ts";
import { eventually } from "../../../support/eventually.ts";
import { EventLog } from "../../../support/event_log.ts";
import { MovableClock } from "../../../support/movable_clock.ts";
import { makeFolder, openSqlite } from "./broker.ts";
import { ACK } from "../../../support/verdicts.ts";

/** How often a broker looks at its file, milliseconds. */
const LOOK_MS = 1_000;

/** A queue that is open. */
class OpenQueue implements AsyncDisposable {
  readonly log = new EventLog();
  readonly clock = new MovableClock();
  readonly broker: SqliteBroker;
  readonly #folder: { path: string } & AsyncDisposable;

  private constructor(folder: { path: string } & AsyncDisposable) {
    this.#folder = folder;
    this.broker = openSqlite(this.path, { clock: this.clock, observe: this.log.observe });
  }

  static async start(): Promise<OpenQueue> {
    return new OpenQueue(await makeFolder());
  }

  get path(): string {
    return `${this.#folder.path}/queue.sqlite`;
  }

  get otherPath(): string {
    return `${this.#folder.path}/other.sqlite`;
  }

  /** What another program sees of the queue: a broker of its own. */
  async asOther<T>(act: (broker: SqliteBroker) => Promise<T>, path = this.path): Promise<T> {
    await using broker = openSqlite(path);
    return await act(broker);
  }

  /** Another queue, with one job, that is closed. */
  async makeOther(name = "restored"): Promise<void> {
    await this.asOther((broker) => broker.push("q", bytes(name)), this.otherPath);
  }

  backUp(): void {
    using db = new DatabaseSync(this.path);
    db.prepare("VACUUM INTO ?").run(this.otherPath);
  }

  async remove(...suffixes: string[]): Promise<void> {
    for (const suffix of suffixes) await Deno.remove(`${this.path}${suffix}`);
  }

  /** Time for a look. */
  pass(): void {
    this.clock.moveAhead(LOOK_MS);
  }

  /** Works until it is open again. */
  async isOpen(): Promise<void> {
    await eventually("the queue is open", async () => {
      this.pass();
      return await this.broker.admin.queues().then(() => true, () => false);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.broker.close();
    await this.#folder[Symbol.asyncDispose]();
  }
}

const GONE =
  /^Cannot use the queue ".*queue\.sqlite": its file is gone; put it back, or start an empty queue/;

async function isUnavailable(call: Promise<unknown>, message: RegExp): Promise<void> {
  await assert.rejects(call, (error: { code?: string; message?: string }) => {
    assert.equal(error.code, "QUEUE_UNAVAILABLE");
    assert.match(error.message!, message);
    return true;
  });
}

Deno.test("A queue whose file is gone is unavailable, whatever is asked of it, and no new file is made", async () => {
  await using queue = await OpenQueue.start();
  const { broker } = queue;
  await broker.push("q", bytes("a job"));
  const held = await takeOne(broker);
  const waiting = take(broker, { queues: ["none"], waitMs: FOREVER_MS });
  await queue.remove("", "-wal", "-shm");
  queue.pass();
  await soon("the wait ends", isUnavailable(waiting, GONE));
  for (let i = 0; i < 3; i++) {
    queue.pass();
    await isUnavailable(broker.push("q", bytes("a job")), GONE);
    await isUnavailable(broker.admin.depth("q"), GONE);
    await isUnavailable(broker.admin.dead.list({ limit: 1 }), GONE);
    await isUnavailable(broker.admin.pauses.pause("q"), GONE);
    await isUnavailable(broker.admin.schedule.begin({ schedule: "s", rule: "r", nowMs: 1 }), GONE);
    await isUnavailable(take(broker), GONE);
    await isUnavailable(held.settle(ACK), GONE);
  }
  await assert.rejects(Deno.stat(queue.path), Deno.errors.NotFound);
});

Deno.test("A queue whose file was removed is taken up when somebody begins a new one, and tells what it had", async () => {
  await using queue = await OpenQueue.start();
  const { broker, log } = queue;
  await broker.push("q", bytes("a job"));
  const held = await takeOne(broker);
  await queue.remove("", "-wal", "-shm");
  await queue.asOther((other) => other.push("q", bytes("new")));
  await queue.isOpen();
  assert.equal(textOf(await takeOne(broker)), "new");
  assert.deepEqual(log.of("queue_replaced"), [{ type: "queue_replaced", path: queue.path, inFlight: 1 }]);
  await assert.rejects(held.settle(ACK), {
    code: "LEASE_LOST",
    message: /the queue's file was replaced while the job ran/,
  });
  assert.equal((await broker.admin.depth("q")).reserved, 1);
});

Deno.test("A queue that is replaced by another file goes on with that, and keeps its log", async () => {
  await using queue = await OpenQueue.start();
  await queue.broker.push("q", bytes("old"));
  await queue.makeOther();
  await queue.remove("-wal", "-shm");
  await Deno.rename(queue.otherPath, queue.path);
  await queue.isOpen();
  assert.deepEqual((await takeNow(queue.broker)).map(textOf), ["restored"]);
  // Also what others push now.
  await queue.asOther((other) => other.push("q", bytes("more")));
  assert.equal(textOf(await takeOne(queue.broker)), "more");
});

Deno.test("A backup that is moved over a queue in use, which others push into at once, loses nothing of theirs", async () => {
  await using queue = await OpenQueue.start();
  await queue.broker.push("q", bytes("old"));
  queue.backUp();
  await Deno.rename(queue.otherPath, queue.path);
  for (const name of ["one", "two"]) await queue.asOther((other) => other.push("q", bytes(name)));
  await queue.isOpen();
  assert.deepEqual((await takeNow(queue.broker)).map(textOf), ["old", "one", "two"]);
});

Deno.test("A job that runs while a backup is restored that has it so is settled there", async () => {
  await using queue = await OpenQueue.start();
  const { broker } = queue;
  await broker.push("q", bytes("a job"));
  const held = await takeOne(broker);
  queue.backUp();
  await queue.remove("", "-wal", "-shm");
  await Deno.rename(queue.otherPath, queue.path);
  await queue.isOpen();
  assert.deepEqual(await takeNow(broker), []);
  await held.settle(ACK);
  assert.deepEqual(await broker.admin.queues(), []);
});

Deno.test("A file that is moved away and back is the same queue again", async () => {
  await using queue = await OpenQueue.start();
  const { broker } = queue;
  await broker.push("q", bytes("a job"));
  const held = await takeOne(broker);
  await Deno.rename(queue.path, queue.otherPath);
  queue.pass();
  await isUnavailable(broker.admin.depth("q"), GONE);
  await Deno.rename(queue.otherPath, queue.path);
  await queue.isOpen();
  assert.equal((await broker.admin.depth("q")).reserved, 1);
  await held.settle(ACK);
});

Deno.test("A copy that is under way is not opened before it has ended", async () => {
  await using queue = await OpenQueue.start();
  await queue.makeOther();
  const content = await Deno.readFile(queue.otherPath);
  await queue.remove("", "-wal", "-shm");
  using copy = await Deno.open(queue.path, { write: true, createNew: true });
  for (let at = 0; at < content.length; at += 4_096) {
    await copy.write(content.subarray(at, at + 4_096));
    queue.pass();
    await rejectsWith("QUEUE_UNAVAILABLE", queue.broker.admin.depth("q"));
    assert.equal((await Deno.stat(queue.path)).size, at + 4_096);
  }
  await queue.isOpen();
  assert.deepEqual((await takeNow(queue.broker)).map(textOf), ["restored"]);
});

Deno.test("An empty file, as PHP makes it when it finds none, becomes a queue", async () => {
  await using queue = await OpenQueue.start();
  await queue.remove("", "-wal", "-shm");
  await Deno.writeTextFile(queue.path, "");
  await queue.isOpen();
  await queue.asOther((other) => other.push("q", bytes("new")));
  assert.equal(textOf(await takeOne(queue.broker)), "new");
});

Deno.test("A file that is no queue in the place of one is told, left alone, and asked again", async () => {
  await using queue = await OpenQueue.start();
  await queue.makeOther();
  await queue.remove("", "-wal", "-shm");
  const garbage = "This is no database. ".repeat(1_000);
  await Deno.writeTextFile(queue.path, garbage);
  queue.pass();
  await rejectsWith("QUEUE_UNAVAILABLE", queue.broker.admin.depth("q"));
  queue.pass();
  await isUnavailable(queue.broker.admin.depth("q"), /the file is not a SQLite database/);
  assert.equal(await Deno.readTextFile(queue.path), garbage);
  await Deno.rename(queue.otherPath, queue.path);
  await queue.isOpen();
  assert.equal((await takeNow(queue.broker)).length, 1);
});

Deno.test("A path that is a link is followed when it leads elsewhere, and its log is watched there", async () => {
  await using folder = await makeFolder();
  const [one, two, link] = ["one", "two", "link"].map((name) => `${folder.path}/${name}`) as [
    string,
    string,
    string,
  ];
  for (const path of [one, two]) {
    await using broker = openSqlite(path);
    await broker.push("q", bytes(path));
  }
  await Deno.symlink(one, link);
  const clock = new MovableClock();
  await using broker = openSqlite(link, { clock });
  assert.equal(textOf(await takeOne(broker)), one);
  await Deno.remove(link);
  await Deno.symlink(two, link);
  await eventually("the other queue", async () => {
    clock.moveAhead(LOOK_MS);
    return await takeNow(broker).then((jobs) => jobs.length > 0 && textOf(jobs[0]!) === two, () => false);
  });
});

for (const how of ["removed", "replaced"]) {
  Deno.test(`A queue whose -wal file was ${how} is left alone until all stop, and says so`, async () => {
    await using queue = await OpenQueue.start();
    await queue.broker.push("q", bytes("a job"));
    await queue.remove("-wal");
    if (how === "replaced") await Deno.writeTextFile(`${queue.path}-wal`, "");
    for (let i = 0; i < 3; i++) {
      queue.pass();
      await isUnavailable(
        queue.broker.admin.depth("q"),
        /its -wal file was removed or replaced; stop all programs that use it/,
      );
    }
  });
}

Deno.test("A backup beside the -wal file of another state is not spoiled by it, and told", async () => {
  await using queue = await OpenQueue.start();
  await queue.makeOther();
  {
    // Of the queue's pages, many are in the log only.
    using db = new DatabaseSync(queue.path);
    const insert = db.prepare("INSERT INTO fervo_jobs (queue, payload) VALUES ('q', zeroblob(3000))");
    for (let i = 0; i < 300; i++) insert.run();
  }
  const backup = await Deno.readFile(queue.otherPath);
  await Deno.rename(queue.otherPath, queue.path);
  queue.pass();
  await rejectsWith("QUEUE_UNAVAILABLE", queue.broker.admin.depth("q"));
  queue.pass();
  await isUnavailable(queue.broker.admin.depth("q"), /replaced while the old -wal file stayed/);
  await queue.broker.close();
  assert.deepEqual(await Deno.readFile(queue.path), backup);
});

Deno.test("close() of a queue whose file is gone does what it can", async () => {
  await using queue = await OpenQueue.start();
  await takeNow(queue.broker);
  await queue.remove("", "-wal", "-shm");
  queue.pass();
  await rejectsWith("QUEUE_UNAVAILABLE", queue.broker.admin.depth("q"));
  await queue.broker.close();
});

Deno.test("A queue that is used all the time costs one look at its file a second", async () => {
  await using queue = await OpenQueue.start();
  const { broker } = queue;
  const seen: string[] = [];
  const { statSync } = Deno;
  try {
    Deno.statSync = (path) => {
      seen.push(String(path));
      return statSync(path);
    };
    for (let i = 0; i < 200; i++) await broker.push("q", bytes("a job"));
    const before = seen.length;
    queue.pass();
    await broker.push("q", bytes("a job"));
    assert.equal(seen.length, before + 2);
  } finally {
    Deno.statSync = statSync;
  }
});
