import assert from "node:assert/strict";
import { ReadyPlaces } from "../../../../src/brokers/rows/ready_place.ts";
import { FakeClock } from "../../../support/fake_clock.ts";

const FULL = { isWhole: true, isFull: true };

Deno.test("ReadyPlaces gives a place after many full claims in a row, and none after one that found less", () => {
  const places = new ReadyPlaces<number>(new FakeClock(), { validMs: 20 });
  for (let i = 1; i <= 31; i++) places.note("q", i, FULL);
  assert.equal(places.of("q"), undefined);
  places.note("q", 32, FULL);
  assert.equal(places.of("q"), 32);
  assert.equal(places.of("other"), undefined);
  places.note("q", 33, { isWhole: false, isFull: true });
  assert.equal(places.of("q"), 33);
  places.note("q", 40, { isWhole: true, isFull: false });
  assert.equal(places.of("q"), undefined);
  for (let i = 1; i <= 32; i++) places.note("q", i, FULL);
  places.note("q", undefined, FULL);
  assert.equal(places.of("q"), undefined, "a job without a place");
});

Deno.test("ReadyPlaces lets a claim look at all ready jobs again after a moment, whatever flows", async () => {
  const clock = new FakeClock();
  const places = new ReadyPlaces<number>(clock, { validMs: 20 });
  for (let i = 1; i <= 40; i++) places.note("q", i, FULL);
  await clock.advance(19);
  places.note("q", 41, { isWhole: false, isFull: true });
  assert.ok(places.of("q"));
  await clock.advance(1);
  assert.equal(places.of("q"), undefined);
  places.note("q", 42, FULL);
  assert.ok(places.of("q"));
});
