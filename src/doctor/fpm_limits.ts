import { dirname } from "node:path";
import type { Finding } from "../core/finding.ts";
import { type PoolToCheck, WHY_STATUS_PAGE } from "./expected_pool.ts";
import { formatAddress } from "../fastcgi/address.ts";
import { type Directives, type FpmSettings, listensAt, type PoolSettings, valueOf } from "../fpm/settings.ts";

/** The finding without php-fpm's own configuration. */
export const UNKNOWN_LIMITS: Finding = {
  id: "fpm.settings",
  severity: "notice",
  what:
    "php-fpm's own settings (process_control_timeout, request_terminate_timeout, other pools) are unknown",
  fix:
    "fervo-worker check --fpm-config FILE, with the file of the master: from `init --service` /etc/fervo-worker/NAME-php-fpm.conf, on Debian " +
    "/etc/php/VERSION/fpm/php-fpm.conf",
};

/** The finding for a configuration without a pool at the address. */
export function unknownPool({ pools }: FpmSettings): Finding {
  const names = [...pools.keys()].map((name) => `[${name}]`).join(", ");
  return {
    ...UNKNOWN_LIMITS,
    what: `no pool of that php-fpm configuration listens there: it has ${names}`,
    fix: "fervo-worker check --fpm-config, with the php-fpm.conf that has this pool",
  };
}

/** Judges php-fpm's configuration of the pool. */
export async function fpmLimitFindings(settings: PoolSettings, pool: PoolToCheck): Promise<Finding[]> {
  const { own, global, others, poolFile } = settings;
  return [
    children(settings, pool),
    ...statusPage(own, pool),
    ...await statusListen(own, pool),
    requestTerminate(own, pool),
    ...await killRights(own, pool),
    ...(poolFile === undefined
      ? [processControl(global, pool), otherPools([...others.keys()])]
      : [await onlyPool(poolFile)]),
  ];
}

async function onlyPool(file: string): Promise<Finding> {
  const beside = `${dirname(dirname(file))}/php-fpm.conf`;
  const isThere = await Deno.stat(beside).then(() => true, () => false);
  const master = isThere ? beside : "with the php-fpm.conf of the master";
  return {
    id: "fpm.settings",
    severity: "notice",
    what: `"${file}" is the file of a pool: process_control_timeout, process.max and other pools are unknown`,
    fix: `fervo-worker check --fpm-config ${master}, or the file that php-fpm was started with`,
  };
}

/** As many children as jobs: in the pool, in the whole master (process.max), and beside other pools. */
function children({ own, global, others, poolFile }: PoolSettings, pool: PoolToCheck): Finding {
  const id = "fpm.children";
  const why = "further jobs wait in php-fpm's listen queue while their time limit runs";
  const { jobs, children: configured } = pool;
  const max = Number(own.get("pm.max_children"));
  if (jobs > max) {
    return {
      id,
      severity: "error",
      code: "CONFIG_INVALID",
      what: `pm.max_children is ${max}, and the consumers of the pool run ${jobs} jobs at once`,
      why,
      fix: `in the pool: pm.max_children = ${jobs}; or lower "concurrency"`,
    };
  }
  const all = Number(global.get("process.max")) || Infinity;
  const ofOthers = [...others.values()].reduce((sum, other) => sum + Number(other.get("pm.max_children")), 0);
  const known = poolFile === undefined;
  if (known && all < jobs) {
    return {
      id,
      severity: "error",
      code: "CONFIG_INVALID",
      what:
        `process.max is ${all}: the pool never reaches its ${max} children, and its consumers run ${jobs} jobs at once`,
      why,
      fix: `in [global] of php-fpm.conf: process.max = ${
        max + ofOthers
      }, or 0 for no limit; or lower "concurrency"`,
    };
  }
  if (known && all < max + ofOthers) {
    const isShort = all - ofOthers < jobs;
    const what = ofOthers === 0
      ? `process.max is ${all}: the pool never reaches its ${max} children`
      : `process.max is ${all}, and the pools of the master may have ${max + ofOthers} children together`;
    return {
      id,
      severity: isShort ? "warning" : "notice",
      what,
      ...(isShort && { why: `the other pools can use up the children for the ${jobs} jobs: ${why}` }),
      fix: `in [global] of php-fpm.conf: process.max = ${max + ofOthers}, or 0 for no limit`,
    };
  }
  if (configured !== undefined && configured !== max) {
    return {
      id,
      severity: "notice",
      what: `pm.max_children is ${max}, and "children" is ${configured}`,
      fix: `in [fpm.NAME]: children = ${max}`,
    };
  }
  return { id, severity: "ok", what: `pm.max_children is ${max}, for ${jobs} jobs at once` };
}

function statusPage(own: Directives, { statusPath }: PoolToCheck): Finding[] {
  const path = valueOf(own, "pm.status_path");
  // A missing or wrong path in the configuration is reported with the page itself.
  if (path === undefined || statusPath !== undefined) return [];
  return [{
    id: "fpm.status_page",
    severity: "warning",
    what: `the pool has a status page at "${path}", and status_path is not set`,
    why: WHY_STATUS_PAGE,
    fix: `in [fpm.NAME]: status_path = "${path}"`,
  }];
}

/** The page's own listener answers although all children are busy; another pool's page shows other children. */
async function statusListen(own: Directives, pool: PoolToCheck): Promise<Finding[]> {
  const id = "fpm.status_listen";
  const { statusPath, statusAddress, killOnTimeout } = pool;
  const listen = valueOf(own, "pm.status_listen");
  if (statusAddress !== undefined) {
    if (await listensAt(listen ?? own.get("listen") ?? "", statusAddress)) return [];
    return [{
      id,
      severity: "warning",
      what: `status_address is "${formatAddress(statusAddress)}", and pm.status_listen of the pool is ` +
        `${listen === undefined ? "not set" : `"${listen}"`}`,
      why: "the page of another pool shows that pool's children, not the children that run the jobs",
      fix: listen === undefined
        ? "in the pool: pm.status_listen = status_address of [fpm.NAME]"
        : `in [fpm.NAME]: status_address = "${listen}"`,
    }];
  }
  if (statusPath === undefined || listen === undefined) return [];
  return [{
    id,
    severity: killOnTimeout ? "warning" : "notice",
    what: `the pool's status page has a listener of its own at "${listen}", and status_address is not set`,
    why: "at the pool's own address the page waits behind the jobs when all children are busy",
    fix: `in [fpm.NAME]: status_address = "${listen}"`,
  }];
}

function processControl(global: Directives, { limit }: PoolToCheck): Finding {
  const id = "fpm.process_control_timeout";
  const seconds = secondsOf(global.get("process_control_timeout"));
  const needed = Math.ceil(limit.ms / 1_000) + 5;
  const fix = `in [global] of php-fpm.conf: process_control_timeout = ${needed}s`;
  if (seconds === 0) {
    return {
      id,
      severity: "warning",
      what: "process_control_timeout is 0, the default",
      why: "every reload of php-fpm kills the running jobs; they start again",
      fix,
    };
  }
  const what = `process_control_timeout is ${seconds} s, ${limit.name} is ${limit.ms}`;
  if (seconds * 1_000 >= limit.ms) return { id, severity: "ok", what };
  return {
    id,
    severity: "notice",
    what,
    why: "a reload of php-fpm kills jobs that run longer; they start again",
    fix,
  };
}

function requestTerminate(own: Directives, { limit, killOnTimeout }: PoolToCheck): Finding {
  const id = "fpm.request_terminate_timeout";
  const seconds = secondsOf(own.get("request_terminate_timeout"));
  // php-fpm checks at every third of the limit, so it may be late, but never early.
  const fix = `in the pool: request_terminate_timeout = ${Math.ceil(limit.ms / 1_000) + 30}s`;
  if (seconds === 0) {
    if (killOnTimeout) {
      return {
        id,
        severity: "ok",
        what: "request_terminate_timeout is 0; kill_on_timeout ends jobs that hang",
      };
    }
    return {
      id,
      severity: "warning",
      what: "request_terminate_timeout is 0, the default, and kill_on_timeout is off",
      why: "each job that hangs occupies a PHP process for ever, until no process is left",
      fix,
    };
  }
  const what = `request_terminate_timeout is ${seconds} s, ${limit.name} is ${limit.ms}`;
  if (seconds * 1_000 > limit.ms) return { id, severity: "ok", what };
  return {
    id,
    severity: "warning",
    what,
    why: "php-fpm ends jobs before the worker does, which looks like a crash without a reason",
    fix,
  };
}

/** `kill_on_timeout` needs the right to signal the children: their user's, or root's. */
async function killRights(own: Directives, { killOnTimeout, uid }: PoolToCheck): Promise<Finding[]> {
  const user = valueOf(own, "user");
  if (!killOnTimeout || user === undefined || uid === null || uid === 0) return [];
  const theirs = await uidOf(user);
  if (theirs === undefined || theirs === uid) return [];
  return [{
    id: "fpm.kill_on_timeout",
    severity: "warning",
    what: `kill_on_timeout is on, PHP runs as "${user}" (${theirs}), and this user is ${uid}`,
    why: "the worker cannot end PHP processes that hang: they stay, until no process is left",
    fix: `run the worker as "${user}" or root, or run check as the worker's user`,
  }];
}

/** By number, or from /etc/passwd; undefined otherwise. */
async function uidOf(user: string): Promise<number | undefined> {
  if (/^\d+$/.test(user)) return Number(user);
  const lines = (await Deno.readTextFile("/etc/passwd").catch(() => "")).split("\n");
  const fields = lines.map((line) => line.split(":")).find(([name]) => name === user);
  return fields && Number(fields[2]);
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

/** `90s` or `90`; 0 when it is not set. */
function secondsOf(text: string | undefined): number {
  return Number(/^\d+/.exec(text ?? "")?.[0] ?? 0);
}
