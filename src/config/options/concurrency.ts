import type { Config, ConsumerConfig, FastCgiConsumerConfig } from "../config.ts";

/** Whether that php-fpm pool runs the jobs of a consumer. */
export function isOn(executor: ConsumerConfig["executor"], fpm: string): executor is FastCgiConsumerConfig {
  return executor.kind === "fastcgi" && executor.fpm === fpm;
}

/** The sum of the fixed concurrency of a pool's consumers. */
export function fixedConcurrency(config: Config, fpm: string): number {
  return usersOf(config, fpm).reduce(
    (sum, { concurrency }) => sum + (concurrency === "auto" ? 0 : concurrency),
    0,
  );
}

/** Whether a pool has consumers with `concurrency = "auto"`. */
export function hasAuto(config: Config, fpm: string): boolean {
  return usersOf(config, fpm).some(({ concurrency }) => concurrency === "auto");
}

/** The least number of jobs that a pool's consumers run at the same time, given enough jobs. */
export function leastConcurrency(config: Config, fpm: string): number {
  return fixedConcurrency(config, fpm) + (hasAuto(config, fpm) ? config.fpm.get(fpm)!.fit.min : 0);
}

/** The largest number of them; undefined when only the pool's children limit it, and their number is not configured. */
export function mostConcurrency(config: Config, fpm: string): number | undefined {
  const { fit, children } = config.fpm.get(fpm)!;
  const fixed = fixedConcurrency(config, fpm);
  if (!hasAuto(config, fpm)) return fixed;
  const most = Math.min(children ?? Infinity, fixed + fit.max);
  return most === Infinity ? undefined : most;
}

/** The longest time of a request of a pool's consumers, milliseconds: a batch has the time of each of its jobs. */
export function longestRequestMs(config: Config, fpm: string): number {
  return Math.max(0, ...usersOf(config, fpm).map(({ timeoutMs, batchSize }) => timeoutMs * batchSize));
}

function usersOf(config: Config, fpm: string): ConsumerConfig[] {
  return config.consumers.filter(({ executor }) => isOn(executor, fpm));
}
