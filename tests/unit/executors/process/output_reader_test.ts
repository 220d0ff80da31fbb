import assert from "node:assert/strict";
import { OutputReader } from "../../../../src/executors/process/output_reader.ts";
import { FakeClock, settlePromises } from "../../../support/fake_clock.ts";

Deno.test("OutputReader keeps bytes of its own, not the large buffers in which they came", {
  permissions: "none",
}, async () => {
  const buffer = new Uint8Array(65_536).fill(97);
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const output = new OutputReader(readable, 16);
  const writer = writable.getWriter();
  await writer.write(buffer.subarray(0, 3));
  await settlePromises();
  buffer.fill(98);
  await writer.close();
  assert.equal(await output.end(new FakeClock(), 0), "aaa");
});
