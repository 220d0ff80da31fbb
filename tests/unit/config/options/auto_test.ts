import assert from "node:assert/strict";
import { leastConcurrency, mostConcurrency } from "../../../../src/config/options/concurrency.ts";
import { parseConfig } from "../../../../src/config/load.ts";
import { BROKER, CONSUMER, FPM, NO_ENVIRONMENT, problemsIn, PROCESS } from "../support.ts";

const AUTO = `${CONSUMER}concurrency = "auto"\n`;
const STATUS = 'status_path = "/status"\n';

async function onlyProblem(text: string): Promise<string> {
  const problems = await problemsIn(text);
  assert.equal(problems.length, 1, problems.join("\n"));
  return problems[0]!;
}

Deno.test('parseConfig() takes concurrency = "auto" with the bounds of its pool', async () => {
  const bounds = "[fpm.default.auto]\nmin = 2\nmax = 20\nreserve = 1\n";
  const config = await parseConfig(`${BROKER}${FPM}${STATUS}${bounds}${AUTO}`, "fervo.toml", NO_ENVIRONMENT);
  assert.equal(config.consumers[0]!.concurrency, "auto");
  assert.deepEqual(config.fpm.get("default")!.fit, { min: 2, max: 20, reserve: 1 });
  assert.deepEqual([leastConcurrency(config, "default"), mostConcurrency(config, "default")], [2, 20]);
  const plain = await parseConfig(`${BROKER}${FPM}${STATUS}${AUTO}`, "fervo.toml", NO_ENVIRONMENT);
  assert.deepEqual(plain.fpm.get("default")!.fit, { min: 1, max: Infinity, reserve: 0 });
  assert.equal(mostConcurrency(plain, "default"), undefined);
});

Deno.test('parseConfig() refuses what is neither a number nor "auto"', async () => {
  for (const value of ['"many"', "0", "1.5", "true"]) {
    const problem = await onlyProblem(`${BROKER}${FPM}${CONSUMER}concurrency = ${value}\n`);
    assert.match(problem, /concurrency is .+: expected a whole number from 1 to 10000, or "auto"$/);
  }
});

Deno.test('parseConfig() refuses concurrency = "auto" for processes', async () => {
  const problem = await onlyProblem(`${BROKER}${PROCESS}${AUTO}executor = "process"\n`);
  assert.match(
    problem,
    /concurrency = "auto" follows the children of a php-fpm pool.+set a number/,
  );
});

Deno.test('parseConfig() refuses concurrency = "auto" where nothing tells how many children there are', async () => {
  for (const bounds of ["", "[fpm.default.auto]\nmax = 8\n"]) {
    assert.match(
      await onlyProblem(`${BROKER}${FPM}${bounds}${AUTO}`),
      /needs the number of children of \[fpm\.default\]: set/,
    );
  }
  for (const known of [STATUS, "children = 4\n"]) {
    assert.deepEqual(await problemsIn(`${BROKER}${FPM}${known}${AUTO}`), []);
  }
});

Deno.test("parseConfig() refuses bounds of auto that contradict each other, or have no effect", async () => {
  const withBounds = (bounds: string, consumer = AUTO, pool = STATUS) =>
    onlyProblem(`${BROKER}${FPM}${pool}[fpm.default.auto]\n${bounds}${consumer}`);
  assert.match(await withBounds("min = 5\nmax = 4\n"), /auto\.min \(5\) is more than auto\.max \(4\)/);
  assert.match(
    await withBounds("reserve = 4\n", AUTO, "children = 4\n"),
    /auto\.reserve is 4, and the pool has 4 children: none is left/,
  );
  assert.match(await withBounds("min = 2\n", CONSUMER), /auto has no effect: no consumer of this pool has/);
  assert.match(
    await withBounds("most = 2\n"),
    /unknown key "most" in \[fpm\.default\.auto\]; remove it; known here: min, max/,
  );
});

Deno.test("parseConfig() counts auto with its least beside fixed consumers, against the children", async () => {
  const fixed = '[[consumers]]\nname = "fixed"\nqueues = ["mail"]\nconcurrency = 4\n';
  const problem = await onlyProblem(`${BROKER}${FPM}children = 4\n${AUTO}${fixed}`);
  assert.match(problem, /fpm\.default\.children is 4: its consumers run up to 5 jobs at once/);
  assert.deepEqual(await problemsIn(`${BROKER}${FPM}children = 5\n${AUTO}${fixed}`), []);
});
