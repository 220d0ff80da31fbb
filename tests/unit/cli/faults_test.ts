import assert from "node:assert/strict";
import { Faults } from "../../../src/cli/faults.ts";
import { FakeIo } from "./fake_io.ts";

const throwLater = (error: unknown) =>
  void setTimeout(() => {
    throw error;
  });

Deno.test("Faults tells the first fault as plain text, and ends the process, where no command takes it", async () => {
  for (const fault of [(error: unknown) => void Promise.reject(error), throwLater]) {
    const io = new FakeIo();
    using faults = new Faults(io);
    fault(new TypeError("a bug"));
    assert.equal(await faults.fatal, 1);
    assert.match(
      io.stderr,
      /^fervo-worker: This is a fault in fervo-worker itself; please report it:\nTypeError: a bug\n {4}at /,
    );
  }
});

Deno.test("Faults leaves the first fault to the command, and ends the process at the second", async () => {
  const io = new FakeIo();
  using faults = new Faults(io);
  const first = Promise.withResolvers<unknown>();
  const taken: unknown[] = [];
  faults.handleBy((error) => {
    taken.push(error);
    first.resolve(error);
    return true;
  });
  let hasEnded = false;
  void faults.fatal.then(() => hasEnded = true);
  throwLater("first");
  assert.equal(await first.promise, "first");
  await new Promise((resolve) => setTimeout(resolve));
  assert.equal(hasEnded, false);
  void Promise.reject("second");
  assert.equal(await faults.fatal, 1);
  assert.deepEqual(taken, ["first", "second"]);
  assert.equal(io.stderr, "");
});

Deno.test("Faults ends the process when the command cannot end by itself, or fails at it", async () => {
  const cannot = () => false;
  const fails = () => {
    throw new Error("the log is broken, too");
  };
  for (const [handler, said] of [[cannot, /^$/], [fails, /a bug[^]*the log is broken, too/]] as const) {
    const io = new FakeIo();
    using faults = new Faults(io);
    faults.handleBy(handler);
    void Promise.reject(new Error("a bug"));
    assert.equal(await faults.fatal, 1);
    assert.match(io.stderr, said);
  }
});
