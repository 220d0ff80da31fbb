import assert from "node:assert/strict";
import { locateKeys } from "../../../src/config/positions.ts";
import type { Path } from "../../../src/config/problems.ts";

const TEXT = `a = 1
b.c = { d = 2, e = [
  { f = 3 }, 4] }
  [ t."u v" ]
k = 1
[t]
[[list]]
k = 1
[[list]]
  k = 1
[list.sub]
`;

const places: [path: Path, place: string, claim: string][] = [
  [[], "1:1", "the file"],
  [["a"], "1:1", "a key"],
  [["b"], "2:1", "the first part of a dotted key"],
  [["b", "c"], "2:3", "a later part of a dotted key"],
  [["b", "c", "d"], "2:9", "a key of an inline table"],
  [["b", "c", "e", 0], "3:3", "a table in a list"],
  [["b", "c", "e", 0, "f"], "3:5", "a key of a table in a list"],
  [["b", "c", "e", 1], "3:14", "a value in a list"],
  [["t", "u v"], "4:3", "a table, by its bracket"],
  [["t", "u v", "k"], "5:1", "a key of a table"],
  [["t"], "6:1", "a table that is mentioned before it begins"],
  [["list"], "7:1", "an array of tables"],
  [["list", 1], "9:1", "a table of an array of tables"],
  [["list", 1, "k"], "10:3", "a key of a table of an array of tables"],
  [["list", 1, "sub"], "11:1", "a table in a table of an array of tables"],
  [["list", 1, "sub", "none", "none"], "11:1", "what is missing, at the table that should hold it"],
  [["none"], "1:1", "a missing table"],
];
for (const [path, place, claim] of places) {
  Deno.test(`locateKeys() finds ${claim}`, { permissions: "none" }, () => {
    const { line, column } = locateKeys(TEXT)(path);
    assert.equal(`${line}:${column}`, place);
  });
}

Deno.test(
  "locateKeys() points at the start of a text that its parser refuses",
  { permissions: "none" },
  () => {
    assert.deepEqual(locateKeys("a = ")(["a"]), { line: 1, column: 1 });
  },
);
