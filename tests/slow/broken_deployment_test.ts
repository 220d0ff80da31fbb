/** A deployment that is broken for a minute, under load. */
import assert from "node:assert/strict";
import { systemClock } from "../../src/core/time/clock.ts";
import { DEFAULT_SQLITE_OPTIONS, SqliteBroker } from "../../src/brokers/sqlite/broker.ts";
import { FRAMEWORK } from "../support/framework_format.ts";
import { QUEUE, startFrameworkSite } from "../support/framework_site.ts";

const BROKEN_MS = 60_000;

Deno.test("An application that does not start for a minute costs no message an attempt, and all run when it is mended", async () => {
  await using t = await startFrameworkSite(
    (folder) =>
      SqliteBroker.open({ clock: systemClock, owner: "test", format: FRAMEWORK }, {
        ...DEFAULT_SQLITE_OPTIONS,
        path: `${folder}/queue.sqlite`,
      }),
    { consumer: { concurrency: 4 } },
  );
  let pushed = 0;
  const pushFor = async (ms: number) => {
    for (const endMs = performance.now() + ms; performance.now() < endMs;) {
      await t.push(...Array.from({ length: 10 }, () => ({ name: `m${pushed++}` })));
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  void t.run();
  await pushFor(2_000);
  await Deno.writeTextFile(t.file("broken"), "");
  await pushFor(BROKEN_MS);
  assert.equal(t.consumer.fault?.code, "APPLICATION_NOT_STARTED");
  await Deno.remove(t.file("broken"));
  await pushFor(2_000);
  await t.ended(pushed);
  assert.deepEqual(new Set(t.settles().filter((settle) => !settle.startsWith("release"))), new Set(["ack"]));
  assert.equal((await t.broker.admin.depth!(QUEUE)).dead, 0);
  assert.deepEqual([(await t.runs()).length, await t.deaths(), await t.failed()], [pushed, [], []]);
});
