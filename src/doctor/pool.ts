import type { Clock } from "../core/time/clock.ts";
import { FervoError, reasonOf } from "../core/errors.ts";
import type { Finding } from "../core/finding.ts";
import { FpmControl } from "../fpm/control.ts";
import { type FastCgiAddress, formatAddress } from "../fastcgi/address.ts";
import { connect } from "../fastcgi/connect.ts";
import { ask, type FpmStatus, isTooSmall, pingRequest } from "../fpm/status.ts";
import { type PoolToCheck, WHY_STATUS_PAGE } from "./expected_pool.ts";

/** Any path shows that php-fpm answers: it answers that it does not find it. */
const UNKNOWN_PATH = "/fervo-check";

/** The limit for a pool to accept a connection, milliseconds. */
const CONNECT_TIMEOUT_MS = 2_000;

/** Requests the pool's status page, or else its ping page, and judges the status page. */
export async function checkPool(clock: Clock, pool: PoolToCheck): Promise<Finding[]> {
  const { address, statusAddress } = pool;
  // Jobs have another address than the page, which does not show whether they arrive.
  const away = statusAddress === undefined ? [] : await refusal(clock, pool);
  try {
    const status = await new FpmControl({ clock }, pool).status();
    if (status === undefined) return [...away, ...await withoutStatusPage(clock, pool)];
    const where = away.length > 0 ? statusAddress! : address;
    return [...away, reached(where, status), ...statusFindings(status, pool)];
  } catch (error) {
    const why = poolError(error, pool);
    // A php-fpm that is unavailable is reported once.
    return away.length > 0 && why.id === "fpm.reachable" ? away : [...away, why];
  }
}

/** Why the pool accepts no connections for jobs. A pool full of jobs accepts others later. */
async function refusal(clock: Clock, pool: PoolToCheck): Promise<Finding[]> {
  try {
    (await connect(pool.address, clock, CONNECT_TIMEOUT_MS, undefined)).close();
    return [];
  } catch (error) {
    return error instanceof FervoError && error.code === "FASTCGI_OVERLOADED" ? [] : [poolError(error, pool)];
  }
}

/** Judges what the status page shows. */
export function statusFindings(status: FpmStatus, pool: PoolToCheck): Finding[] {
  return [...children(status, pool), ...statusListen(pool), sharedPool(status, pool.scripts)];
}

function reached(address: FastCgiAddress, status: FpmStatus): Finding {
  const { pool, processManager, totalProcesses, idleProcesses } = status;
  return {
    id: "fpm.reachable",
    severity: "ok",
    what:
      `pool "${pool}" at "${formatAddress(address)}", pm = ${processManager}, ${totalProcesses} children, ` +
      `${idleProcesses} idle`,
  };
}

function children(status: FpmStatus, { jobs, children: configured }: PoolToCheck): Finding[] {
  const id = "fpm.children";
  if (isTooSmall(status, jobs)) {
    return [{
      id,
      severity: "error",
      code: "CONFIG_INVALID",
      what:
        `the pool has ${status.totalProcesses} children, fewer than the ${jobs} jobs that its consumers run`,
      why: "further jobs wait in php-fpm's listen queue while their time limit runs",
      fix: `in the pool: pm.max_children = ${jobs}; or lower "concurrency"`,
    }];
  }
  // The configuration has compared this number with the jobs.
  if (status.processManager === "static" || configured !== undefined) return [];
  return [{
    id,
    severity: "notice",
    what: `the largest number of children of the pool is unknown: pm = ${status.processManager}`,
    why: "further jobs wait in php-fpm's listen queue while their time limit runs",
    fix:
      `in the pool: pm = static and pm.max_children = ${jobs}; or in [fpm.NAME]: children = its pm.max_children`,
  }];
}

/** The page is needed just when all children are busy. */
function statusListen({ killOnTimeout, statusAddress }: PoolToCheck): Finding[] {
  if (!killOnTimeout || statusAddress !== undefined) return [];
  return [{
    id: "fpm.status_listen",
    severity: "warning",
    what: "kill_on_timeout is on, and status_address is not set",
    why: "when all children hang, the status page does not answer, and the worker can end none of them",
    fix:
      "in the pool: pm.status_listen = /run/php/jobs-status.sock; in [fpm.NAME]: status_address = the same",
  }];
}

/** Each child shows its latest request, and so whether other clients use the pool. */
function sharedPool({ pool, processes }: FpmStatus, scripts: readonly string[]): Finding {
  const id = "fpm.shared_pool";
  const ran = processes.filter(({ script }) => script !== "-" && script !== "");
  const own = scripts.map(asShown);
  const foreign = ran.find(({ script }) => !own.includes(asShown(script)));
  if (foreign !== undefined) {
    return {
      id,
      severity: "warning",
      what: `other clients use the pool: a child ran "${foreign.script}"`,
      why: "jobs and web requests compete for the same PHP processes: under load, both wait",
      fix: "give jobs a pool of their own: fervo-worker init --fpm",
    };
  }
  if (ran.length > 0) {
    return { id, severity: "ok", what: `the latest requests of pool "${pool}" were the worker's own` };
  }
  return {
    id,
    severity: "notice",
    what:
      "it is unknown whether other clients use the pool: its children show no script, as before the first request and " +
      "after a request on a kept connection",
  };
}

/** The page shows 255 bytes of a script's path (fpm_scoreboard.h: a buffer of 256 with its NUL). */
function asShown(script: string): string {
  return new TextDecoder().decode(new TextEncoder().encode(script).subarray(0, 255));
}

async function withoutStatusPage(clock: Clock, pool: PoolToCheck): Promise<Finding[]> {
  const where = `"${formatAddress(pool.address)}"`;
  const response = await ask(pool.address, clock, pingRequest(pool.pingPath ?? UNKNOWN_PATH));
  const body = new TextDecoder().decode(response.body).trim().slice(0, 40);
  const missing: Finding = {
    id: "fpm.status_page",
    severity: "warning",
    what: "status_path is not set",
    why: WHY_STATUS_PAGE,
    fix: 'in the pool: pm.status_path = /status; in [fpm.NAME]: status_path = "/status"',
  };
  if (pool.pingPath === undefined) {
    return [{ id: "fpm.reachable", severity: "ok", what: `${where} answers` }, missing];
  }
  if (response.status === 200) {
    return [{ id: "fpm.reachable", severity: "ok", what: `${where} answers "${body}"` }, missing];
  }
  return [{
    id: "fpm.ping",
    severity: "error",
    code: "FPM_MISCONFIGURED",
    what: `${where} answers ${response.status} at ping_path "${pool.pingPath}"`,
    fix: "in [fpm.NAME]: ping_path = the pool's ping.path",
  }, missing];
}

const FIX_ADDRESS =
  'in [fpm.NAME]: address = "listen" of the pool; a pool for jobs is printed by: fervo-worker init --fpm';

function poolError(error: unknown, { statusPath }: PoolToCheck): Finding {
  const code = error instanceof FervoError ? error.code : "FASTCGI_CONNECT_FAILED";
  const what = reasonOf(error);
  if (code !== "FASTCGI_PROTOCOL") {
    return { id: "fpm.reachable", severity: "error", code, what, fix: FIX_ADDRESS };
  }
  return {
    id: "fpm.status_page",
    severity: "error",
    code: "FPM_MISCONFIGURED",
    what,
    fix: `in the pool: pm.status_path = ${statusPath ?? "/status"}; in [fpm.NAME]: status_path = the same`,
  };
}
