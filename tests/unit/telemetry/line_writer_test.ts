import assert from "node:assert/strict";
import { LineWriter } from "../../../src/telemetry/line_writer.ts";
import { FakeClock, settlePromises } from "../../support/fake_clock.ts";

/** A reader that takes what it is given, unless the test has it stand still or break. */
class FakeReader {
  /** Each write that has ended. */
  readonly taken: string[] = [];
  error: Error | undefined;
  #going = Promise.resolve();
  #goOn: (() => void) | undefined;

  get text(): string {
    return this.taken.join("");
  }

  standStill(): void {
    const { promise, resolve } = Promise.withResolvers<void>();
    [this.#going, this.#goOn] = [promise, resolve];
  }

  goOn(): void {
    this.#goOn?.();
  }

  async write(bytes: Uint8Array): Promise<number> {
    await this.#going;
    if (this.error !== undefined) throw this.error;
    this.taken.push(new TextDecoder().decode(bytes));
    return bytes.length;
  }
}

function start({ maxLength = 1_000 } = {}) {
  const clock = new FakeClock();
  const sink = new FakeReader();
  const writer = new LineWriter({ clock, sink }, { maxLength });
  writer.onDropped((lines) => writer.write(`${lines} dropped\n`));
  return { clock, sink, writer };
}

Deno.test(
  "LineWriter writes a line at once, and those that follow soon together",
  { permissions: "none" },
  async () => {
    const { clock, sink, writer } = start();
    writer.write("a\n");
    writer.write("b\n");
    await settlePromises();
    assert.deepEqual(sink.taken, ["a\nb\n"]);
    for (const line of ["c\n", "d\n", "ü\n"]) {
      writer.write(line);
      await settlePromises();
    }
    await clock.advance(9);
    assert.equal(sink.taken.length, 1);
    await clock.advance(1);
    assert.deepEqual(sink.taken, ["a\nb\n", "c\nd\nü\n"]);
    await clock.advance(10);
    assert.equal(clock.pendingTimers, 0);
  },
);

Deno.test("LineWriter writes the rest when its reader takes a part", { permissions: "none" }, async () => {
  const taken: number[] = [];
  const write = (bytes: Uint8Array) => {
    const some = Math.min(bytes.length, 3);
    taken.push(...bytes.subarray(0, some));
    return Promise.resolve(some);
  };
  const writer = new LineWriter({ clock: new FakeClock(), sink: { write } }, { maxLength: 100 });
  writer.write("eight ü\n");
  await writer.drained();
  assert.equal(new TextDecoder().decode(new Uint8Array(taken)), "eight ü\n");
});

Deno.test(
  "LineWriter keeps what has room, and tells at its place how many lines had none, once the reader is back",
  { permissions: "none" },
  async () => {
    const { clock, sink, writer } = start({ maxLength: 20 });
    sink.standStill();
    writer.write("under way\n");
    await settlePromises();
    for (let n = 1; n <= 9; n++) writer.write(`line ${n}\n`);
    assert.equal(writer.dropped, 7);
    await clock.advance(1_000);
    assert.equal(writer.isStalled, false);
    await clock.advance(1);
    assert.equal(writer.isStalled, true);
    assert.equal(sink.text, "");
    sink.goOn();
    await settlePromises();
    writer.write("too early, for two lines wait\n");
    await clock.advance(10);
    writer.write("back\n");
    await writer.drained();
    assert.equal(sink.text, "under way\nline 1\nline 2\n8 dropped\nback\n");
    assert.equal(writer.dropped, 8);
    assert.equal(writer.isStalled, false);
  },
);

Deno.test("LineWriter takes a line that is longer than all room there is, when none waits", {
  permissions: "none",
}, async () => {
  const { sink, writer } = start({ maxLength: 5 });
  const line = `${"long".repeat(100)}\n`;
  writer.write(line);
  await writer.drained();
  assert.equal(sink.text, line);
});

Deno.test("LineWriter counts what cannot be written, goes on trying, and tells it later", {
  permissions: "none",
}, async () => {
  const { sink, writer } = start();
  sink.error = new Deno.errors.BrokenPipe("Broken pipe");
  for (const line of ["a\n", "b\n"]) {
    writer.write(line);
    await writer.drained();
  }
  assert.equal(writer.dropped, 2);
  assert.equal(writer.failure, sink.error);
  sink.error = undefined;
  writer.write("c\n");
  await writer.drained();
  assert.equal(sink.text, "c\n2 dropped\n");
  assert.equal(writer.failure, undefined);
  assert.equal(writer.dropped, 2);
});

Deno.test("LineWriter.flush() waits for its reader, and gives up one that stands still", {
  permissions: "none",
}, async () => {
  const { clock, sink, writer } = start();
  sink.standStill();
  writer.write("a\n");
  const flushed = writer.flush(1_000).then(() => clock.monotonicMs());
  await clock.advance(999);
  sink.goOn();
  assert.equal(await flushed, 999);
  assert.equal(sink.text, "a\n");

  sink.standStill();
  writer.write("b\n");
  const givenUp = writer.flush(1_000);
  await clock.advance(1_000);
  await givenUp;
  writer.write("c\n");
  assert.equal(writer.isStalled, true);
  await writer.flush(1_000);
  sink.goOn();
  await settlePromises();
  assert.equal(sink.text, "a\nb\n", "what was under way is not called back");
  assert.equal(writer.dropped, 1);
  assert.equal(clock.pendingTimers, 0);
});
