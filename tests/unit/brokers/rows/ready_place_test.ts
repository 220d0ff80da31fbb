import assert from "node:assert/strict";
import { ReadyPlaces } from "../../../../src/brokers/rows/fervo/ready_place.ts";
import { FakeClock } from "../../../support/fake_clock.ts";

const FULL = { isWhole: true, isFull: true };

function rows(id: number) {
  return [{ id: id - 1, priority: 0 }, { id, priority: 0 }];
}

Deno.test("ReadyPlaces gives a place after many full claims in a row, and none after one that found less", () => {
  const places = new ReadyPlaces(new FakeClock());
  for (let i = 1; i <= 31; i++) places.note("q", rows(i), FULL);
  assert.equal(places.of("q"), undefined);
  places.note("q", rows(32), FULL);
  assert.deepEqual(places.of("q"), { priority: 0n, id: 32n });
  assert.equal(places.of("other"), undefined);
  places.note("q", rows(33), { isWhole: false, isFull: true });
  assert.deepEqual(places.of("q"), { priority: 0n, id: 33n });
  places.note("q", rows(40), { isWhole: true, isFull: false });
  assert.equal(places.of("q"), undefined);
});

Deno.test("ReadyPlaces lets a claim look at all ready jobs again after a moment, whatever flows", async () => {
  const clock = new FakeClock();
  const places = new ReadyPlaces(clock);
  for (let i = 1; i <= 40; i++) places.note("q", rows(i), FULL);
  await clock.advance(19);
  places.note("q", rows(41), { isWhole: false, isFull: true });
  assert.ok(places.of("q"));
  await clock.advance(1);
  assert.equal(places.of("q"), undefined);
  places.note("q", rows(42), FULL);
  assert.ok(places.of("q"));
});
