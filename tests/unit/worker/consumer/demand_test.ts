import assert from "node:assert/strict";
import { demand, type DemandFacts } from "../../../../src/worker/consumer/demand.ts";

/** Four slots that are free, one job each. */
const FREE: DemandFacts = {
  usableSlots: 4,
  busySlots: 0,
  slots: 4,
  batchSize: 1,
  isOpen: true,
  hasQueue: true,
  inFlight: 0,
  aheadRoom: 0,
  allowance: 0,
  roomBytes: 1_000,
  rateRoom: () => Infinity,
};

const CASES: readonly [what: string, facts: Partial<DemandFacts>, jobs: number][] = [
  ["a job for each free slot", {}, 4],
  ["none while all slots are busy", { busySlots: 4, inFlight: 4 }, 0],
  ["a job for the slot that is free", { busySlots: 3, inFlight: 3 }, 1],
  ["a batch for each free slot", { batchSize: 10 }, 40],
  ["what may be taken ahead, too", { busySlots: 4, inFlight: 4, aheadRoom: 4, allowance: 16 }, 4],
  ["no more than may be in flight: settles lag", { inFlight: 7 }, 1],
  ["none when as many settles lag as there are slots", { inFlight: 8 }, 0],
  ["more in flight where short jobs allow for it", { inFlight: 8, allowance: 16 }, 4],
  ["one job to find out whether the executor is back", { usableSlots: 1, isOpen: false, batchSize: 10 }, 1],
  ["none while that one runs", { usableSlots: 1, isOpen: false, busySlots: 1, inFlight: 1 }, 0],
  ["none ahead then", { usableSlots: 1, isOpen: false, aheadRoom: 4, allowance: 16 }, 1],
  ["none while no job can be run", { usableSlots: 0, isOpen: false }, 0],
  ["none when fewer slots are usable than busy", { usableSlots: 1, isOpen: false, busySlots: 3 }, 0],
  ["none when the messages in flight are too long", { roomBytes: 0 }, 0],
  ["none when each queue is paused", { hasQueue: false }, 0],
  ["as many as may start", { rateRoom: () => 2 }, 2],
  ["none when none may start", { rateRoom: () => 0 }, 0],
];

for (const [what, facts, jobs] of CASES) {
  Deno.test(`demand() asks for ${what}`, { permissions: "none" }, () => {
    assert.equal(demand({ ...FREE, ...facts }), jobs);
  });
}

Deno.test("demand() asks a rate limit only when there is room", { permissions: "none" }, () => {
  const rateRoom = () => assert.fail("asked");
  assert.equal(demand({ ...FREE, busySlots: 4, rateRoom }), 0);
});
