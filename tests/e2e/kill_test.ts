import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import { Site } from "../support/fervo_worker.ts";
import { PhpFpm } from "../support/php_fpm.ts";
import { SeededRandom } from "../support/seeded_random.ts";

const JOBS = 2_000;
const KILLS = 10;
const CONCURRENCY = 4;
/**
 * Jobs of a slot that have begun and are not settled: a running one, and short ones that have ended (docs/adr/0008); with
 * batches, those of as many as a slot has in flight (docs/adr/0010).
 */
const MOST_BEGUN_PER_SLOT = { 1: 6, 10: 30 } as const;
const SEED = 20_260_131;

for (const batchSize of [1, 10] as const) {
  const name = batchSize === 1 ? "A worker" : `A worker with batches of ${batchSize}`;
  Deno.test(`${name} killed with SIGKILL ${KILLS} times loses no job, and repeats only those it held (seed ${SEED})`, async () => {
    const random = new SeededRandom(SEED);
    // Children beyond the concurrency: a job whose worker was killed goes on for a moment.
    await using fpm = await PhpFpm.start({ children: 3 * CONCURRENCY });
    await using site = await Site.create(fpm, {
      broker: { lease_ms: 1_000 },
      consumer: { concurrency: CONCURRENCY, batch_size: batchSize },
      retry: { attempts: 1 + KILLS },
    });
    const ids = await site.push('{"sleep_ms":2}', JOBS);

    for (let kills = 0; kills < KILLS; kills++) {
      const killAt = site.effectCount() + Math.floor(random.next() * random.next() * JOBS / KILLS * 2);
      await using worker = site.start(["run"]);
      await worker.says("Consumer started");
      await eventually(`${killAt} jobs have run`, () => site.effectCount() >= killAt);
      worker.kill("SIGKILL");
      assert.equal((await worker.ended).signal, "SIGKILL");
      const left = site.queueRows("SELECT count(*) AS jobs FROM fervo_jobs")[0]!["jobs"] as number;
      assert.ok(left > 0, "the kills came too late to matter");
    }
    await site.runOk(["run", "--until-empty"]);

    assert.deepEqual(site.queueRows("SELECT * FROM fervo_jobs"), [], "nothing is left, and nothing is dead");
    const attemptsOf = new Map<string, number[]>(ids.map((id) => [id, []]));
    for (const { job, attempt } of site.effects()) attemptsOf.get(job)!.push(attempt);
    const lost = ids.filter((id) => attemptsOf.get(id)!.length === 0);
    assert.deepEqual(lost, []);
    const repeated = [...attemptsOf].filter(([, attempts]) => attempts.length > 1);
    const wrong = repeated.filter(([, attempts]) =>
      attempts.some((attempt, i) => attempt <= (attempts[i - 1] ?? 0))
    );
    assert.deepEqual(wrong, [], "each repetition is a later attempt");
    const repetitions = repeated.reduce((sum, [, attempts]) => sum + attempts.length - 1, 0);
    assert.ok(repetitions > 0, "no kill hit a job under way: the test proves nothing");
    const mostBegun = MOST_BEGUN_PER_SLOT[batchSize] * CONCURRENCY * KILLS;
    assert.ok(repetitions <= mostBegun, `${repetitions} repetitions, more than were in flight`);
  });
}
