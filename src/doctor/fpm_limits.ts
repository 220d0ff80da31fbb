import type { Finding } from "../core/finding.ts";
import { type PoolToCheck, WHY_STATUS_PAGE } from "./expected_pool.ts";
import { findPool, type FpmSettings } from "./fpm_settings.ts";

/** Said where php-fpm's own configuration was not read. */
export const UNKNOWN_LIMITS: Finding = {
  id: "fpm.settings",
  severity: "notice",
  what:
    "php-fpm's own settings (process_control_timeout, request_terminate_timeout, other pools) are not known",
  fix: "fervo-worker check --fpm-config /etc/php/8.2/fpm/php-fpm.conf",
};

/** Judges what php-fpm's configuration says of the pool. */
export async function fpmLimitFindings(settings: FpmSettings, pool: PoolToCheck): Promise<Finding[]> {
  const name = await findPool(settings, pool.address);
  if (name === undefined) {
    const names = [...settings.pools.keys()].map((name) => `[${name}]`).join(", ");
    return [{
      ...UNKNOWN_LIMITS,
      what: `no pool of that php-fpm configuration listens there: it has ${names}`,
      fix: "fervo-worker check --fpm-config, with the php-fpm.conf that has this pool",
    }];
  }
  const own = settings.pools.get(name)!;
  return [
    children(own, pool),
    ...statusPage(own, pool),
    processControl(settings.global, pool),
    requestTerminate(own, pool),
    otherPools([...settings.pools.keys()].filter((other) => other !== name)),
  ];
}

type Directives = ReadonlyMap<string, string>;

function children(own: Directives, { jobs, children }: PoolToCheck): Finding {
  const id = "fpm.children";
  const max = Number(own.get("pm.max_children"));
  if (jobs > max) {
    return {
      id,
      severity: "error",
      code: "CONFIG_INVALID",
      what: `pm.max_children is ${max}, and the consumers of the pool run ${jobs} jobs at once`,
      why: "jobs beyond that wait in php-fpm's listen queue while their time runs",
      fix: `in the pool: pm.max_children = ${jobs}; or lower "concurrency"`,
    };
  }
  if (children !== undefined && children !== max) {
    return {
      id,
      severity: "notice",
      what: `pm.max_children is ${max}, and "children" is ${children}`,
      fix: `in [fpm.NAME]: children = ${max}`,
    };
  }
  return { id, severity: "ok", what: `pm.max_children is ${max}, for ${jobs} jobs at once` };
}

function statusPage(own: Directives, { statusPath }: PoolToCheck): Finding[] {
  const path = valueOf(own, "pm.status_path");
  // Without any in the configuration, or with a wrong one, the page itself was missed.
  if (path === undefined || statusPath !== undefined) return [];
  return [{
    id: "fpm.status_page",
    severity: "warning",
    what: `the pool has a status page at "${path}", and status_path is not set`,
    why: WHY_STATUS_PAGE,
    fix: `in [fpm.NAME]: status_path = "${path}"`,
  }];
}

function processControl(global: Directives, { timeoutMs }: PoolToCheck): Finding {
  const id = "fpm.process_control_timeout";
  const seconds = secondsOf(global.get("process_control_timeout"));
  const needed = Math.ceil(timeoutMs / 1_000) + 5;
  const fix = `in [global] of php-fpm.conf: process_control_timeout = ${needed}s`;
  if (seconds === 0) {
    return {
      id,
      severity: "warning",
      what: "process_control_timeout is 0, the default",
      why: "every reload of php-fpm kills the jobs that run; they begin anew",
      fix,
    };
  }
  const what = `process_control_timeout is ${seconds} s, timeout_ms is ${timeoutMs}`;
  if (seconds * 1_000 >= timeoutMs) return { id, severity: "ok", what };
  return {
    id,
    severity: "notice",
    what,
    why: "a reload of php-fpm kills jobs that run longer; they begin anew",
    fix,
  };
}

function requestTerminate(own: Directives, { timeoutMs, killOnTimeout }: PoolToCheck): Finding {
  const id = "fpm.request_terminate_timeout";
  const seconds = secondsOf(own.get("request_terminate_timeout"));
  // php-fpm looks at a third of the limit only, so that it may be late; early it is not.
  const fix = `in the pool: request_terminate_timeout = ${Math.ceil(timeoutMs / 1_000) + 30}s`;
  if (seconds === 0) {
    if (killOnTimeout) {
      return { id, severity: "ok", what: "request_terminate_timeout is 0; kill_on_timeout ends what hangs" };
    }
    return {
      id,
      severity: "warning",
      what: "request_terminate_timeout is 0, the default, and kill_on_timeout is off",
      why: "a job that hangs keeps its PHP process for ever, and in the end all of them",
      fix,
    };
  }
  const what = `request_terminate_timeout is ${seconds} s, timeout_ms is ${timeoutMs}`;
  if (seconds * 1_000 > timeoutMs) return { id, severity: "ok", what };
  return {
    id,
    severity: "warning",
    what,
    why: "php-fpm ends jobs before the worker does, which looks like a crash and tells no reason",
    fix,
  };
}

function otherPools(others: readonly string[]): Finding {
  const id = "fpm.shared_master";
  if (others.length === 0) return { id, severity: "ok", what: "the php-fpm master has no other pool" };
  return {
    id,
    severity: "notice",
    what: `the php-fpm master has other pools, too: ${others.map((name) => `[${name}]`).join(", ")}`,
    why: "while it reloads, none of its pools serves until the last running job has ended",
    fix: "give jobs a master of their own: fervo-worker init --fpm",
  };
}

/** php-fpm prints directives that are not set as "undefined". */
function valueOf(directives: Directives, name: string): string | undefined {
  const value = directives.get(name);
  return value === "undefined" || value === "" ? undefined : value;
}

/** `90s` or `90`; 0 when it is not set. */
function secondsOf(text: string | undefined): number {
  return Number(/^\d+/.exec(text ?? "")?.[0] ?? 0);
}
