import assert from "node:assert/strict";
import { DeadGrouping } from "../../../src/brokers/dead_grouping.ts";

const letter = (message: string, diedAtMs?: number, code = "JOB_FAILED") => ({
  id: `of ${diedAtMs}`,
  ...(diedAtMs !== undefined && { diedAtMs }),
  error: { code, message },
});

/** What of the messages is alike. */
function alike(...messages: string[]): string[] {
  const grouping = new DeadGrouping();
  for (const message of messages) grouping.add(letter(message));
  return grouping.result(true).groups.map(({ message }) => message);
}

Deno.test("DeadGrouping takes errors for alike that differ in numbers, hashes and later lines", {
  permissions: "none",
}, () => {
  assert.deepEqual(alike("Took 1 s", "Took 22 s\nat line 7"), ["Took # s"]);
  assert.deepEqual(alike("No order 4f4f485d-4ac2-603e-a8b7-173c00000001", "No order 17"), ["No order #"]);
  assert.deepEqual(alike("At 0x7f00ab12", "At 0xdeadbe0f"), ["At #"]);
  assert.deepEqual(alike("SQLSTATE[HY000] [2002]", "SQLSTATE[HY001] [5]"), ["SQLSTATE[HY#] [#]"]);
  assert.deepEqual(alike("a dead face", "a bad cafe").length, 2);
  assert.deepEqual(alike("", "\nx"), [""]);
  assert.equal(alike("x".repeat(10_000))[0]!.length, 200);
});

Deno.test("DeadGrouping tells the largest group first, with the first and the last of it", {
  permissions: "none",
}, () => {
  const grouping = new DeadGrouping();
  for (
    const one of [
      letter("a", 5),
      letter("b", 7),
      letter("b", 9),
      letter("b", 8),
      letter("b", 6, "JOB_TIMEOUT"),
    ]
  ) {
    grouping.add(one);
  }
  assert.deepEqual(grouping.result(false), {
    groups: [
      { code: "JOB_FAILED", message: "b", count: 3, newestMs: 9, oldestMs: 7, exampleId: "of 9" },
      { code: "JOB_TIMEOUT", message: "b", count: 1, newestMs: 6, oldestMs: 6, exampleId: "of 6" },
      { code: "JOB_FAILED", message: "a", count: 1, newestMs: 5, oldestMs: 5, exampleId: "of 5" },
    ],
    counted: 5,
    isWhole: false,
  });
});
