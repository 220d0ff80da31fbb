import type { BenchRun } from "./bench.ts";
import { bytes, duration, figure } from "./format.ts";
import { meaning, ratioText, waitingMeaning } from "./meaning.ts";
import { distributionPlot, type RoundSamples, timelinePlot } from "./plots.ts";
import type { BenchResult, Conditions, ModeName, ModeResult, RunTime, Waiting } from "./result.ts";

/** The samples behind a result, by mode. */
export type Samples = ReadonlyMap<ModeName, readonly RoundSamples[]>;

export function samplesOf({ modes }: BenchRun): Samples {
  return new Map(modes.map(({ mode, rounds }) => [mode, rounds.map(({ load }) => load)]));
}

/** One self-contained page: no script, no network, no other file. Light or dark by the reader's setting. */
export function htmlReport(result: BenchResult, samples: Samples): string {
  const { conditions, modes, ratios, waiting, notes } = result;
  const main = [
    `<header><h1>${escapeHtml(headline(result))}</h1><p>${
      escapeHtml(`fervo-worker bench, ${conditions.started_at.slice(0, 16).replace("T", " ")} UTC`)
    }</p></header>`,
    conditions.complete
      ? ""
      : '<p class="alarm">Incomplete: the benchmark was interrupted. These are the jobs that had ended by then.</p>',
    paragraphs(meaning(result)),
    modes.length === 0 ? "" : section("Figures", figuresTable(modes)),
    ratios.length === 0 ? "" : section("Ratios", paragraphs(ratios.map(ratioText))),
    section(
      "Distribution of the run times",
      `<div class="plot">${
        distributionPlot(modes)
      }</div><p class="hint">Log scale. Each curve has its own height.</p>`,
    ),
    section("Run times over time", timelines(result, samples)),
    ...waiting.map(waitingSection),
    section("Conditions", conditionsList(conditions)),
    [...failureNotes(modes), ...notes].length === 0
      ? ""
      : section("Notes", paragraphs([...failureNotes(modes), ...notes])),
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeHtml(headline(result))}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
${main.filter((part) => part !== "").join("\n")}
</main>
</body>
</html>
`;
}

function headline({ ratios, modes }: BenchResult): string {
  const ratio = ratios.find(({ of, to }) => of.startsWith("fastcgi") && to === "process");
  if (ratio === undefined) return `PHP jobs: ${modes.map(({ mode }) => mode).join(", ")}`;
  return `PHP-FPM: ${figure(ratio.throughput.median)} jobs in the time of one process`;
}

function figuresTable(modes: readonly ModeResult[]): string {
  const time = (pick: (time: RunTime) => number) => ({ run_time_s }: ModeResult) =>
    run_time_s === null ? "–" : duration(pick(run_time_s));
  const cpu = (us: number | null) => us === null ? "–" : duration(us / 1e6);
  const rows: [string, (mode: ModeResult) => string][] = [
    ["Average", time(({ mean }) => mean)],
    ["Median", time(({ median }) => median)],
    ["Min", time(({ min }) => min)],
    ["Max", time(({ max }) => max)],
    ["Standard deviation", time(({ stdev }) => stdev)],
    ["95th percentile", time(({ p95 }) => p95)],
    ["99th percentile", time(({ p99 }) => p99)],
    ["Jobs a second", (mode) => figure(mode.throughput_per_s)],
    ["Worker’s CPU a job", (mode) => cpu(mode.worker_cpu_us_per_job)],
    ["PHP’s CPU a job", (mode) => cpu(mode.php_cpu_us_per_job)],
    [
      "PHP’s memory at most",
      ({ peak_memory_bytes }) => peak_memory_bytes === null ? "–" : bytes(peak_memory_bytes),
    ],
    ["Jobs", (mode) => figure(mode.jobs)],
    ["Failed", (mode) => figure(mode.failed)],
  ];
  return tableOf(
    ["", ...modes.map(({ mode }) => mode)],
    rows.map(([name, cell]) => [name, ...modes.map(cell)]),
  );
}

function waitingSection(w: Waiting): string {
  const rows = [[w.concurrency, w.at_concurrency], [w.children, w.at_children]] as const;
  const figures = tableOf(
    [w.mode, "Jobs a second", "Average", "Standard deviation", "99th percentile"],
    rows.map(([atOnce, { throughput_per_s, mean_s, stdev_s, p99_s }]) => [
      `${atOnce} at once`,
      figure(throughput_per_s),
      ...[mean_s, stdev_s, p99_s].map(duration),
    ]),
  );
  const title = `${w.concurrency} jobs at once on ${w.children} PHP processes: ${w.mode}`;
  return section(title, figures + paragraphs(waitingMeaning(w)));
}

/** All with the same axis of run times. */
function timelines({ modes }: BenchResult, samples: Samples): string {
  const times = modes.flatMap(({ run_time_s }) => run_time_s ?? []);
  const range = {
    minMs: 1_000 * Math.min(...times.map(({ min }) => min)),
    maxMs: 1_000 * Math.max(...times.map(({ max }) => max)),
  };
  const plots = modes.filter(({ run_time_s }) => run_time_s !== null)
    .map(({ mode }) => timelinePlot(mode, samples.get(mode) ?? [], range));
  return `<div class="plot">${plots.join("")}</div>` +
    '<p class="hint">Lines go from the shortest to the longest run time of each stretch of time, points are medians.</p>';
}

function failureNotes(modes: readonly ModeResult[]): string[] {
  return modes.flatMap(({ mode, failures, rate }) => [
    ...failures.map(({ code, message, count }) => `${mode}: ${count} x ${code}: ${message}`),
    ...(rate === null || rate.met ? [] : [
      `${mode} did not keep the rate: ${figure(rate.asked_per_s)} jobs/s were asked for, ` +
      `${figure(rate.achieved_per_s)} were started, up to ${duration(rate.late_start_s.max)} late.`,
    ]),
  ]);
}

function conditionsList(conditions: Conditions): string {
  const items = Object.entries(conditions).map(([name, value]) => {
    const text = value === null ? "–" : Array.isArray(value) ? value.join(" ") : String(value);
    return `<dt>${escapeHtml(name.replaceAll("_", " "))}</dt><dd>${escapeHtml(text)}</dd>`;
  });
  return `<dl>${items.join("")}</dl>`;
}

function section(title: string, content: string): string {
  return `<section><h2>${escapeHtml(title)}</h2>${content}</section>`;
}

function paragraphs(texts: readonly string[]): string {
  return texts.map((text) => `<p>${escapeHtml(text)}</p>`).join("");
}

function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const headCells = head.map((cell) => `<th scope="col">${escapeHtml(cell)}</th>`).join("");
  const lines = rows.map(([name, ...cells]) =>
    `<tr><th scope="row">${escapeHtml(name!)}</th>${
      cells.map((cell) => `<td>${escapeHtml(cell)}</td>`).join("")
    }</tr>`
  );
  return `<div class="wide"><table><thead><tr>${headCells}</tr></thead><tbody>${
    lines.join("")
  }</tbody></table></div>`;
}

/** For text and for attributes in double quotes. */
export function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll(
    '"',
    "&quot;",
  );
}

const STYLE = `
:root { color-scheme: light dark; --text: #1d2129; --soft: #667; --line: #dfe2e8; --page: #fff; --panel: #f6f7f9;
  --fastcgi: #1769d2; --fresh: #0d8a72; --process: #d1495b; --raw: #7a5cc4; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8ee; --soft: #9aa1b2; --line: #31363f; --page: #14171c;
  --panel: #1c2027; --fastcgi: #62a4ff; --fresh: #3fc9ab; --process: #ff7c8b; --raw: #b49bff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 47rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: clamp(1.5rem, 5vw, 2.2rem); line-height: 1.2; margin: 0; text-wrap: balance; }
h2 { font-size: 1.05rem; margin: 2.5rem 0 .6rem; }
p { margin: .35rem 0; }
header p, .hint, dt { color: var(--soft); }
.hint { font-size: .85rem; }
.alarm { background: var(--process); color: var(--page); padding: .5rem .8rem; border-radius: .4rem; margin: 1rem 0; }
.wide, .plot { overflow-x: auto; }
.plot { background: var(--panel); border-radius: .6rem; padding: .4rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .95rem; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { font-weight: 600; } tbody th { font-weight: 400; } th:first-child { text-align: left; padding-left: 0; }
dl { display: grid; grid-template-columns: minmax(9rem, auto) 1fr; gap: .15rem 1rem; margin: 0; font-size: .9rem; }
dd { margin: 0; overflow-wrap: anywhere; }
svg { display: block; width: 100%; min-width: 34rem; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--soft); } svg .name { fill: var(--text); font-weight: 600; }
svg path { fill: none; } svg .rule { stroke: var(--soft); stroke-width: .7; }
svg .grid { stroke: var(--line); stroke-width: .7; } svg .border { stroke: var(--soft); stroke-dasharray: 2 3; stroke-width: .7; }
svg .area { fill: currentColor; opacity: .75; } svg .median { stroke: currentColor; stroke-width: 1.5; stroke-dasharray: 3 2; }
svg .span { stroke: currentColor; opacity: .35; stroke-width: 2; }
svg .point { stroke: currentColor; stroke-width: 3; stroke-linecap: round; }
.fastcgi { color: var(--fastcgi); } .fastcgi-fresh { color: var(--fresh); }
.process { color: var(--process); } .raw { color: var(--raw); }
`.trim();
