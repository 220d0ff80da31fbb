import assert from "node:assert/strict";
import { areShort, withLiterals } from "../../../src/sql/mysql/literals.ts";

Deno.test("withLiterals() writes numbers as they are, and texts in hexadecimal", () => {
  const text = withLiterals("SELECT ?, ?, ?, ?, ?", [1, -5n, null, "", "it's; -- \\ \" ü"]);
  assert.equal(text, "SELECT 1, -5, NULL, '', _utf8mb4 X'697427733b202d2d205c2022" + "20c3bc'");
  assert.equal(withLiterals("BEGIN", []), "BEGIN");
});

Deno.test("areShort() is true of numbers and short texts, and of nothing that has another meaning in a text", () => {
  assert.ok(areShort([1, 2n ** 63n, null, "x".repeat(1_024)]));
  for (const value of ["x".repeat(1_025), new Uint8Array(1), 0.5, NaN, Infinity, 2 ** 53]) {
    assert.equal(areShort([value]), false, String(value));
  }
});
