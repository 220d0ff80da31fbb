import assert from "node:assert/strict";
import { formatTraceparent, parseTraceparent } from "../../../src/core/trace.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN = "00f067aa0ba902b7";

Deno.test("parseTraceparent() reads what W3C Trace Context allows", { permissions: "none" }, () => {
  const ids = { traceId: TRACE, spanId: SPAN };
  assert.deepEqual(parseTraceparent(`00-${TRACE}-${SPAN}-01`), { ...ids, isSampled: true });
  assert.deepEqual(parseTraceparent(`00-${TRACE}-${SPAN}-00`), { ...ids, isSampled: false });
  // Flags that are not known yet, and fields of a later version.
  assert.deepEqual(parseTraceparent(`00-${TRACE}-${SPAN}-fe`), { ...ids, isSampled: false });
  assert.deepEqual(parseTraceparent(`cc-${TRACE}-${SPAN}-03-what`), { ...ids, isSampled: true });
});

for (
  const [claim, text] of [
    ["nothing", ""],
    ["an unknown form", "00-1"],
    ["capitals", `00-${TRACE.toUpperCase()}-${SPAN}-01`],
    ["a trace id of zeros", `00-${"0".repeat(32)}-${SPAN}-01`],
    ["a span id of zeros", `00-${TRACE}-${"0".repeat(16)}-01`],
    ["version ff", `ff-${TRACE}-${SPAN}-01`],
    ["more fields in version 00", `00-${TRACE}-${SPAN}-01-what`],
    ["text behind it", `00-${TRACE}-${SPAN}-01.`],
    ["a line end behind it", `00-${TRACE}-${SPAN}-01\n`],
    ["a line end in a later version", `cc-${TRACE}-${SPAN}-01-a\nb`],
    ["blanks", ` 00-${TRACE}-${SPAN}-01`],
  ] as const
) {
  Deno.test(`parseTraceparent() refuses ${claim}`, { permissions: "none" }, () => {
    assert.equal(parseTraceparent(text), undefined);
  });
}

Deno.test("formatTraceparent() writes what parseTraceparent() reads", { permissions: "none" }, () => {
  for (const isSampled of [true, false]) {
    const parent = { traceId: TRACE, spanId: SPAN, isSampled };
    assert.deepEqual(parseTraceparent(formatTraceparent(parent)), parent);
  }
});
