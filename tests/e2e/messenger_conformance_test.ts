/** fervo-worker beside the real thing: what becomes of Symfony Messenger's messages, by messenger:consume and by fervo-worker. */
import assert from "node:assert/strict";
import { messages } from "../support/messenger/cases.ts";
import { compare, type KnownDifference } from "../support/messenger/comparison.ts";
import { consumeByMessenger } from "../support/messenger/consume.ts";
import { startDatabases } from "../support/messenger/databases.ts";
import { type Story, Trial } from "../support/messenger/trial.ts";

Deno.test("messenger:consume does the same with the same messages twice, so the comparison has nothing to do with chance", async () => {
  await using databases = await startDatabases("postgres");
  const run = async (): Promise<Map<string, Story>> => {
    await using trial = await Trial.create(databases, { symfony: "Debian's", hasBundle: false });
    await trial.dispatch(messages("one of each"));
    await consumeByMessenger(trial, 2);
    return await trial.stories();
  };
  const [once, twice] = await Promise.all([run(), run()]);
  assert.deepEqual(compare(once, twice, []), []);
  assert.ok(
    once.size > messages("one of each").length,
    "messages that handlers dispatched are compared, too",
  );
});

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
