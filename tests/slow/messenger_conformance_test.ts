/** fervo-worker beside messenger:consume: 300 messages, by each version of Symfony and on each database. */
import assert from "node:assert/strict";
import { problemsOf } from "../support/messenger/conformance.ts";
import { DATABASE_KINDS } from "../support/messenger/databases.ts";

for (const symfony of ["Debian's", "6.4", "7.4"] as const) {
  for (const kind of DATABASE_KINDS) {
    Deno.test(`300 messages end as with messenger:consume, but for what is known, on Symfony ${symfony} and ${kind}`, async () => {
      assert.deepEqual(await problemsOf(kind, symfony, 300), []);
    });
  }

  Deno.test(`Messages in batches of 4 end as with messenger:consume, but for what is known, on Symfony ${symfony}`, async () => {
    assert.deepEqual(await problemsOf("postgres", symfony, 300, 4), []);
  });
}
