import assert from "node:assert/strict";
import { counted } from "../../../../src/core/text/plural.ts";
import { table } from "../../../../src/cli/text/table.ts";

Deno.test("table() aligns texts to the left and numbers to the right, with no space at the line's end", () => {
  assert.equal(
    table(["QUEUE", "READY", "ERROR"], [["mail", 5, "none"], ["a-long-name", 12_345, "x"]]),
    [
      "QUEUE        READY  ERROR",
      "mail             5  none",
      "a-long-name  12345  x",
      "",
    ].join("\n"),
  );
});

Deno.test("table() without rows is its head", () => {
  assert.equal(table(["ID", "QUEUE"], []), "ID  QUEUE\n");
});

Deno.test("table() keeps characters that take two columns in their columns", () => {
  assert.equal(table(["A", "B"], [["日本", "x"], ["ab", "y"]]), "A     B\n日本  x\nab    y\n");
});

Deno.test("table() cuts a cell that is too long, and escapes what a terminal would obey", () => {
  assert.equal(
    table(["A", "B"], [["q".repeat(101), "x"], ["\x1b[2J\n", "y"]]),
    [`A${" ".repeat(101)}B`, `${"q".repeat(99)}…  x`, `\\u001b[2J\\u000a${" ".repeat(87)}y`, ""].join("\n"),
  );
});

Deno.test("table() takes time in proportion to its rows and to the length of its cells", () => {
  const rows = Array.from({ length: 100_000 }, (_, row) => [`id${row}`, row]);
  assert.equal(table(["ID", "N"], rows).split("\n").length, rows.length + 2);
  assert.equal(table(["ID"], [["x".repeat(10_000_000)]]), `ID\n${"x".repeat(99)}…\n`);
});

Deno.test("counted() gives a number its noun in the right form", () => {
  assert.equal(counted(0, "job"), "0 jobs");
  assert.equal(counted(1, "job"), "1 job");
  assert.equal(counted(2, "job"), "2 jobs");
  assert.equal(counted(1, "try", "tries"), "1 try");
  assert.equal(counted(3, "try", "tries"), "3 tries");
});
