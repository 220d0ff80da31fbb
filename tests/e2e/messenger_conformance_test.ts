/** fervo-worker beside the real thing: what becomes of Symfony Messenger's messages, by messenger:consume and by fervo-worker. */
import assert from "node:assert/strict";
import { compare, type Known, type KnownDifference } from "../support/messenger/comparison.ts";
import { problemsOf } from "../support/messenger/conformance.ts";
import { DATABASE_KINDS } from "../support/messenger/databases.ts";
import type { Story } from "../support/messenger/trial.ts";

// tests/slow has all 300 messages, and other versions of Symfony.
for (const kind of DATABASE_KINDS) {
  Deno.test(`fervo-worker does with each kind of message what messenger:consume does, and better where it is known, on ${kind}`, async () => {
    assert.deepEqual(await problemsOf(kind, "Debian's", "one of each"), []);
  });
}

const STORY: Story = {
  inserted: [
    "default, in time, headers [], Task()",
    "failed, in time, headers [], Task(), DelayStamp(delay: 0)",
  ],
  runs: ["DoTask begins"],
  left: ["failed, in time"],
  shown: ["Error The printer is on fire"],
};
const KNOWN: KnownDifference = {
  of: "task-exit-…",
  where: "runs",
  theirs: ["DoTask begins", "DoTask begins"],
  ours: ["DoTask …"],
  because: "it is a test",
};
const TRACES: Known = { traces: / at \w+/g, because: "it is a test" };

for (const where of ["inserted", "runs", "left", "shown"] as const) {
  Deno.test(`compare() finds a line that is different, missing or more in what is ${where}`, () => {
    const theirs = new Map([["001-task-ok-php", STORY]]);
    assert.deepEqual(compare(theirs, theirs, []), []);
    for (const lines of [["something else"], [...STORY[where], "one more"], STORY[where].slice(1)]) {
      const [problem, ...others] = compare(
        theirs,
        new Map([["001-task-ok-php", { ...STORY, [where]: lines }]]),
        [],
      );
      assert.match(problem ?? "nothing", new RegExp(`^001-task-ok-php, ${where}:`));
      assert.deepEqual(others, []);
    }
  });
}

Deno.test("compare() finds a message that only one side has", () => {
  const both = new Map([["001-task-ok-php", STORY]]);
  assert.equal(compare(both, new Map(), []).length, 4);
  assert.equal(compare(new Map(), both, []).length, 4);
});

Deno.test("compare() takes a known difference where it occurs as it is known, and misses one that does not occur", () => {
  const theirs = new Map([["007-task-exit-php", { ...STORY, runs: ["DoTask begins", "DoTask begins"] }]]);
  const ours = new Map([["007-task-exit-php", STORY]]);
  assert.deepEqual(compare(theirs, ours, [KNOWN]), []);
  assert.match(compare(theirs, theirs, [KNOWN])[0]!, /^known, and did not occur: .*it is a test/s);
  for (
    const other of [{ of: "task-ok-…" }, { where: "left" as const }, { ours: ["DoPair …"] }, { theirs: [] }]
  ) {
    assert.equal(compare(theirs, ours, [{ ...KNOWN, ...other }]).length, 2);
  }
});

Deno.test("compare() knows any lines from any text in a line", () => {
  const theirs = new Map([["007-task-exit-php", { ...STORY, shown: [] }]]);
  const ours = new Map([["007-task-exit-php", {
    ...STORY,
    shown: ["Error", "one", "two", "Transport php"],
  }]]);
  const problemsWith = (...lines: string[]) =>
    compare(theirs, ours, [{ ...KNOWN, where: "shown", theirs: [], ours: lines }]).length;
  assert.equal(problemsWith("Error", "⋮", "Transport …"), 0);
  assert.equal(problemsWith("Error", "⋮", "two", "⋮", "Transport php", "⋮"), 0);
  assert.equal(problemsWith("Error", "…", "Transport php"), 2);
  assert.equal(problemsWith("⋮", "Transport json"), 2);
});

Deno.test("compare() leaves known traces out of lines that differ, and misses them where there are none", () => {
  const theirs = new Map([["001-task-ok-php", { ...STORY, left: ["a at noon at night, b"] }]]);
  const ours = (line: string) => new Map([["001-task-ok-php", { ...STORY, left: [line] }]]);
  assert.deepEqual(compare(theirs, ours("a at dawn, b"), [TRACES]), []);
  assert.equal(compare(theirs, ours("a at dawn, c"), [TRACES]).length, 1);
  assert.match(compare(theirs, theirs, [TRACES])[0]!, /^known, and did not occur/);
});
