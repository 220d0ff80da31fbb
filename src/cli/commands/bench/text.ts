import { bytes, duration, figure } from "../../../bench/format.ts";
import { meaning, ratioText, waitingMeaning } from "../../../bench/meaning.ts";
import type { BenchResult, Conditions, ModeResult, Waiting } from "../../../bench/result.ts";
import { counted } from "../../../core/text/plural.ts";
import { table } from "../../text/table.ts";

/** The whole report for a terminal. */
export function textReport(result: BenchResult): string {
  const { conditions, modes, waiting, notes } = result;
  const parts = [
    conditionsText(conditions),
    ...(modes.length === 0 ? [] : [figuresTable(modes), histograms(modes)]),
    ratiosText(result),
    ...waiting.map(waitingText),
    ratesText(modes),
    failuresText(modes),
    meaningText(result),
    notes.map((note) => `Note: ${note}\n`).join(""),
    conditions.complete
      ? ""
      : "INCOMPLETE: the benchmark was interrupted; these are the jobs that had ended by then\n",
  ];
  return parts.filter((part) => part !== "").join("\n");
}

function conditionsText(c: Conditions): string {
  const memory = c.memory_bytes === null ? "" : `, ${bytes(c.memory_bytes)}`;
  const children = c.children === null ? "" : `, ${c.children} children`;
  const loop = c.rate_per_s === null
    ? "a slot starts its next job when the previous job has ended"
    : `${figure(c.rate_per_s)} jobs arrive a second`;
  const rows: [string, string][] = [
    ["Machine", `${c.cpu_cores} x ${c.cpu_model ?? "unknown CPU"}${memory}, Linux ${c.kernel ?? "?"}`],
    ["Versions", versions(c)],
    [
      "php-fpm",
      `${c.pool === "own" ? "started for this" : "yours"}, ${c.address}, pm = ${c.pm ?? "?"}${children}`,
    ],
    ["Script", `${c.script}, payload of ${counted(c.payload_bytes, "byte")}`],
    ["Process", c.process_command?.join(" ") ?? "–"],
    [
      "Load",
      `${counted(c.jobs, "job")} a mode in ${counted(c.repeat, "round")}, ${c.concurrency} at once; ${loop}`,
    ],
  ];
  return rows.map(([name, text]) => `${name.padEnd(8)}  ${text}\n`).join("");
}

function versions(c: Conditions): string {
  return [
    `fervo-worker ${c.fervo_worker_version}`,
    c.runtime,
    ...(c.php_fpm_version === null ? [] : [`php-fpm ${c.php_fpm_version}`]),
    ...(c.php_version === null ? [] : [`php ${c.php_version}`]),
  ].join(", ");
}

/** The table of figures. */
function figuresTable(modes: readonly ModeResult[]): string {
  const ms = (pick: (time: NonNullable<ModeResult["run_time_s"]>) => number) => (mode: ModeResult) =>
    mode.run_time_s === null ? "–" : figure(1_000 * pick(mode.run_time_s));
  const rows: [string, (mode: ModeResult) => string][] = [
    ["Average, ms", ms((time) => time.mean)],
    ["Median", ms((time) => time.median)],
    ["Min", ms((time) => time.min)],
    ["Max", ms((time) => time.max)],
    ["Stdev", ms((time) => time.stdev)],
    ["p95", ms((time) => time.p95)],
    ["p99", ms((time) => time.p99)],
    ["Jobs/s", (mode) => figure(mode.throughput_per_s)],
    ["Worker CPU, µs/job", (mode) => figure(mode.worker_cpu_us_per_job)],
    ["PHP CPU, µs/job", (mode) => figure(mode.php_cpu_us_per_job)],
    [
      "PHP memory, MiB",
      (mode) => figure(mode.peak_memory_bytes === null ? null : mode.peak_memory_bytes / 2 ** 20),
    ],
    ["Jobs", (mode) => figure(mode.jobs)],
    ...(modes.some(({ failed }) => failed > 0)
      ? [["Failed", (mode) => figure(mode.failed)] as [string, (mode: ModeResult) => string]]
      : []),
  ];
  const head = ["", ...modes.map(({ mode }) => mode.toUpperCase())];
  return table(head, rows.map(([name, cell]) => [name, ...modes.map(cell)]), modes.length);
}

const BLOCKS = [..."▁▂▃▄▅▆▇█"];
const HISTOGRAM_COLUMNS = 60;

/** One line for each mode, on one axis. */
function histograms(modes: readonly ModeResult[]): string {
  const buckets = modes.flatMap(({ histogram }) => histogram);
  if (buckets.length === 0) return "";
  const low = Math.floor(Math.log10(Math.min(...buckets.map(({ from_s }) => from_s))) * 2) / 2;
  const high = Math.ceil(Math.log10(Math.max(...buckets.map(({ to_s }) => to_s))) * 2) / 2;
  const columnOf = (seconds: number) =>
    Math.floor((Math.log10(seconds) - low) / (high - low) * HISTOGRAM_COLUMNS);
  const lines = modes.map(({ mode, histogram }) => {
    const counts = new Array<number>(HISTOGRAM_COLUMNS).fill(0);
    for (const { from_s, to_s, jobs } of histogram) {
      const column = Math.min(columnOf(Math.sqrt(from_s * to_s)), HISTOGRAM_COLUMNS - 1);
      counts[column] = counts[column]! + jobs;
    }
    const most = Math.max(...counts);
    const bars = counts.map((count) =>
      count === 0 ? " " : BLOCKS[Math.ceil(count / most * BLOCKS.length) - 1]!
    );
    return `${mode.padEnd(14)}${bars.join("")}`.trimEnd();
  });
  const axis = [..." ".repeat(HISTOGRAM_COLUMNS + 14)];
  for (let decade = Math.ceil(low); decade <= Math.floor(high); decade++) {
    const at = Math.min(columnOf(10 ** decade), HISTOGRAM_COLUMNS - 1);
    [...`|${duration(10 ** decade)}`].forEach((character, index) => axis[14 + at + index] = character);
  }
  return `Run times of the jobs, on a log scale:\n${lines.join("\n")}\n${axis.join("").trimEnd()}\n`;
}

function ratiosText({ ratios }: BenchResult): string {
  return ratios.map((ratio) => `${ratioText(ratio)}\n`).join("");
}

function waitingText(w: Waiting): string {
  const rows = [[w.concurrency, w.at_concurrency], [w.children, w.at_children]] as const;
  const figures = table(
    [w.mode.toUpperCase(), "JOBS/S", "AVERAGE, MS", "STDEV", "P99"],
    rows.map(([atOnce, { throughput_per_s, mean_s, stdev_s, p99_s }]) => [
      `${atOnce} at once`,
      figure(throughput_per_s),
      ...[mean_s, stdev_s, p99_s].map((seconds) => figure(1_000 * seconds)),
    ]),
    4,
  );
  const sentences = waitingMeaning(w).map((text) => `${text}\n`).join("");
  return `${w.concurrency} jobs at once on ${w.children} PHP processes:\n${figures}${sentences}`;
}

function ratesText(modes: readonly ModeResult[]): string {
  return modes.flatMap(({ mode, rate }) => {
    if (rate === null) return [];
    const { asked_per_s, achieved_per_s, met, late_start_s: late } = rate;
    const how = `jobs started ${duration(late.mean)} late on average, ${duration(late.p99)} at p99, ` +
      `${duration(late.max)} at most`;
    return met ? [`${mode} kept the rate of ${figure(asked_per_s)} jobs/s; ${how}\n`] : [
      `${mode} did NOT keep the rate: ${figure(asked_per_s)} jobs/s were asked for, ${
        figure(achieved_per_s)
      } ` +
      `were started; ${how}\n`,
    ];
  }).join("");
}

function failuresText(modes: readonly ModeResult[]): string {
  return modes.filter(({ failed }) => failed > 0).map(({ mode, jobs, failed, failures }) => {
    const reasons = failures.map(({ code, message, count }) => `  ${count} x ${code}: ${message}\n`).join("");
    return `${mode}: ${figure(failed)} of ${figure(jobs)} jobs FAILED\n${reasons}`;
  }).join("");
}

function meaningText(result: BenchResult): string {
  const sentences = meaning(result);
  return sentences.length === 0 ? "" : `What it means:\n${sentences.map((text) => `  ${text}\n`).join("")}`;
}
