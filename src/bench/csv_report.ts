import type { BenchResult, ModeResult } from "./result.ts";

const COLUMNS: readonly [name: string, value: (mode: ModeResult) => string | number | null][] = [
  ["mode", ({ mode }) => mode],
  ["jobs", ({ jobs }) => jobs],
  ["failed", ({ failed }) => failed],
  ["throughput_per_s", (mode) => mode.throughput_per_s],
  ["mean_s", (mode) => mode.run_time_s?.mean ?? null],
  ["median_s", (mode) => mode.run_time_s?.median ?? null],
  ["min_s", (mode) => mode.run_time_s?.min ?? null],
  ["max_s", (mode) => mode.run_time_s?.max ?? null],
  ["stdev_s", (mode) => mode.run_time_s?.stdev ?? null],
  ["p95_s", (mode) => mode.run_time_s?.p95 ?? null],
  ["p99_s", (mode) => mode.run_time_s?.p99 ?? null],
  ["worker_cpu_us_per_job", (mode) => mode.worker_cpu_us_per_job],
  ["php_cpu_us_per_job", (mode) => mode.php_cpu_us_per_job],
  ["peak_memory_bytes", (mode) => mode.peak_memory_bytes],
  ["worker_memory_bytes", (mode) => mode.worker_memory_bytes],
  ["first_failure", ({ failures }) => failures[0]?.message ?? null],
];

/** A head line and one line for each mode (RFC 4180); unmeasured values are empty. */
export function csvReport({ modes }: BenchResult): string {
  const lines = [
    COLUMNS.map(([name]) => name),
    ...modes.map((mode) => COLUMNS.map(([, value]) => value(mode))),
  ];
  return lines.map((cells) => `${cells.map(csvCell).join(",")}\r\n`).join("");
}

/** Quoted if necessary. */
export function csvCell(value: string | number | null): string {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
