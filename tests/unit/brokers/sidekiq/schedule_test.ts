import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { RedisShared } from "../../../../src/brokers/sidekiq/shared.ts";
import { RedisSchedule } from "../../../../src/brokers/sidekiq/schedule/schedule.ts";
import { FakeClock, settlePromises } from "../../../support/fake_clock.ts";

Deno.test("RedisSchedule.promote() that finds one under way, which has looked before a job was due, looks again", async () => {
  const clock = new FakeClock();
  const dueMs = clock.nowMs() + 5;
  const looks: PromiseWithResolvers<Buffer[]>[] = [];
  const reads: string[] = [];
  const shared = {
    clock,
    observe: () => {},
    keys: { retry: "retry", schedule: "schedule" },
    connection: {
      send: () => {
        const look = Promise.withResolvers<Buffer[]>();
        looks.push(look);
        return look.promise;
      },
      run: (_script: unknown, [set]: [string]) => {
        reads.push(set);
        return Promise.resolve([[], null]);
      },
    },
  } as unknown as RedisShared;
  const answer = async (look: number, ...found: Buffer[]) => {
    looks[look]!.resolve(found);
    await settlePromises();
  };
  const job = [Buffer.from("a job"), Buffer.from(String(dueMs / 1_000))];

  const schedule = new RedisSchedule(shared);
  const first = schedule.promote();
  await answer(1, ...job);
  // One set has been looked at, and the job was not due. It is when the other one answers.
  clock.jump(5);
  assert.ok(schedule.isDue);
  const second = schedule.promote();
  await answer(0);
  await first;
  assert.deepEqual([looks.length, reads], [4, []]);
  await answer(2);
  await answer(3, ...job);
  await second;
  assert.deepEqual(reads, ["schedule"]);
});
