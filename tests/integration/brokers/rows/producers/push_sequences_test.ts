/**
 * A job exists if and only if the transaction in which the application has pushed it was committed: random sequences with
 * savepoints, failed statements, kills and lost connections. tests/slow/transactional_push_test.ts plays more of them.
 */
import assert from "node:assert/strict";
import { SERVER_KINDS } from "./application_database.ts";
import { playPushSequences } from "./push_sequences.ts";

const SEED = 17;

for (const kind of SERVER_KINDS) {
  for (const [how, sequences] of [["pdo", 300], ["bundle", 150]] as const) {
    Deno.test(`${sequences} random sequences of pushes by ${how} on ${kind.product}: jobs are what was committed (seed ${SEED})`, async () => {
      const played = await playPushSequences(kind, how, { sequences, seed: SEED });
      assert.ok(played.jobs > sequences && played.kills > 0 && played.ends > 0, JSON.stringify(played));
    });
  }
}
