import { isTable, type Path, type Problem, show } from "../problems.ts";
import { type Table } from "../tables.ts";

/** What `concurrency = "auto"` needs, and what is said of it beside. */

export function isAuto(consumer: Table): boolean {
  return consumer["concurrency"] === "auto";
}

/** A consumer with `concurrency = "auto"`, and the pool that it uses, where that is known. */
export function checkAutoConsumer(
  consumer: Table,
  path: Path,
  executor: string | undefined,
  pool: { readonly name: string; readonly table: Table } | undefined,
): Problem[] {
  if (!isAuto(consumer)) return [];
  const place = [...path, "concurrency"];
  if (executor === "process") {
    const text =
      `concurrency is "auto", which follows the children of a php-fpm pool, and executor = "process" has ` +
      "none: say how many processes, such as concurrency = 4";
    return [{ path: place, text }];
  }
  if (pool === undefined || hasMeasure(pool.table)) return [];
  const text =
    `concurrency is "auto", and nothing tells how many children [fpm.${pool.name}] has: set status_path ` +
    "there, and pm.status_path of php-fpm; or children, or auto.max";
  return [{ path: place, text }];
}

/** The table `[fpm.NAME.auto]` of a pool. */
export function checkAutoBounds(pool: Table, path: Path, users: readonly Table[]): Problem[] {
  const auto = pool["auto"];
  if (!isTable(auto)) return [];
  const place = [...path, "auto"];
  const { min = 1, max = 0, reserve = 0 } = auto;
  if (!users.some(isAuto)) {
    // The defaults are as good as nothing.
    return min === 1 && max === 0 && reserve === 0 ? [] : [{
      path: place,
      text: 'auto has no effect: no consumer of this pool has concurrency = "auto"; remove it, or set that',
    }];
  }
  const { children = 0 } = pool;
  const problems: Problem[] = [];
  if (typeof min === "number" && typeof max === "number" && max > 0 && min > max) {
    problems.push({
      path: [...place, auto["min"] === undefined ? "max" : "min"],
      text: `auto.min (${min}) is more than auto.max (${max}): lower the one or raise the other`,
    });
  }
  if (typeof reserve === "number" && typeof children === "number" && children > 0 && reserve >= children) {
    problems.push({
      path: [...place, "reserve"],
      text: `auto.reserve is ${show(reserve)}: of ${children} children it leaves none for jobs; lower it`,
    });
  }
  return problems;
}

/** The least that the consumers of a pool use together whose concurrency is "auto". */
export function leastOfAuto(pool: Table, users: readonly Table[]): number {
  const { min } = isTable(pool["auto"]) ? pool["auto"] : {};
  return users.some(isAuto) ? typeof min === "number" ? min : 1 : 0;
}

/** Whether there is something to go by: the status page, the number of children, or a limit. */
function hasMeasure(pool: Table): boolean {
  const { status_path: statusPath = "", children = 0, auto } = pool;
  const max = isTable(auto) ? auto["max"] ?? 0 : 0;
  return statusPath !== "" || children !== 0 || max !== 0;
}
