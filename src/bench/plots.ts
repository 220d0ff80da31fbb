/** Plots as SVG texts, for a page with the classes and a colour for each mode. */
import { duration } from "./format.ts";
import type { ModeName, ModeResult } from "./result.ts";

const WIDTH = 720;
const LEFT = 24;
const RIGHT = 24;
const ROW_HEIGHT = 74;
const AXIS_HEIGHT = 26;

/** One curve for each mode over one axis of run times, on a log scale. */
export function distributionPlot(modes: readonly ModeResult[]): string {
  const shown = modes.filter(({ histogram }) => histogram.length > 0);
  if (shown.length === 0) return "";
  const buckets = shown.flatMap(({ histogram }) => histogram);
  const scale = logScale(
    Math.min(...buckets.map(({ from_s }) => from_s)),
    Math.max(...buckets.map(({ to_s }) => to_s)),
    LEFT,
    WIDTH - RIGHT,
  );
  const height = shown.length * ROW_HEIGHT;
  const rows = shown.map(({ mode, histogram, run_time_s }, index) => {
    const base = (index + 1) * ROW_HEIGHT;
    const most = Math.max(...histogram.map(({ jobs }) => jobs));
    const bars = histogram.map(({ from_s, to_s, jobs }) => {
      const [x0, x1] = [scale.at(from_s), scale.at(to_s)];
      const top = base - Math.max((ROW_HEIGHT - 26) * jobs / most, 1);
      return `M${px(x0)} ${base}V${px(top)}H${px(x1)}V${base}z`;
    });
    const median = scale.at(run_time_s!.median);
    return `<g class="${mode}"><path class="area" d="${bars.join("")}"/>` +
      `<path class="median" d="M${px(median)} ${base}v-${ROW_HEIGHT - 22}"/>` +
      `<path class="rule" d="M${LEFT} ${base}H${WIDTH - RIGHT}"/>` +
      `<text class="name" x="${LEFT}" y="${base - ROW_HEIGHT + 18}">${mode}</text>` +
      `<text x="${WIDTH - RIGHT}" y="${base - ROW_HEIGHT + 18}" text-anchor="end">median ${
        duration(run_time_s!.median)
      }</text></g>`;
  });
  const ticks = scale.ticks.map(({ value, label }) => {
    const x = px(scale.at(value));
    return `<path class="grid" d="M${x} 22V${height}"/>` +
      (label === "" ? "" : `<text x="${x}" y="${height + 18}" text-anchor="middle">${label}</text>`);
  });
  return svg("How run times are distributed", height + AXIS_HEIGHT, ticks.join("") + rows.join(""));
}

/** The data of a round's timeline: the start and the run time of each job, milliseconds. */
export interface RoundSamples {
  readonly startMs: Float64Array;
  readonly runMs: Float64Array;
  readonly elapsedMs: number;
}

const TIMELINE_HEIGHT = 150;
const TIMELINE_LEFT = 58;
/** The jobs in each of this many stretches of the width are drawn as one mark. */
const STRETCHES = 220;

/** Run time over time: in each stretch a line from the shortest to the longest, and a point at the median. */
export function timelinePlot(
  mode: ModeName,
  rounds: readonly RoundSamples[],
  range: { readonly minMs: number; readonly maxMs: number },
): string {
  const totalMs = rounds.reduce((sum, { elapsedMs }) => sum + elapsedMs, 0);
  const bottom = TIMELINE_HEIGHT - AXIS_HEIGHT;
  const scale = logScale(range.minMs / 1_000, range.maxMs / 1_000, bottom - 4, 10);
  const width = WIDTH - RIGHT - TIMELINE_LEFT;
  const stretches = new Map<number, number[]>();
  const borders: number[] = [];
  let offsetMs = 0;
  for (const { startMs, runMs, elapsedMs } of rounds) {
    startMs.forEach((start, index) => {
      const stretch = Math.min(Math.floor((offsetMs + start) / totalMs * STRETCHES), STRETCHES - 1);
      const values = stretches.get(stretch);
      if (values === undefined) stretches.set(stretch, [runMs[index]!]);
      else values.push(runMs[index]!);
    });
    offsetMs += elapsedMs;
    borders.push(TIMELINE_LEFT + offsetMs / totalMs * width);
  }
  let [lines, points] = ["", ""];
  for (const [stretch, values] of stretches) {
    values.sort((a, b) => a - b);
    const x = px(TIMELINE_LEFT + (stretch + 0.5) / STRETCHES * width);
    const y = (ms: number) => px(scale.at(ms / 1_000));
    if (values.length > 1) lines += `M${x} ${y(values[0]!)}V${y(values.at(-1)!)}`;
    points += `M${x} ${y(values[values.length >> 1]!)}h0`;
  }
  const grid = scale.ticks.map(({ value, label }) => {
    const y = px(scale.at(value));
    return `<path class="grid" d="M${TIMELINE_LEFT} ${y}H${WIDTH - RIGHT}"/>` +
      (label === ""
        ? ""
        : `<text x="${TIMELINE_LEFT - 6}" y="${y}" dy="4" text-anchor="end">${label}</text>`);
  }).join("");
  const ends = borders.slice(0, -1).map((x) => `<path class="border" d="M${px(x)} 8V${bottom}"/>`).join("");
  const axis = `<path class="rule" d="M${TIMELINE_LEFT} ${bottom}H${WIDTH - RIGHT}"/>` +
    `<text class="name" x="${TIMELINE_LEFT}" y="${bottom + 18}">${mode}</text>` +
    `<text x="${WIDTH - RIGHT}" y="${bottom + 18}" text-anchor="end">${
      rounds.length === 1 ? "1 round" : `${rounds.length} rounds`
    }, ${duration(totalMs / 1_000)} in all</text>`;
  const marks = `<path class="span" d="${lines}"/><path class="point" d="${points}"/>`;
  return svg(
    `Run time of ${mode} over time`,
    TIMELINE_HEIGHT,
    `${grid}${ends}<g class="${mode}">${marks}</g>${axis}`,
  );
}

interface LogScale {
  /** The position of a number of seconds. */
  at(seconds: number): number;
  /** Each 1, 2 and 5; the powers of ten have labels. */
  readonly ticks: readonly { readonly value: number; readonly label: string }[];
}

/** From the power of ten below `min`, or half of it, to that above `max`. */
function logScale(min: number, max: number, from: number, to: number): LogScale {
  const low = Math.floor(Math.log10(min) * 2) / 2;
  const high = Math.max(Math.ceil(Math.log10(max) * 2) / 2, low + 1);
  const ticks: { value: number; label: string }[] = [];
  for (let decade = Math.floor(low); decade <= high; decade++) {
    for (const step of [1, 2, 5]) {
      // Written as a decimal, because 10 ** -5 is not exactly 0.00001.
      const value = Number(`${step}e${decade}`);
      if (Math.log10(value) < low - 1e-9 || Math.log10(value) > high + 1e-9) continue;
      ticks.push({ value, label: step === 1 ? duration(value) : "" });
    }
  }
  return { at: (seconds) => from + (Math.log10(seconds) - low) / (high - low) * (to - from), ticks };
}

function svg(title: string, height: number, content: string): string {
  return `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${title}">${content}</svg>`;
}

/** A coordinate, to a tenth of a pixel. */
function px(value: number): string {
  return String(Math.round(10 * value) / 10);
}
