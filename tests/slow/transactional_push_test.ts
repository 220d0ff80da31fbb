/**
 * A job exists if and only if the transaction in which the application has pushed it was committed: 10,000 random sequences on each
 * server, with kills of the application and of its connection at any moment, also while it commits.
 */
import assert from "node:assert/strict";
import { SERVER_KINDS } from "../integration/brokers/rows/producers/application_database.ts";
import { playPushSequences } from "../integration/brokers/rows/producers/push_sequences.ts";

/** Others with FERVO_SEED. */
const SEED = Number(Deno.env.get("FERVO_SEED") ?? 1);

for (const kind of SERVER_KINDS) {
  for (const [how, sequences] of [["pdo", 10_000], ["bundle", 2_000]] as const) {
    Deno.test(`${sequences} random sequences of pushes by ${how} on ${kind.product}: jobs are what was committed (seed ${SEED})`, async () => {
      const played = await playPushSequences(kind, how, { sequences, seed: SEED });
      assert.ok(played.jobs > sequences && played.commits > sequences / 100, JSON.stringify(played));
    });
  }
}
