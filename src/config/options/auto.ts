import { show, valueAt } from "../problems.ts";
import {
  type Consumer,
  type Pool,
  problem,
  type Problems,
  type Reading,
  usedTable,
  usersOf,
} from "../tables.ts";

/** A consumer with `concurrency = "auto"` follows the children of its pool: their number must be known. */
export function* checkAutoConsumer(consumer: Consumer, reading: Reading): Problems {
  if (!isAuto(consumer)) return;
  if (consumer.value.executor === "process") {
    const text =
      `concurrency = "auto" follows the children of a php-fpm pool, and executor = "process" has no pool: ` +
      "set a number, such as concurrency = 4";
    yield problem(consumer, "concurrency", text);
    return;
  }
  const pool = usedTable("fpm", "fpm", consumer, reading);
  if (pool === undefined) return;
  if (pool.value.status_path !== "" || pool.value.children > 0) return;
  const text =
    `concurrency = "auto" needs the number of children of [${pool.path.join(".")}]: set status_path ` +
    "there and pm.status_path in php-fpm, or set children";
  yield problem(consumer, "concurrency", text);
}

/** The table `[fpm.NAME.auto]` of a pool. */
export function* checkAutoBounds(pool: Pool, reading: Reading): Problems {
  const { auto: { min, max, reserve }, children } = pool.value;
  if (!usersOf(pool, reading).some(isAuto)) {
    // The defaults have no effect.
    if (min === 1 && max === 0 && reserve === 0) return;
    const text =
      'auto has no effect: no consumer of this pool has concurrency = "auto"; set that, or remove auto';
    yield problem(pool, "auto", text);
    return;
  }
  if (max > 0 && min > max) {
    const key = valueAt(pool.written, ["auto", "min"]) === undefined ? "max" : "min";
    const text = `auto.min (${min}) is more than auto.max (${max}): lower the one or raise the other`;
    yield { path: [...pool.path, "auto", key], text };
  }
  if (children > 0 && reserve >= children) {
    const text = `auto.reserve is ${
      show(reserve)
    }, and the pool has ${children} children: none is left for jobs; lower auto.reserve`;
    yield { path: [...pool.path, "auto", "reserve"], text };
  }
}

/** The least number of jobs that the consumers of a pool run at the same time, given enough jobs. */
export function leastJobs(pool: Pool, reading: Reading): number {
  const users = usersOf(pool, reading);
  const fixed = users.map(({ value: { concurrency } }) => concurrency === "auto" ? 0 : concurrency);
  return fixed.reduce((sum, jobs) => sum + jobs, users.some(isAuto) ? pool.value.auto.min : 0);
}

function isAuto({ value: { concurrency } }: Consumer): boolean {
  return concurrency === "auto";
}
