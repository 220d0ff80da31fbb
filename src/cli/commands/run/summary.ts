import type { TallySummary } from "../../../telemetry/tally.ts";
import { counted } from "../../../core/text/plural.ts";

/**
 * The summary in `--json`.
 *
 * @param uncounted States of jobs that a broker could not count.
 */
export function summaryJson(summary: TallySummary, uncounted: readonly string[]) {
  const { done, retried, dead, released, leasesLost, recovered, seconds, jobsPerSecond, runMs } = summary;
  return {
    done,
    retried,
    dead,
    ...(summary.handled > 0 && { handled: summary.handled }),
    released,
    leases_lost: leasesLost,
    recovered,
    seconds: rounded(seconds, 3),
    jobs_per_s: rounded(jobsPerSecond, 1),
    run_ms: {
      p50: rounded(runMs.p50, 3),
      p95: rounded(runMs.p95, 3),
      p99: rounded(runMs.p99, 3),
      max: rounded(runMs.max, 3),
    },
    ...(uncounted.length > 0 && { uncounted }),
  };
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

/** The summary for people. */
export function summaryText(
  { done, retried, dead, handled, seconds, jobsPerSecond, runMs }: TallySummary,
  uncounted: readonly string[],
): string {
  const ms = (value: number) => `${value.toFixed(value < 10 ? 2 : 0)} ms`;
  return [
    `Done:     ${counted(done, "job")} in ${seconds.toFixed(1)} s (${Math.round(jobsPerSecond)} jobs/s)`,
    `Retried:  ${counted(retried, "attempt")} failed and ${retried === 1 ? "was" : "were"} retried`,
    `Dead:     ${counted(dead, "job")}${dead > 0 ? "; see: fervo-worker dead list" : ""}`,
    ...(handled > 0
      ? [
        `Handled:  ${counted(handled, "job")} failed; the application handled ${
          handled === 1 ? "it" : "them"
        }`,
      ]
      : []),
    `Run time: p50 ${ms(runMs.p50)}, p95 ${ms(runMs.p95)}, max ${ms(runMs.max)}`,
    ...(uncounted.length > 0
      ? [`Unknown:  the broker cannot count ${uncounted.join(" and ")} jobs; some may be left`]
      : []),
    "",
  ].join("\n");
}
