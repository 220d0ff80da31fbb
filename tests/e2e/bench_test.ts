import assert from "node:assert/strict";
import deno from "../../deno.json" with { type: "json" };
import { MODE_NAMES } from "../../src/bench/result.ts";
import { fervoWorker, RunningCommand, Site } from "../support/fervo_worker.ts";
import { PhpFpm } from "../support/php_fpm.ts";

const SMALL = ["--jobs", "60", "--repeat", "2", "--warmup", "20"];

/** The folder of the php-fpm that a run started. */
function ownFolder(stderr: string): string {
  const folder = /^Started php-fpm \S+.* at "(.*)\/fpm\.sock"$/m.exec(stderr)?.[1];
  assert.ok(folder !== undefined, stderr);
  return folder;
}

/** Fails unless php-fpm and its folder are gone. */
async function assertNothingLeft(folder: string): Promise<void> {
  await assert.rejects(Deno.stat(folder), Deno.errors.NotFound);
  const { stdout } = await new Deno.Command("ps", { args: ["-eo", "args"] }).output();
  const name = folder.slice(folder.lastIndexOf("/") + 1);
  assert.ok(!new TextDecoder().decode(stdout).includes(name));
}

const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
const isPositive = (value: unknown) => typeof value === "number" && value > 0 && Number.isFinite(value);

Deno.test("bench measures all modes on a php-fpm of its own, and its JSON has every documented field", async () => {
  const { code, stdout, stderr } = await fervoWorker(["bench", ...SMALL, "--json", "-"]);
  assert.equal(code, 0, stderr);
  const result = JSON.parse(stdout);
  assert.deepEqual(Object.keys(result), ["version", "conditions", "modes", "ratios", "waiting", "notes"]);
  assert.equal(result.version, 1);
  assert.deepEqual(result.waiting, []);
  assert.deepEqual(result.notes, []);

  const folder = ownFolder(stderr);
  const c = result.conditions;
  const { children, concurrency, php_version, php_fpm_version, cpu_cores, started_at, process_command } = c;
  assert.deepEqual(
    { ...c, cpu_model: "", kernel: "", load_average: 0, memory_bytes: 0, runtime: "", duration_s: 0 },
    {
      fervo_worker_version: deno.version,
      runtime: "",
      cpu_model: "",
      cpu_cores,
      memory_bytes: 0,
      kernel: "",
      load_average: 0,
      php_version,
      php_fpm_version,
      pool: "own",
      address: `${folder}/fpm.sock`,
      transport: "unix",
      pm: "static",
      children,
      script: `${folder}/job.php`,
      process_command,
      queue: "bench",
      payload_bytes: 7,
      jobs: 60,
      concurrency,
      warmup: 20,
      repeat: 2,
      rate_per_s: null,
      timeout_ms: 60_000,
      started_at,
      duration_s: 0,
      complete: true,
    },
  );
  assert.match(c.runtime, /^Deno \d+\.\d+\.\d+$/);
  assert.match(php_version, /^\d+\.\d+\.\d+/);
  assert.match(php_fpm_version, /^\d+\.\d+\.\d+/);
  assert.match(started_at, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  assert.equal(process_command.at(-1), `${folder}/job.php`);
  assert.equal(children, Math.max(4, 2 * cpu_cores));
  assert.equal(concurrency, children);
  for (const name of ["cpu_model", "kernel"]) assert.ok(c[name].length > 0, name);
  for (const name of ["memory_bytes", "duration_s", "cpu_cores"]) assert.ok(isPositive(c[name]), name);
  assert.equal(typeof c.load_average, "number");

  assert.deepEqual(result.modes.map(({ mode }: { mode: string }) => mode), MODE_NAMES);
  for (const mode of result.modes) {
    assert.deepEqual(Object.keys(mode), [
      ...["mode", "jobs", "failed", "failures", "throughput_per_s", "run_time_s", "worker_cpu_us_per_job"],
      ...[
        "php_cpu_us_per_job",
        "peak_memory_bytes",
        "memory_kind",
        "worker_memory_bytes",
        "rounds",
        "rate",
        "histogram",
      ],
    ]);
    assert.equal(mode.jobs, mode.mode === "process" ? 60 : 120);
    assert.equal(mode.failed, 0);
    assert.deepEqual(mode.failures, []);
    assert.equal(mode.rate, null);
    assert.equal(mode.memory_kind, "pss");
    for (const name of ["throughput_per_s", "worker_cpu_us_per_job", "php_cpu_us_per_job"]) {
      assert.ok(isPositive(mode[name]), `${mode.mode} ${name}`);
    }
    for (const name of ["peak_memory_bytes", "worker_memory_bytes"]) {
      assert.ok(isCount(mode[name]) && mode[name] > 2 ** 20, `${mode.mode} ${name}`);
    }
    const { min, median, p95, p99, max, mean, stdev } = mode.run_time_s;
    assert.ok(0 < min && min <= median && median <= p95 && p95 <= p99 && p99 <= max && max < 60);
    assert.ok(min <= mean && mean <= max && stdev >= 0);
    assert.equal(mode.rounds.length, 2);
    for (const round of mode.rounds) {
      assert.deepEqual(Object.keys(round), [
        ...[
          "jobs",
          "failed",
          "duration_s",
          "throughput_per_s",
          "worker_cpu_us_per_job",
          "php_cpu_us_per_job",
        ],
        "complete",
      ]);
      assert.equal(round.jobs, mode.jobs / 2);
    }
    const inBuckets = mode.histogram.reduce((sum: number, { jobs }: { jobs: number }) => sum + jobs, 0);
    assert.equal(inBuckets, mode.jobs);
  }
  const pairs = result.ratios.map(({ of, to }: { of: string; to: string }) => `${of} to ${to}`);
  assert.deepEqual(pairs, [
    "fastcgi to process",
    "fastcgi-fresh to process",
    "raw to process",
    "fastcgi to raw",
  ]);
  for (const { throughput: { median, min, max } } of result.ratios) {
    assert.ok(0 < min && min <= median && median <= max);
  }
  await assertNothingLeft(folder);
});

Deno.test("bench prints the report, and writes the files that are asked for", async () => {
  await using site = await Site.create();
  const file = (name: string) => `${site.directory}/${name}`;
  await Deno.writeTextFile(file("result.json"), "x".repeat(100_000));
  const files = ["--json", file("result.json"), "--csv", file("result.csv"), "--html", file("result.html")];
  const { code, stdout, stderr } = await fervoWorker(["bench", ...SMALL, "--modes", "raw,fastcgi", ...files]);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^ +FASTCGI +RAW$/m);
  assert.match(stdout, /^fastcgi is [\d.,]+ x \([\d.,]+-[\d.,]+\) the throughput of raw$/m);
  assert.match(stdout, /^Average, ms +[\d.,]+ +[\d.,]+$/m);
  assert.deepEqual(JSON.parse(await Deno.readTextFile(file("result.json"))).modes.length, 2);
  assert.equal((await Deno.readTextFile(file("result.csv"))).split("\r\n").length, 1 + 2 + 1);
  assert.match(await Deno.readTextFile(file("result.html")), /^<!doctype html>[^]*<\/html>\n$/);
  assert.match(stderr, /^Round 2 of 2: fastcgi [\d,]+ jobs\/s$/m);
});

Deno.test("bench runs a script and a payload of the user's, in every mode", async () => {
  await using site = await Site.create();
  const script = `${site.directory}/job.php`;
  await Deno.writeTextFile(
    script,
    `<?php
$isCli = PHP_SAPI === 'cli';
if (file_get_contents($isCli ? 'php://stdin' : 'php://input') !== 'the payload') { exit(1); }
header('X-Fervo-Outcome: ack');`,
  );
  await Deno.writeTextFile(`${site.directory}/payload`, "the payload");
  const args = ["--script", "job.php", "--payload", "@payload", "--children", "2", "--json", "-"];
  const { code, stdout, stderr } = await fervoWorker(["bench", ...SMALL, ...args], { cwd: site.directory });
  assert.equal(code, 0, stderr);
  const { conditions, modes } = JSON.parse(stdout);
  assert.equal(conditions.script, script);
  assert.equal(conditions.payload_bytes, 11);
  assert.equal(conditions.children, 2);
  assert.equal(conditions.concurrency, 2);
  assert.deepEqual(modes.map(({ failed }: { failed: number }) => failed), [0, 0, 0, 0]);
});

Deno.test("bench starts nothing when the script is not there, with exit code 3", async () => {
  for (const modes of ["fastcgi", "process"]) {
    const args = ["bench", "--modes", modes, "--script", "/nowhere/job.php"];
    const { code, stdout, stderr } = await fervoWorker(args);
    assert.deepEqual([code, stdout], [3, ""]);
    assert.equal(
      stderr,
      'fervo-worker: Cannot use the script "/nowhere/job.php": no such file or folder\n',
    );
  }
});

Deno.test("bench stops at once when php-fpm refuses the script, with exit code 3, and leaves nothing", async () => {
  await using site = await Site.create();
  await Deno.writeTextFile(`${site.directory}/job.txt`, "<?php");
  const { code, stdout, stderr } = await fervoWorker(["bench", "--script", "job.txt"], {
    cwd: site.directory,
  });
  assert.deepEqual([code, stdout], [3, ""]);
  assert.match(stderr, /^fervo-worker: php-fpm does not run the script ".*\/job\.txt": access denied/m);
  await assertNothingLeft(ownFolder(stderr));
});

Deno.test("bench says when no job of a mode goes well, with exit code 1", async () => {
  await using site = await Site.create();
  await Deno.writeTextFile(`${site.directory}/job.php`, "<?php");
  const args = ["bench", ...SMALL, "--modes", "fastcgi", "--script", "job.php"];
  const { code, stderr } = await fervoWorker(args, { cwd: site.directory });
  assert.equal(code, 1);
  assert.match(
    stderr,
    /None of the first 20 jobs of the mode "fastcgi" succeeded: The script ended without an outcome/,
  );
});

Deno.test("bench counts jobs that fail, tells why, and exits with 1", async () => {
  await using site = await Site.create();
  const code = "<?php header('X-Fervo-Outcome: ' . (getenv('FERVO_JOB_ID') % 10 === 0 ? 'bury' : 'ack'));";
  await Deno.writeTextFile(`${site.directory}/job.php`, code);
  const args = ["bench", ...SMALL, "--modes", "fastcgi", "--script", "job.php"];
  const result = await fervoWorker(args, { cwd: site.directory });
  assert.equal(result.code, 1);
  assert.match(result.stdout, /^fastcgi: 12 of 120 jobs FAILED\n {2}12 x JOB_FAILED: The job failed: /m);
});

Deno.test("bench says that a rate cannot be kept, with exit code 1", async () => {
  const args = [
    "bench",
    "--modes",
    "fastcgi,process",
    "--jobs",
    "400",
    "--repeat",
    "1",
    "--rate",
    "2000/s",
    "--json",
    "-",
  ];
  const { code, stdout, stderr } = await fervoWorker(args);
  assert.equal(code, 1);
  assert.match(stderr, /^fervo-worker: The rate could not be kept: .*process$/m);
  const { modes, ratios, conditions } = JSON.parse(stdout);
  assert.equal(conditions.rate_per_s, 2_000);
  assert.deepEqual(ratios, []);
  const { asked_per_s, achieved_per_s, met, late_start_s } = modes[1].rate;
  assert.equal(asked_per_s, 2_000);
  assert.equal(met, false);
  assert.ok(achieved_per_s < 2_000 && late_start_s.max > 0);
  // The last job should have started after 0.2 s, and its run time counts from then.
  assert.ok(modes[1].run_time_s.max > late_start_s.max);
});

Deno.test("bench shows what more jobs at once than children cost", async () => {
  const args = ["--modes", "fastcgi-fresh", "--children", "2", "--concurrency", "12", "--json", "-"];
  const { code, stdout, stderr } = await fervoWorker(["bench", ...SMALL, ...args]);
  assert.equal(code, 0, stderr);
  const [waiting] = JSON.parse(stdout).waiting;
  assert.deepEqual([waiting.mode, waiting.children, waiting.concurrency], ["fastcgi-fresh", 2, 12]);
  assert.ok(waiting.waiting_share > 0 && waiting.waiting_share < 1);
  for (const times of [waiting.at_concurrency, waiting.at_children]) {
    assert.deepEqual(Object.keys(times), ["throughput_per_s", "mean_s", "stdev_s", "p99_s"]);
  }
});

Deno.test("bench prints what it has at SIGINT, marked as incomplete, with exit code 130", async () => {
  await using command = RunningCommand.start([
    "bench",
    "--modes",
    "fastcgi,raw",
    "--repeat",
    "100000",
    "--json",
    "-",
  ]);
  await command.says("Round 3 of 100000: ");
  command.kill("SIGINT");
  const { code, stdout, stderr } = await command.ended;
  assert.equal(code, 130);
  const { conditions, modes } = JSON.parse(stdout);
  assert.equal(conditions.complete, false);
  assert.equal(modes.length, 2);
  for (const { failed, rounds } of modes) {
    assert.equal(failed, 0);
    assert.ok(rounds.length >= 2);
  }
  await assertNothingLeft(ownFolder(stderr));
});

Deno.test("bench ends without a report at a second SIGINT, and leaves nothing", async () => {
  await using site = await Site.create();
  await Deno.writeTextFile(
    `${site.directory}/job.php`,
    "<?php fwrite(fopen('php://stderr', 'w'), 'x'); sleep(3600);",
  );
  const args = ["bench", "--modes", "fastcgi", "--script", "job.php"];
  await using command = RunningCommand.start(args, { cwd: site.directory });
  await command.says("Started php-fpm");
  command.kill("SIGINT");
  command.kill("SIGINT");
  const { code, stderr } = await command.ended;
  assert.equal(code, 130);
  await assertNothingLeft(ownFolder(stderr));
});

Deno.test("bench asks nobody without a terminal: it refuses jobs for a php-fpm that is not its own, with exit code 2", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm);
  const { code, stdout, stderr } = await site.run(["bench"]);
  assert.equal(code, 2);
  assert.equal(stdout, "");
  assert.match(stderr, /not an interactive terminal; pass --yes to confirm, or --own/);
  assert.equal(site.effectCount(), 0);
});

Deno.test("bench --yes measures the php-fpm, the script and the params of the configuration", async () => {
  await using fpm = await PhpFpm.start({ children: 3 });
  await using site = await Site.create(fpm, {
    fpm: { status_path: "/status" },
    consumer: { concurrency: 3 },
  });
  const args = ["bench", ...SMALL, "--modes", "fastcgi,raw", "--payload", "{}", "--yes", "--json", "-"];
  const { code, stdout, stderr } = await site.run(args);
  assert.equal(code, 0, stderr);
  const { conditions, modes } = JSON.parse(stdout);
  const { pool, address, pm, children, concurrency } = conditions;
  assert.deepEqual({ pool, address, pm, children, concurrency }, {
    pool: "configured",
    address: fpm.address,
    pm: "static",
    children: 3,
    concurrency: 3,
  });
  for (const mode of modes) assert.ok(isPositive(mode.php_cpu_us_per_job), mode.mode);
  // Warm-up and rounds of both modes at least; the effects show that it was this script.
  assert.ok(site.effectCount() >= 2 * 2 * (20 + 60));
});

Deno.test("bench says why figures are missing when the pool has no status page", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm, { consumer: { concurrency: 2 } });
  const { code, stdout } = await site.run([
    "bench",
    ...SMALL,
    "--modes",
    "raw",
    "--payload",
    "{}",
    "--yes",
    "--json",
    "-",
  ]);
  assert.equal(code, 0);
  const { conditions, modes, notes } = JSON.parse(stdout);
  assert.deepEqual([conditions.pm, conditions.children], [null, null]);
  assert.deepEqual([modes[0].php_cpu_us_per_job, modes[0].peak_memory_bytes], [null, null]);
  assert.match(notes[0], /^CPU and memory of php-fpm could not be measured: it has no status page/);
});

Deno.test("bench says that nobody listens at the address of the configuration, with exit code 4", async () => {
  await using site = await Site.create();
  const { code, stderr } = await site.run(["bench", "--modes", "fastcgi", "--yes"]);
  assert.equal(code, 4);
  assert.match(stderr, /^fervo-worker: Cannot connect to php-fpm at ".*nobody\.sock": no such socket/m);
});

Deno.test("bench leaves the mode process out, and says so, where there is php-fpm and no command line PHP", async () => {
  // Of PATH only what bench itself needs.
  await using site = await Site.create();
  for (const name of ["grep", "getconf", "sh"]) {
    await Deno.symlink(`/usr/bin/${name}`, `${site.directory}/${name}`);
  }
  const options = { env: { PATH: site.directory } };
  const { code, stdout, stderr } = await fervoWorker(["bench", ...SMALL], options);
  assert.equal(code, 0, stderr);
  assert.match(
    stdout,
    /^Note: The mode process was left out: there is no command line PHP [\d.]+ beside php-fpm/m,
  );
  assert.match(stdout, /^ +FASTCGI +FASTCGI-FRESH +RAW$/m);
  const asked = await fervoWorker(["bench", ...SMALL, "--modes", "process,raw"], options);
  assert.equal(asked.code, 2);
  assert.match(
    asked.stderr,
    /^fervo-worker: The mode process cannot be measured: there is no command line PHP/m,
  );
});

for (
  const [file, said] of [["/nowhere/x.html", "no such file or folder"], ["/tmp", "it is a folder"]] as const
) {
  Deno.test(`bench notices before it starts anything that "${file}" cannot be written, with exit code 2`, async () => {
    const { code, stdout, stderr } = await fervoWorker(["bench", "--html", file]);
    assert.equal(code, 2);
    assert.equal(stdout, "");
    assert.equal(
      stderr,
      `fervo-worker: Cannot write "${file}": ${said}\nSee: fervo-worker bench --help\n`,
    );
  });
}
