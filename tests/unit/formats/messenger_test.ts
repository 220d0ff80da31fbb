import assert from "node:assert/strict";
import { messenger } from "../../../src/formats/messenger.ts";

Deno.test("messenger.read() passes the body through, the very same bytes, and reads nothing from the headers", () => {
  const body = Uint8Array.of(0, 255);
  const headers = { type: "App\\Mail", traceparent: "00-a-b-01", id: "7" };
  const job = messenger.read({ body, headers });
  assert.deepEqual(job, { payload: body });
  assert.equal(job.payload, body);
});
