import assert from "node:assert/strict";
import { checkedTrace, formatTraceparent, parseTraceparent } from "../../../src/core/trace.ts";

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

const PARENT = `00-${TRACE}-${SPAN}-01`;

for (
  const state of [
    "vendor=1",
    "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
    "fw529a3039@dt=FfffffffFfffffff,1a-2f@foo=bar1,0=x y",
    "a=1 , \tb=2,,c=3",
    `${"k".repeat(256)}=${"v".repeat(256)}`,
    Array.from({ length: 32 }, (_, i) => `k${i}=1`).join(","),
    Array.from({ length: 32 }, (_, i) => `k${i}${"k".repeat(250)}=${"v".repeat(256)}`).join(","),
  ]
) {
  Deno.test(`checkedTrace() hands on tracestate ${state.slice(0, 60)}`, { permissions: "none" }, () => {
    assert.deepEqual(checkedTrace(PARENT, state), { traceparent: PARENT, tracestate: state });
  });
}

for (
  const [claim, state] of [
    ["a line end", "a=1\r\nx: evil"],
    ["a line end at its end", "a=1\n"],
    ["a line end in a blank", "a=1,\n b=2"],
    ["a NUL", "a=1\0b=2"],
    ["letters beyond ASCII", "a=ä"],
    ["a DEL", "a=\x7f"],
    ["a capital in a key", "A=1"],
    ["no key", "=1"],
    ["no value", "a="],
    ["no member", "a"],
    ["an = in a value", "a=b=c"],
    ["a key that is too long", `${"k".repeat(257)}=1`],
    ["a value that is too long", `a=${"v".repeat(257)}`],
    ["33 members", Array.from({ length: 33 }, (_, i) => `k${i}=1`).join(",")],
    ["blanks without end", `a=1${" ".repeat(1_000_000)}`],
  ] as const
) {
  Deno.test(`checkedTrace() ignores a tracestate with ${claim}`, { permissions: "none" }, () => {
    assert.deepEqual(checkedTrace(PARENT, state), { traceparent: PARENT, ignored: ["tracestate"] });
  });
}

Deno.test("checkedTrace() ignores both where the traceparent breaks a rule", { permissions: "none" }, () => {
  for (const parent of ["00-x\r\nAuthorization: Bearer evil", `${PARENT}\n`, `${PARENT}\0`, ""]) {
    assert.deepEqual(checkedTrace(parent, "a=1"), { ignored: ["traceparent"] });
  }
  assert.deepEqual(checkedTrace(undefined, "a=1"), {});
});

Deno.test(
  "checkedTrace() hands on what a later version says as one of version 00",
  { permissions: "none" },
  () => {
    assert.deepEqual(checkedTrace(`cc-${TRACE}-${SPAN}-ff-x\0\x7f`, ""), { traceparent: PARENT });
    assert.deepEqual(checkedTrace(`cc-${TRACE}-${SPAN}-ff-what`, ""), { traceparent: PARENT });
  },
);
