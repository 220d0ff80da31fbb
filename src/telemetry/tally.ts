import type { Clock } from "../core/time/clock.ts";
import type { Observer } from "../core/observer.ts";
import type { Histogram } from "./metrics/histogram.ts";

/** Run times of jobs, in milliseconds; percentiles are exact to three digits. */
export interface RunTimes {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** The result of a run. */
export interface TallySummary {
  readonly done: number;
  /** Attempts that failed and whose jobs run again later. */
  readonly retried: number;
  /** Jobs that became dead letters. */
  readonly dead: number;
  /** Failed jobs that the application handled. */
  readonly handled: number;
  /** Deliveries that were put back without a run. */
  readonly released: number;
  readonly leasesLost: number;
  /** Jobs that were taken back from dead workers and are ready again; dead letters do not count. */
  readonly recovered: number;
  readonly seconds: number;
  /** `done` by `seconds`. */
  readonly jobsPerSecond: number;
  readonly runMs: RunTimes;
}

const MICROSECONDS = 1_000;
const HIGHEST_MS = 24 * 3_600_000;

/** Counts a worker's results, for the progress bar and the summary of `run --until-empty`. */
export class Tally {
  readonly #clock: Clock;
  readonly #startedMs: number;
  readonly #runs: Histogram;
  #done = 0;
  #retried = 0;
  #dead = 0;
  #handled = 0;
  #released = 0;
  #leasesLost = 0;
  #recovered = 0;

  private constructor(clock: Clock, runs: Histogram) {
    this.#clock = clock;
    this.#startedMs = clock.monotonicMs();
    this.#runs = runs;
  }

  static async create(clock: Clock): Promise<Tally> {
    const { buildHistogram } = await import("./metrics/histogram.ts");
    const runs = buildHistogram({
      lowestDiscernibleValue: 1,
      highestTrackableValue: HIGHEST_MS * MICROSECONDS,
      numberOfSignificantValueDigits: 3,
    });
    return new Tally(clock, runs);
  }

  /** Jobs that have reached their end. */
  get finished(): number {
    return this.#done + this.#dead + this.#handled;
  }

  /** Jobs that became dead letters. */
  get dead(): number {
    return this.#dead;
  }

  readonly observe: Observer = (event) => {
    if (event.type === "lease_lost") this.#leasesLost++;
    if (event.type === "jobs_recovered" || event.type === "strays_returned") {
      this.#recovered += event.putBack;
      this.#dead += event.buried;
    }
    if (event.type !== "job_settled") return;
    const { kind } = event.verdict;
    if (kind === "release") return void this.#released++;
    if (kind === "ack") this.#done++;
    else if (kind === "handled") this.#handled++;
    else if (kind === "retry" || kind === "replace") this.#retried++;
    else this.#dead++;
    this.#runs.recordValue(
      Math.max(1, Math.min(Math.round(event.runMs * MICROSECONDS), HIGHEST_MS * MICROSECONDS)),
    );
  };

  summary(): TallySummary {
    const seconds = (this.#clock.monotonicMs() - this.#startedMs) / 1_000;
    const maxMs = this.#runs.maxValue / MICROSECONDS;
    // The histogram returns the upper bound of a bucket, which may exceed all its values.
    const at = (percentile: number) =>
      Math.min(this.#runs.getValueAtPercentile(percentile) / MICROSECONDS, maxMs);
    return {
      done: this.#done,
      retried: this.#retried,
      dead: this.#dead,
      handled: this.#handled,
      released: this.#released,
      leasesLost: this.#leasesLost,
      recovered: this.#recovered,
      seconds,
      jobsPerSecond: this.#done / seconds,
      runMs: { p50: at(50), p95: at(95), p99: at(99), max: maxMs },
    };
  }
}
