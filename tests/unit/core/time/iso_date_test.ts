import assert from "node:assert/strict";
import { isoDate } from "../../../../src/core/time/iso_date.ts";

Deno.test("isoDate() is ISO 8601 in UTC, as far as a date goes", { permissions: "none" }, () => {
  assert.equal(isoDate(0), "1970-01-01T00:00:00.000Z");
  assert.equal(isoDate(8.64e15), "+275760-09-13T00:00:00.000Z");
  assert.equal(isoDate(-8.64e15), "-271821-04-20T00:00:00.000Z");
});

Deno.test("isoDate() shows a number that no date can hold as it is", { permissions: "none" }, () => {
  assert.equal(isoDate(8.64e15 + 1), "8640000000000001");
  assert.equal(isoDate(1e303), "1e+303");
  assert.equal(isoDate(-Infinity), "-Infinity");
  assert.equal(isoDate(NaN), "NaN");
});
