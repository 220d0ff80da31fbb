import process from "node:process";
import type { Clock, Timer } from "../../core/time/clock.ts";
import type { LineWriter } from "../line_writer.ts";
import { BucketHistogram, labelsOf, type MetricsPage } from "./prometheus.ts";

/** How often the delay of the event loop is measured, milliseconds. */
const LAG_INTERVAL_MS = 500;
/** Upper bounds of the buckets for that delay, seconds. */
const LAG_BOUNDS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** This process: its memory and CPU, the delay of its event loop, and its dropped log lines. */
export class ProcessMetrics implements Disposable {
  readonly #clock: Clock;
  readonly #log: Pick<LineWriter, "dropped">;
  readonly #version: string;
  readonly #startedS: number;
  readonly #lags = new BucketHistogram(LAG_BOUNDS_S);
  #timer: Timer;

  /** @param options.version fervo-worker's own. */
  constructor(deps: { clock: Clock; log: Pick<LineWriter, "dropped"> }, options: { version: string }) {
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#version = options.version;
    this.#startedS = deps.clock.nowMs() / 1_000;
    this.#timer = this.#timeNext();
  }

  /** Adds all metrics to `page`. */
  write(page: MetricsPage): void {
    page.add("fervo_build_info", [
      [labelsOf({ version: this.#version }), 1],
    ]);
    page.add("process_start_time_seconds", [[
      "",
      this.#startedS,
    ]]);
    const { user, system } = process.cpuUsage();
    page.add("process_cpu_seconds_total", [[
      "",
      (user + system) / 1e6,
    ]]);
    const { rss, heapUsed } = Deno.memoryUsage();
    page.add("process_resident_memory_bytes", [["", rss]]);
    page.add("fervo_heap_bytes", [[
      "",
      heapUsed,
    ]]);
    page.addHistogram(
      "fervo_event_loop_lag_seconds",
      [["", this.#lags]],
    );
    page.add(
      "fervo_log_lines_dropped_total",
      [["", this.#log.dropped]],
    );
  }

  /** Ends the measurement. */
  [Symbol.dispose](): void {
    this.#timer.cancel();
  }

  #timeNext(): Timer {
    const dueMs = this.#clock.monotonicMs() + LAG_INTERVAL_MS;
    return this.#clock.setTimer(() => {
      this.#lags.observe(Math.max(this.#clock.monotonicMs() - dueMs, 0) / 1_000);
      this.#timer = this.#timeNext();
    }, LAG_INTERVAL_MS);
  }
}
