import assert from "node:assert/strict";
import fc from "fast-check";
import { ByteWriter, joined, writeText } from "../../../../src/core/text/bytes.ts";

Deno.test("joined() puts the pieces one behind the other", () => {
  fc.assert(fc.property(fc.array(fc.uint8Array()), (pieces) => {
    assert.deepEqual([...joined(pieces)], pieces.flatMap((piece) => [...piece]));
  }));
});

Deno.test("writeText() writes what the encoder writes, short or long, ASCII or not", () => {
  fc.assert(fc.property(fc.string({ unit: "grapheme", maxLength: 200 }), fc.nat(20), (text, at) => {
    const expected = new TextEncoder().encode(text);
    const buffer = new Uint8Array(at + 3 * text.length);
    assert.equal(writeText(buffer, text, at), at + expected.length);
    assert.deepEqual(buffer.subarray(at, at + expected.length), expected);
  }));
});

Deno.test("ByteWriter.take() gives what was written since the last time, and that stays until the next", () => {
  const part = fc.oneof(fc.string({ maxLength: 9_000 }), fc.uint8Array({ maxLength: 9_000 }));
  const utf8 = new TextEncoder();
  fc.assert(
    fc.property(fc.array(fc.array(part, { maxLength: 5 }), { maxLength: 5 }), (rounds) => {
      const writer = new ByteWriter();
      let last: { taken: Uint8Array; expected: Uint8Array } | undefined;
      for (const parts of rounds) {
        for (const part of parts) {
          if (typeof part === "string") writer.text(part);
          else writer.bytes(part);
        }
        if (last !== undefined) assert.deepEqual(last.taken, last.expected);
        const expected = joined([
          new Uint8Array(0),
          ...parts.map((part) => typeof part === "string" ? utf8.encode(part) : part),
        ]);
        assert.equal(writer.length, expected.length);
        last = { taken: writer.take(), expected };
        assert.equal(writer.length, 0);
        assert.deepEqual(last.taken, expected);
      }
    }),
    { numRuns: 30 },
  );
});
