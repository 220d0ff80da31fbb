import assert from "node:assert/strict";
import fc from "fast-check";
import { raw } from "../../../src/formats/raw.ts";

Deno.test("raw passes the bytes through in both directions, the very same ones", () => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => {
    assert.equal(raw.read({ body: bytes, headers: {} }).payload, bytes);
    assert.equal(raw.write({ payload: bytes }).body, bytes);
  }));
});

Deno.test("raw.read() takes the trace context from the headers, and nothing else", () => {
  const bytes = Uint8Array.of(1);
  assert.deepEqual(raw.read({ body: bytes, headers: { traceparent: "00-a-b-01", id: "7" } }), {
    payload: bytes,
    traceparent: "00-a-b-01",
  });
  assert.deepEqual(raw.read({ body: bytes, headers: {} }), { payload: bytes });
});
