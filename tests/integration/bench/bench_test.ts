import assert from "node:assert/strict";
import { Bench, type BenchOptions, type BenchRun } from "../../../src/bench/bench.ts";
import { findPhp } from "../../../src/fpm/find_php.ts";
import type { Target } from "../../../src/bench/modes.ts";
import { MODE_NAMES, type ModeName } from "../../../src/bench/result.ts";
import { ChildUsage, FpmUsage } from "../../../src/bench/usage.ts";
import { systemClock } from "../../../src/core/time/clock.ts";
import { DEFAULT_FASTCGI_EXECUTOR_OPTIONS } from "../../../src/executors/fastcgi/executor.ts";
import { FpmControl } from "../../../src/fpm/control.ts";
import { DEFAULT_PROCESS_EXECUTOR_OPTIONS } from "../../../src/executors/process/executor.ts";
import { parseAddress } from "../../../src/fastcgi/address.ts";
import { DEFAULT_POOL_OPTIONS } from "../../../src/fastcgi/pool.ts";
import { settlePromises } from "../../support/fake_clock.ts";
import { PhpFpm, type PhpFpmOptions } from "../../support/php_fpm.ts";

const NEVER = new AbortController().signal;
const CLOCK = { clock: systemClock };
const { cli: PHP } = await findPhp(Deno.env.get("PATH") ?? "");

/** Leaves a line for each run: where it ran, its id, what it read. */
const SCRIPT = (trace: string) =>
  `<?php
$isCli = PHP_SAPI === 'cli';
$line = ($isCli ? 'cli' : 'fpm') . ' ' . getenv('FERVO_JOB_ID') . ' ' . getenv('FERVO_QUEUE') . ' ' . file_get_contents($isCli ? 'php://stdin' : 'php://input');
file_put_contents('${trace}', "$line\\n", FILE_APPEND | LOCK_EX);
for ($until = hrtime(true) + 300_000; hrtime(true) < $until;);
header('X-Fervo-Outcome: ack');
`;

interface Measured {
  readonly run: BenchRun;
  /** The lines that the script has left. */
  readonly trace: readonly string[];
}

/** Runs a benchmark on a php-fpm of the test. */
async function measure(options: Partial<BenchOptions>, fpmOptions: PhpFpmOptions = {}): Promise<Measured> {
  await using fpm = await PhpFpm.start({ children: 2, ...fpmOptions });
  const trace = `${fpm.directory}/trace`;
  const script = await fpm.writeScript("job.php", SCRIPT(trace));
  const pool = {
    ...DEFAULT_POOL_OPTIONS,
    address: parseAddress(fpm.address),
    statusAddress: undefined,
    statusPath: fpm.statusPath,
    pingPath: undefined,
  };
  const target: Target = {
    pool,
    request: { ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS, script },
    process: { ...DEFAULT_PROCESS_EXECUTOR_OPTIONS, command: [PHP!, script] },
  };
  const ofFpm = await FpmUsage.find((await new FpmControl(CLOCK, pool).status())!);
  const ofChildren = await ChildUsage.find([fpm.pid]);
  assert.ok(typeof ofFpm !== "string" && typeof ofChildren !== "string", `${ofFpm} ${ofChildren}`);
  const bench = new Bench({
    ...CLOCK,
    target,
    usageOf: (mode) => mode === "process" ? ofChildren : ofFpm,
    onRound: () => {},
  }, {
    modes: MODE_NAMES,
    jobs: 30,
    warmup: 4,
    repeat: 2,
    concurrency: 2,
    children: 2,
    ratePerS: undefined,
    queue: "mail",
    payload: new TextEncoder().encode("the payload"),
    timeoutMs: 60_000,
    ...options,
  });
  const run = await bench.run(NEVER, false);
  return { run, trace: (await Deno.readTextFile(trace)).trimEnd().split("\n") };
}

Deno.test("Bench runs every mode on a real PHP, with CPU and memory of worker and PHP", async () => {
  const { run, trace } = await measure({});
  assert.equal(run.isComplete, true);
  assert.deepEqual(run.modes.map(({ mode }) => mode), MODE_NAMES);
  for (const { mode, rounds, memory, workerMemoryBytes } of run.modes) {
    const jobs = mode === "process" ? 15 : 30;
    assert.deepEqual(rounds.map(({ load }) => [load.jobs, load.failed, load.isComplete]), [
      [jobs, 0, true],
      [jobs, 0, true],
    ]);
    for (const { workerCpuUs, phpCpuUs } of rounds) {
      assert.ok(workerCpuUs > 0, mode);
      // The script is busy for 300 µs; a process takes that and its start, in ticks of 10 ms.
      assert.ok(phpCpuUs !== null && phpCpuUs >= 300 * jobs * 0.5, `${mode}: ${phpCpuUs}`);
    }
    // A test does not run in the first thread, whose children ChildUsage looks at: tests/e2e/bench_test.ts has that one.
    if (mode !== "process") assert.ok(memory !== null && memory.bytes > 2 ** 20, mode);
    assert.ok(workerMemoryBytes! > 2 ** 20);
  }
  const where = (name: string) => trace.filter((line) => line.startsWith(name));
  assert.ok(where("cli").length >= 2 * (15 + 2));
  assert.ok(where("fpm").length >= 3 * 2 * (30 + 4));
  for (const line of trace) assert.match(line, /^(?:cli|fpm) \d{7} mail the payload$/);
  // Only raw sends the same job again and again.
  const ids = where("cli").map((line) => line.split(" ")[1]);
  assert.equal(new Set(ids).size, ids.length);
});

Deno.test("Bench copes with children that leave after pm.max_requests, and counts their CPU too", async () => {
  const modes: ModeName[] = ["fastcgi", "fastcgi-fresh", "raw"];
  const jobs = 300;
  const { run } = await measure({ modes, jobs }, { poolLines: ["pm.max_requests = 7"] });
  for (const { mode, rounds } of run.modes) {
    for (const { load, phpCpuUs } of rounds) {
      assert.deepEqual([load.jobs, load.failed], [jobs, 0], mode);
      // Each job is busy for 300 µs; of children that have left, two counts are each cut to ticks of 10 ms.
      assert.ok(phpCpuUs! >= 300 * jobs * 0.5, `${mode}: ${phpCpuUs}`);
    }
  }
});

Deno.test("Bench with more jobs at once than children measures with as many, too", async () => {
  const modes: ModeName[] = ["fastcgi", "fastcgi-fresh", "raw"];
  const { run } = await measure({ modes, concurrency: 6 });
  assert.deepEqual(run.modes.map(({ mode, atChildren }) => [mode, atChildren?.jobs]), [
    ["fastcgi", 30],
    ["fastcgi-fresh", 30],
    ["raw", undefined],
  ]);
  for (const { rounds } of run.modes) assert.deepEqual(rounds.map(({ load }) => load.failed), [0, 0]);
});

Deno.test("Bench at a fixed rate keeps it where it can", async () => {
  const { run } = await measure({ modes: ["fastcgi"], ratePerS: 200, repeat: 1 });
  assert.equal(run.modes[0]!.rounds[0]!.load.lateMs.length, 30);
  assert.equal(run.modes[0]!.rounds[0]!.load.failed, 0);
});

Deno.test("Bench that is stopped gives what it has", async () => {
  await using fpm = await PhpFpm.start();
  const script = await fpm.writeScript("job.php", "<?php header('X-Fervo-Outcome: ack');");
  const stop = new AbortController();
  const address = parseAddress(fpm.address);
  const pool = {
    ...DEFAULT_POOL_OPTIONS,
    address,
    statusAddress: undefined,
    statusPath: undefined,
    pingPath: undefined,
  };
  const target = { pool, request: { ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS, script }, process: undefined };
  const bench = new Bench({ ...CLOCK, target, usageOf: () => undefined, onRound: () => stop.abort() }, {
    modes: ["fastcgi", "raw"],
    jobs: 20,
    warmup: 1,
    repeat: 3,
    concurrency: 2,
    children: undefined,
    ratePerS: undefined,
    queue: "mail",
    payload: new Uint8Array(0),
    timeoutMs: 60_000,
  });
  const run = await bench.run(stop.signal, false);
  assert.equal(run.isComplete, false);
  assert.deepEqual(run.modes.map(({ mode, rounds }) => [mode, rounds.length]), [["fastcgi", 1]]);
  assert.equal(run.modes[0]!.rounds[0]!.phpCpuUs, null);
});

Deno.test("Bench tells of a fault in the memory pass as in a round, while it looks at the memory", async () => {
  const directory = await Deno.makeTempDir({ prefix: "fervo-bench-test-" });
  try {
    const program = `${directory}/job`;
    await Deno.writeTextFile(program, "#!/bin/sh\n", { mode: 0o755 });
    const fault = Promise.withResolvers<void>();
    const usage = {
      cpu: () => Promise.resolve(null),
      // Still looks when the load has failed already.
      memory: () => fault.promise.then(() => settlePromises()).then(() => null),
    };
    const target = {
      pool: {
        ...DEFAULT_POOL_OPTIONS,
        address: parseAddress(`${directory}/none.sock`),
        statusAddress: undefined,
        statusPath: undefined,
        pingPath: undefined,
      },
      request: { ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS, script: "/none.php" },
      process: { ...DEFAULT_PROCESS_EXECUTOR_OPTIONS, command: [program] as [string] },
    };
    const onRound = () => {
      Deno.removeSync(program);
      setTimeout(() => fault.resolve(), 100);
    };
    const bench = new Bench({ ...CLOCK, target, usageOf: () => usage, onRound }, {
      modes: ["process"],
      jobs: 2,
      warmup: 0,
      repeat: 1,
      concurrency: 1,
      children: undefined,
      ratePerS: undefined,
      queue: "mail",
      payload: new Uint8Array(0),
      timeoutMs: 60_000,
    });
    await assert.rejects(bench.run(NEVER, false), { code: "PROCESS_MISCONFIGURED" });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
