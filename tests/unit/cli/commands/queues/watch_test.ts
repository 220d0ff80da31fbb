import assert from "node:assert/strict";
import { QueueError } from "../../../../../src/core/errors.ts";
import type { QueueRow } from "../../../../../src/cli/commands/queues/table.ts";
import { watch } from "../../../../../src/cli/commands/queues/watch.ts";
import { FakeClock } from "../../../../support/fake_clock.ts";
import { unavailable } from "../../../../support/fake_broker.ts";
import { FakeIo } from "../../fake_io.ts";

const START = Date.UTC(2026, 0, 31, 12);

function row(ready: number, more: Partial<QueueRow> = {}): QueueRow {
  return {
    broker: "default",
    queue: "jobs",
    ready,
    delayed: 2,
    reserved: 1,
    dead: 4,
    paused: false,
    paused_until: null,
    pause_reason: null,
    ...more,
  };
}

/** Begins to watch; what is seen is what `seen` holds, an error is thrown. */
function start(seen: QueueRow[] | Error, { isJson = false, size }: {
  isJson?: boolean;
  size?: { columns: number; rows: number };
} = {}) {
  const io = new FakeIo();
  io.size = size;
  const clock = new FakeClock(START);
  const ending = new AbortController();
  const t = { io, clock, seen, ending };
  const look = () => t.seen instanceof Error ? Promise.reject(t.seen) : Promise.resolve(t.seen);
  const watching = watch({ io, clock, look }, { isJson, signal: ending.signal }).finally(io.flush);
  return { ...t, t, watching, said: () => io.stdout.split("\n").slice(0, -1) };
}

Deno.test("watch() says in a queue's line until when it is paused, and why, in one line whatever the reason is", async () => {
  const paused = {
    paused: true,
    paused_until: "2026-01-31T18:00:00.000Z",
    pause_reason: "moved\nfake line \u001b[2J",
  };
  const { clock, ending, watching, said } = start([row(1, paused)]);
  await clock.advance(0);
  ending.abort();
  await watching;
  assert.deepEqual(said().map((line) => line.replace(/^.* dead=4 /, "")), [
    'paused until=2026-01-31T18:00:00.000Z reason="moved\\nfake line \\u001b[2J"',
  ]);
});

Deno.test("watch() prints a line for each queue each second where there is no terminal", async () => {
  const { t, clock, ending, watching, said } = start([row(10), row(0, { queue: "mail", paused: true })]);
  await clock.advance(999);
  assert.deepEqual(said(), [
    "2026-01-31T12:00:00.000Z default jobs ready=10 delayed=2 reserved=1 dead=4",
    "2026-01-31T12:00:00.000Z default mail ready=0 delayed=2 reserved=1 dead=4 paused",
  ]);
  t.seen = [row(3, { dead: 9 })];
  await clock.advance(1);
  t.seen = [row(5)];
  await clock.advance(1_000);
  assert.deepEqual(said().slice(2), [
    "2026-01-31T12:00:01.000Z default jobs ready=3 delayed=2 reserved=1 dead=9 change_per_s=-7",
    "2026-01-31T12:00:02.000Z default jobs ready=5 delayed=2 reserved=1 dead=4 change_per_s=2",
  ]);
  ending.abort();
  await watching;
  assert.equal(clock.pendingTimers, 0);
});

Deno.test("watch() prints an object a look with --json, also on a terminal", async () => {
  const { clock, ending, watching, said } = start([row(10)], {
    isJson: true,
    size: { columns: 80, rows: 24 },
  });
  await clock.advance(1_000);
  ending.abort();
  await watching;
  assert.deepEqual(said().map((line) => JSON.parse(line)), [
    { at: "2026-01-31T12:00:00.000Z", queues: [row(10)] },
    { at: "2026-01-31T12:00:01.000Z", queues: [{ ...row(10), change_per_s: 0 }] },
  ]);
});

Deno.test("watch() draws the table anew on a terminal, within its size, and leaves the last one behind", async () => {
  const rows = Array.from({ length: 9 }, (_, i) => row(i, { queue: `queue${i}` }));
  const { t, io, clock, ending, watching } = start(rows, { size: { columns: 40, rows: 6 } });
  await clock.advance(500);
  const [enter, first] = io.stdout.split("\x1b[H") as [string, string];
  assert.equal(enter, "\x1b[?1049h\x1b[?25l");
  const lines = first.replaceAll("\x1b[K", "").replace("\x1b[J", "").split("\r\n");
  assert.equal(lines.length, 6, "five lines, and the one of the cursor");
  assert.equal(lines[0], "2026-01-31T12:00:00.000Z   Ctrl-C ends");
  assert.equal(lines[2], "READY  DELAYED  RESERVED  DEAD  CHANGE/S");
  assert.match(lines[4]!, /^ +1 +2 +1 +4 +- *$/);
  t.seen = [row(7)];
  await clock.advance(500);
  assert.match(io.stdout.split("\x1b[H")[2]!, /^2026-01-31T12:00:01/);
  ending.abort();
  await watching;
  const left = io.stdout.split("\x1b[?25h\x1b[?1049l")[1]!;
  assert.match(
    left,
    /^READY +DELAYED +RESERVED +DEAD +PAUSED +BROKER +QUEUE\n +7 +2 +1 +4 +default +jobs\n$/,
  );
});

Deno.test("watch() tells of a broker that is away once, goes on, and tells no change over that time", async () => {
  const { t, io, clock, ending, watching, said } = start([row(10)]);
  await clock.advance(0);
  t.seen = unavailable();
  await clock.advance(3_000);
  t.seen = [row(90)];
  await clock.advance(2_000);
  t.seen = unavailable();
  await clock.advance(1_000);
  ending.abort();
  await watching;
  const told = `fervo-worker: ${unavailable().message}\n`;
  assert.equal(io.stderr, told + told);
  assert.deepEqual(said().map((line) => line.replace(/^.* dead=4/, "")), ["", "", " change_per_s=0"]);
});

Deno.test("watch() tells of it in the first line on a terminal", async () => {
  const { t, io, clock, ending, watching } = start([row(10)], { size: { columns: 100, rows: 24 } });
  await clock.advance(0);
  t.seen = unavailable();
  await clock.advance(1_000);
  ending.abort();
  await watching;
  assert.equal(io.stderr, "");
  const drawn = io.stdout.split("\x1b[H")[2]!;
  assert.ok(drawn.startsWith(`2026-01-31T12:00:01.000Z   ${unavailable().message}`), drawn);
  assert.match(drawn, / +10 .* jobs/);
});

Deno.test("watch() fails when the first look does, and has drawn nothing", async () => {
  const { io, watching } = start(unavailable(), { size: { columns: 80, rows: 24 } });
  await assert.rejects(watching, { code: "QUEUE_UNAVAILABLE" });
  assert.equal(io.stdout, "");
});

Deno.test("watch() shows names and errors that a terminal would obey as text", async () => {
  for (const size of [undefined, { columns: 100, rows: 24 }]) {
    const { t, io, clock, ending, watching } = start([row(1, { queue: "evil\x1b[2J\u202e\n" })], {
      ...(size && { size }),
    });
    await clock.advance(0);
    t.seen = new QueueError("QUEUE_UNAVAILABLE", "no\x1b]0;title\x07");
    await clock.advance(1_000);
    ending.abort();
    await watching;
    assert.ok(io.stdout.includes("evil\\u001b[2J\\u202e\\u000a"), io.stdout);
    assert.ok(`${io.stdout}${io.stderr}`.includes("no\\u001b]0;title\\u0007"));
  }
});
