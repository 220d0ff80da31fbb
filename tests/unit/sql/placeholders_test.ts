import assert from "node:assert/strict";
import { numberPlaceholders } from "../../../src/sql/placeholders.ts";

Deno.test(
  "numberPlaceholders() numbers each parameter, also when it knows the text",
  { permissions: "none" },
  () => {
    for (let round = 0; round < 2; round++) {
      assert.equal(numberPlaceholders("SELECT ?, (?)", 2), "SELECT $1, ($2)");
      assert.equal(numberPlaceholders("SELECT 1", 0), "SELECT 1");
    }
  },
);

Deno.test("numberPlaceholders() refuses another number of values", { permissions: "none" }, () => {
  for (let round = 0; round < 2; round++) {
    assert.throws(
      () => numberPlaceholders("SELECT ?", 2),
      /has 1 parameters, and 2 values were given: SELECT \?/,
    );
    assert.throws(() => numberPlaceholders("SELECT ?, ?", 1), TypeError);
  }
});

Deno.test(
  "numberPlaceholders() goes on after more texts than it keeps",
  { permissions: "none" },
  () => {
    for (let i = 0; i < 5_000; i++) assert.equal(numberPlaceholders(`SELECT ?, ${i}`, 1), `SELECT $1, ${i}`);
  },
);
