import { duration, figure, percent } from "./format.ts";
import type { BenchResult, ModeName, ModeResult, Ratio, Waiting } from "./result.ts";

/** The meaning of the figures, in sentences; none without a comparison. */
export function meaning({ modes, ratios, conditions }: BenchResult): string[] {
  const find = (name: ModeName) => modes.find(({ mode }) => mode === name);
  const ratio = (of: ModeName, to: ModeName): Ratio | undefined =>
    ratios.find((candidate) => candidate.of === of && candidate.to === to);
  const [fastcgi, fresh, process] = [find("fastcgi"), find("fastcgi-fresh"), find("process")];
  const best = fastcgi ?? fresh;
  const sentences: string[] = [];
  if (best?.run_time_s && process?.run_time_s) {
    sentences.push(
      `Half of the jobs took less than ${duration(best.run_time_s.median)} on php-fpm, and less than ` +
        `${duration(process.run_time_s.median)} in a process of their own.`,
    );
  }
  const gain = best && ratio(best.mode, "process")?.throughput.median;
  if (gain !== undefined && gain >= 1) {
    sentences.push(`In the time of one process, php-fpm ran ${figure(gain)} jobs.`);
  } else if (gain !== undefined) {
    sentences.push(`A process for each job was faster here, ${figure(1 / gain)} times.`);
  }
  const [cost, processCost] = [best, process].map((mode) => mode && cpuPerJob(mode));
  if (cost && processCost && processCost >= 2 * cost) {
    sentences.push(
      `The CPU time of one process is enough for ${
        figure(processCost / cost)
      } jobs on php-fpm, worker included.`,
    );
  }
  const ceiling = ratio("fastcgi", "raw")?.throughput.median;
  if (ceiling !== undefined) {
    sentences.push(
      ceiling < 0.97
        ? `The worker's client reached ${
          percent(ceiling)
        } of a loop that only writes and reads bytes; the rest is what it ` +
          "costs to make each request and to check each answer."
        : "The worker's client was as fast as a loop that only writes and reads bytes, as far as this machine can tell.",
    );
  }
  const { children, concurrency } = conditions;
  if (children === null && best !== undefined) {
    sentences.push(
      'The number of PHP processes of the pool is unknown: set "children" in its [fpm.NAME]. More jobs than that wait.',
    );
  } else if (
    children !== null && best !== undefined && concurrency > children && conditions.rate_per_s !== null
  ) {
    sentences.push(
      `Up to ${concurrency} jobs were sent at once to ${children} PHP processes, and the others waited: set concurrency to ` +
        `${children}.`,
    );
  }
  if (conditions.rate_per_s !== null) {
    sentences.push("Run times count from when a job should have started, so they show what a user waits.");
  }
  return sentences;
}

function cpuPerJob({ worker_cpu_us_per_job, php_cpu_us_per_job }: ModeResult): number | null {
  if (worker_cpu_us_per_job === null || php_cpu_us_per_job === null) return null;
  return worker_cpu_us_per_job + php_cpu_us_per_job;
}

/** `fastcgi is 96.2 x (91.0-102) the throughput of process` */
export function ratioText({ of, to, throughput: { median, min, max } }: Ratio): string {
  return `${of} is ${figure(median)} x (${figure(min)}-${figure(max)}) the throughput of ${to}`;
}

/** The meaning of jobs that wait for a PHP process. */
export function waitingMeaning(waiting: Waiting): string[] {
  const { mode, children, concurrency, waiting_share } = waiting;
  const others = concurrency - children;
  return [
    ...(waiting_share === null
      ? []
      : [`A job waited at least ${percent(waiting_share)} of its time for a PHP process (Little's law).`]),
    ...(mode === "fastcgi"
      ? [
        `Kept connections occupy all ${children} PHP processes; the other ${
          others === 1 ? "job gets" : `${others} jobs get`
        } none until a connection is closed. The longest run times include that wait.`,
      ]
      : []),
    `Set concurrency to ${children}, the number of PHP processes: more jobs than that wait.`,
  ];
}
