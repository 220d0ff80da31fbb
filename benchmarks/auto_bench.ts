/**
 * `concurrency = "auto"` beside fixed settings, on jobs of which half wait for 5 ms and half compute for 2 ms:
 *
 * 1. `4`, `8`, `16`: on a pool of so many children, jobs a second and the run times of rounds of each setting, one after
 *    the other; 25 on a pool of 8, as in the article of 2013, too;
 * 2. `change`: php-fpm is reloaded with another number of children while the worker runs;
 * 3. `share`: a second worker joins, on the same pool.
 *
 * `deno task bench:auto [--quick] [--write FILE] [PART …]`; the parts are independent, for each takes some minutes.
 */
import { raw } from "../src/formats/raw.ts";
import { createApp } from "../src/app/app.ts";
import { parseConfig } from "../src/config/load.ts";
import { systemClock } from "../src/core/time/clock.ts";
import type { WorkerEvent } from "../src/core/observer.ts";
import { DEFAULT_SQLITE_OPTIONS, SqliteBroker } from "../src/brokers/sqlite/broker.ts";
import { PhpFpm } from "../tests/support/php_fpm.ts";
import { conditions, Report, spread } from "./report.ts";

const isQuick = Deno.args.includes("--quick");
const ROUNDS = isQuick ? 1 : 3;
/** A worker that fits the pool is to have found its place; for the others the caches are warm. */
const AUTO_WARM_MS = isQuick ? 15_000 : 25_000;
const WARM_MS = 2_000;
const MEASURE_MS = isQuick ? 8_000 : 10_000;
const FILL = 4_000;

const SCRIPT = new URL("mixed_job.php", import.meta.url).pathname;
const PAYLOAD = new TextEncoder().encode("{}");

type Setting = number | "auto";

interface Measured {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const parts: Record<string, () => Promise<void>> = {
  4: () => pool(4, [3, 4]),
  8: () => pool(8, [25, 4, 6, 8]),
  16: () => pool(16, [8, 12, 16]),
  change,
  share,
};
const report = new Report("Concurrency that fits the pool");
report.say(await conditions());
report.say(
  "\nJobs: half wait for 5 ms, half compute for 2 ms. Embedded queue, always full; php-fpm is static.",
);
const chosen = Deno.args.filter((arg) => arg in parts);
for (const name of chosen.length > 0 ? chosen : Object.keys(parts)) await parts[name]!();
const file = Deno.args[Deno.args.indexOf("--write") + 1];
if (Deno.args.includes("--write")) {
  await report.write(new URL(`results/${file ?? "auto.md"}`, import.meta.url));
}
Deno.exit(0);

/** Rounds of each setting on a pool of so many children. */
async function pool(children: number, fixed: readonly number[]): Promise<void> {
  await using fpm = await PhpFpm.start({ children, statusListen: true });
  const settings: Setting[] = [...fixed, "auto"];
  const results = new Map<Setting, Measured[]>(settings.map((setting) => [setting, []]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const setting of settings) results.get(setting)!.push(await measured(fpm, setting));
  }
  const fitting = fixed.filter((setting) => setting <= children);
  const best = fitting.toSorted((a, b) => median(results.get(b)!) - median(results.get(a)!))[0]!;
  report.say(`\n## A pool of ${children} children: ${ROUNDS} rounds of ${MEASURE_MS / 1_000} s\n`);
  report.say(`| concurrency | jobs/s | p50, ms | p99, ms | jobs/s of the best's | p99 of the best's |`);
  report.say("|---|---|---|---|---|---|");
  for (const [setting, all] of results) {
    const ratio = (value: (one: Measured) => number) =>
      spread(all.map((one, round) => value(one) / value(results.get(best)![round]!)), 2);
    const name = setting === "auto"
      ? "auto"
      : setting > children
      ? `${setting}, without a status page`
      : setting;
    const figures = [
      spread(all.map(({ perSecond }) => perSecond), 0),
      spread(all.map(({ p50Ms }) => p50Ms), 1),
      spread(all.map(({ p99Ms }) => p99Ms), 1),
      ratio(({ perSecond }) => perSecond),
      ratio(({ p99Ms }) => p99Ms),
    ];
    report.say(`| ${name}${setting === best ? " (best fixed)" : ""} | ${figures.join(" | ")} |`);
  }
}

function median(all: readonly Measured[]): number {
  return all.map(({ perSecond }) => perSecond).toSorted((a, b) => a - b)[all.length >> 1]!;
}

async function measured(fpm: PhpFpm, setting: Setting): Promise<Measured> {
  await using site = await start(fpm, setting);
  await site.pass(setting === "auto" ? AUTO_WARM_MS : WARM_MS);
  site.begin();
  await site.pass(MEASURE_MS);
  const result = site.result();
  report.note(
    `${setting}: ${result.perSecond.toFixed(0)} jobs/s, p99 ${result.p99Ms.toFixed(1)} ms; ${site.slots()}`,
  );
  return result;
}

/** php-fpm gets more and fewer children under a worker that fits it. */
async function change(): Promise<void> {
  await using fpm = await PhpFpm.start({ children: 8, statusListen: true });
  report.say("\n## php-fpm is reloaded with another number of children under the same worker\n");
  report.say("| children | jobs/s, auto | p99, ms | jobs/s of a worker with as many slots |");
  report.say("|---|---|---|---|");
  const auto: Measured[] = [];
  const sizes = [8, 16, 4, 8];
  {
    await using site = await start(fpm, "auto");
    for (const [i, children] of sizes.entries()) {
      if (i > 0) await fpm.reload({ children });
      await site.pass(AUTO_WARM_MS);
      site.begin();
      await site.pass(MEASURE_MS);
      auto.push(site.result());
    }
    report.note(site.slots());
  }
  for (const [i, children] of sizes.entries()) {
    await fpm.reload({ children });
    const fixed = await measured(fpm, children);
    const { perSecond, p99Ms } = auto[i]!;
    report.say(
      `| ${children} | ${perSecond.toFixed(0)} | ${p99Ms.toFixed(1)} | ${
        fixed.perSecond.toFixed(0)
      } (auto / fixed ${(perSecond / fixed.perSecond).toFixed(2)}) |`,
    );
  }
}

/** A second worker comes to a pool that the first one has for itself. */
async function share(): Promise<void> {
  report.say("\n## A second worker joins on a pool of 8: jobs/s of each, 5 s at a time\n");
  report.say("| | first | second |");
  report.say("|---|---|---|");
  await using fpm = await PhpFpm.start({ children: 8, statusListen: true });
  await using first = await start(fpm, "auto");
  await first.pass(AUTO_WARM_MS);
  first.begin();
  await first.pass(5_000);
  report.say(`| alone | ${first.result().perSecond.toFixed(0)} | |`);
  await using second = await start(fpm, "auto");
  for (let s = 5; s <= (isQuick ? 20 : 40); s += 5) {
    first.begin();
    second.begin();
    await Promise.all([first.pass(5_000), second.pass(5_000)]);
    report.say(
      `| ${s} s | ${first.result().perSecond.toFixed(0)} | ${second.result().perSecond.toFixed(0)} |`,
    );
  }
  report.note(first.slots());
  report.note(second.slots());
}

/** A worker with a queue of its own that never runs empty. */
async function start(fpm: PhpFpm, setting: Setting) {
  const directory = await Deno.makeTempDir({ prefix: "fervo-bench-" });
  const database = `${directory}/queue.sqlite`;
  const isTooMany = typeof setting === "number" && setting > 16;
  const config = await parseConfig(
    `
[brokers.default]
driver = "sqlite"
path = "${database}"
[fpm.default]
address = "${fpm.address}"
script = "${SCRIPT}"
${isTooMany ? "" : `status_path = "${fpm.statusPath}"\nstatus_address = "${fpm.statusAddress}"`}
[[consumers]]
queues = ["bench"]
concurrency = ${JSON.stringify(setting)}
`,
    "bench.toml",
    { env: () => undefined },
  );
  const broker = SqliteBroker.open({ clock: systemClock, owner: "bench", format: raw }, {
    ...DEFAULT_SQLITE_OPTIONS,
    path: database,
  });
  let queued = 0;
  const fill = async () => {
    while (queued < FILL) {
      queued += 1_000;
      await Promise.all(Array.from({ length: 1_000 }, () => broker.push("bench", PAYLOAD)));
    }
  };
  await fill();
  let runs: number[] = [];
  let sinceMs = performance.now();
  const changes: string[] = [];
  const observe = (event: WorkerEvent) => {
    if (event.type === "slots_changed") changes.push(`${event.slots} ${event.reason}`);
    if (event.type !== "job_settled" || event.verdict.kind !== "ack") return;
    queued--;
    runs.push(event.runMs);
  };
  const app = await createApp(config, { clock: systemClock, observe });
  const running = app.worker.run({ untilEmpty: false });
  return {
    /** Lets the worker work for so long. */
    async pass(ms: number) {
      const endMs = performance.now() + ms;
      while (performance.now() < endMs) {
        await fill();
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    },
    begin() {
      runs = [];
      sinceMs = performance.now();
    },
    result(): Measured {
      const sorted = runs.toSorted((a, b) => a - b);
      const at = (share: number) => sorted[Math.floor(sorted.length * share)] ?? NaN;
      return {
        perSecond: 1_000 * runs.length / (performance.now() - sinceMs),
        p50Ms: at(0.5),
        p99Ms: at(0.99),
      };
    },
    slots: () => changes.join(", "),
    async [Symbol.asyncDispose]() {
      app.worker.stop();
      await running;
      await app[Symbol.asyncDispose]();
      await broker.close();
      await Deno.remove(directory, { recursive: true });
    },
  };
}
