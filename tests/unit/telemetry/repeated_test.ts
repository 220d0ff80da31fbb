import assert from "node:assert/strict";
import { FervoError } from "../../../src/core/errors.ts";
import { RepeatedStates } from "../../../src/telemetry/repeated.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const AWAY = new FervoError("FASTCGI_CONNECT_FAILED", "away");
const FULL = new FervoError("FASTCGI_OVERLOADED", "full");

function setUp() {
  const clock = new FakeClock();
  return { clock, states: new RepeatedStates({ clock }) };
}

Deno.test("RepeatedStates has a state told when it begins, once a minute while it lasts, and when it has ended", () => {
  const { clock, states } = setUp();
  const told: [number, unknown][] = [];
  for (let s = 0; s < 130; s++) {
    const repetition = states.met("a", AWAY);
    if (repetition !== undefined) told.push([s, repetition]);
    clock.jump(1_000);
  }
  assert.deepEqual(told, [
    [0, { times: 1, forMs: 0 }],
    [60, { times: 61, forMs: 60_000 }],
    [120, { times: 121, forMs: 120_000 }],
  ]);
  assert.deepEqual(states.ended("a"), { times: 130, forMs: 130_000 });
  assert.equal(states.ended("a"), undefined);
});

Deno.test("RepeatedStates tells one state from another", () => {
  const { states } = setUp();
  assert.ok(states.met("a", AWAY));
  assert.ok(states.met("b", AWAY));
  assert.equal(states.met("a", AWAY), undefined);
  assert.equal(states.ended("c"), undefined);
});

Deno.test("RepeatedStates has another error told at once, and each once a minute, however often they change", () => {
  const { clock, states } = setUp();
  const told: string[] = [];
  for (let i = 0; i < 120; i++) {
    const error = i % 2 === 0 ? AWAY : FULL;
    if (states.met("a", error) !== undefined) told.push(`${i} ${error.code}`);
    clock.jump(500);
  }
  assert.deepEqual(told, ["0 FASTCGI_CONNECT_FAILED", "1 FASTCGI_OVERLOADED"]);
});

Deno.test("RepeatedStates takes errors for the same that differ in numbers, and tells few that differ in all", () => {
  const { states } = setUp();
  const tell = (text: string) =>
    states.met("a", new FervoError("FASTCGI_CONNECT_FAILED", text)) !== undefined;
  assert.deepEqual(["after 12 ms", "after 13 ms"].map(tell), [true, false]);
  const told = Array.from({ length: 26 }, (_, i) => tell("x".repeat(i + 1))).filter(Boolean);
  assert.equal(told.length, 7);
});

Deno.test("RepeatedStates has one that comes and goes told three times a minute, with its ends", () => {
  const { clock, states } = setUp();
  const told: string[] = [];
  for (let i = 0; i < 1_000; i++) {
    if (states.met("a", AWAY) !== undefined) told.push(`${i} begins`);
    clock.jump(50);
    if (states.ended("a") !== undefined) told.push(`${i} ends`);
    clock.jump(50);
  }
  const of = (i: number) => [`${i} begins`, `${i} ends`];
  assert.deepEqual(told, [0, 1, 2, 600, 601, 602].flatMap(of));
});

Deno.test("RepeatedStates has the end told of one that was told because it lasted, after many that were not", () => {
  const { clock, states } = setUp();
  for (let i = 0; i < 10; i++) {
    states.met("a", AWAY);
    states.ended("a");
  }
  assert.equal(states.met("a", AWAY), undefined);
  clock.jump(60_000);
  assert.deepEqual(states.met("a", AWAY), { times: 2, forMs: 60_000 });
  assert.deepEqual(states.ended("a"), { times: 2, forMs: 60_000 });
});
