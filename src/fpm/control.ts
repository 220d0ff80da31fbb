import type { Clock } from "../core/time/clock.ts";
import { sleep } from "../core/time/clock.ts";
import { FervoError, reasonOf } from "../core/errors.ts";
import { type FastCgiAddress, formatAddress } from "../fastcgi/address.ts";
import {
  ask,
  ASK_TIMEOUT_MS,
  childTitle,
  type FpmProcess,
  type FpmStatus,
  MAX_REQUEST_URI_LENGTH,
  pingRequest,
  readStatus,
  statusRequest,
} from "./status.ts";
import type { FastCgiRequest } from "../fastcgi/connection.ts";
import type { Pool } from "../fastcgi/pool.ts";
import type { FastCgiResponse } from "../fastcgi/response.ts";
import { isProcessThere, readProc } from "../system/proc.ts";

export interface FpmControlOptions {
  /** Where the pool listens. */
  readonly address: FastCgiAddress;
  /** The status page's own address, if it has one: `pm.status_listen`. */
  readonly statusAddress: FastCgiAddress | undefined;
  /** The pool's `pm.status_path`; undefined without one. */
  readonly statusPath: string | undefined;
  /** The pool's `ping.path`; undefined without one. */
  readonly pingPath: string | undefined;
}

/** Any path shows that php-fpm answers: it answers that it does not find it. */
export const UNKNOWN_PATH = "/fervo-check";

/**
 * A leaving php-fpm ends its children one after the other, so one may still answer. This long after php-fpm seems to have
 * stayed, it is checked once more, milliseconds.
 */
const LEAVING_MS = 200;
/** A child that has not ended this long after SIGTERM is killed, milliseconds. */
const KILL_AFTER_MS = 1_000;
/** How often to check whether it has ended, milliseconds. */
const LOOK_MS = 20;
/** The longest time to end a child: two looks at the status page, and the signals; milliseconds. */
export const END_CHILD_MS = 2 * ASK_TIMEOUT_MS + 2 * KILL_AFTER_MS;

/**
 * A php-fpm pool, seen from outside.
 *
 * 1. Reads the status page, if there is one.
 * 2. Tells whether php-fpm itself ended, rather than one child, when a connection is lost.
 * 3. Finds the child of a request and ends it: the protocol cannot end a request.
 */
export class FpmControl {
  readonly #clock: Clock;
  readonly #options: FpmControlOptions;
  /** The page at the last look. */
  #latest: FpmStatus | undefined;
  /** When it restarted since the first look, at the latest; monotonic milliseconds. */
  #restartedMs = -Infinity;

  constructor(deps: { clock: Clock }, options: FpmControlOptions) {
    this.#clock = deps.clock;
    this.#options = options;
  }

  /**
   * The status page; undefined without one.
   *
   * @param pool Asks on one of its connections if the page has no address of its own: then the request takes the place of a
   * job, not another child, and waits here instead of in php-fpm's listen queue.
   * @throws {FastCgiError} FASTCGI_* when php-fpm does not answer
   */
  async status(pool?: Pick<Pool, "request">): Promise<FpmStatus | undefined> {
    const { address, statusAddress, statusPath } = this.#options;
    if (statusPath === undefined) return undefined;
    const through = statusAddress === undefined ? pool : undefined;
    const page = await ask(statusAddress ?? address, this.#clock, statusRequest(statusPath), through);
    const status = readStatus(page);
    if (this.#latest !== undefined && !isSame(this.#latest, status)) {
      // Whole seconds on both sides: the page may say one too many.
      this.#restartedMs = this.#clock.monotonicMs() - Math.max(status.uptimeS - 1, 0) * 1_000;
    }
    this.#latest = status;
    return status;
  }

  /**
   * Resolves when php-fpm has answered, even that it does not find the page.
   *
   * @param pool As for `status`.
   * @param signal Ends it early.
   * @throws {FastCgiError} FASTCGI_* without an answer
   */
  async ping(pool?: Pick<Pool, "request">, signal?: AbortSignal): Promise<void> {
    await this.ask(pingRequest(this.#options.pingPath ?? UNKNOWN_PATH), pool, signal);
  }

  /**
   * The answer to a request without a job.
   *
   * @param pool As for `status`.
   * @param signal Ends it early.
   * @throws {FastCgiError} FASTCGI_*
   */
  ask(
    request: FastCgiRequest,
    pool?: Pick<Pool, "request">,
    signal?: AbortSignal,
  ): Promise<FastCgiResponse> {
    return ask(this.#options.address, this.#clock, request, pool, signal);
  }

  /**
   * Whether php-fpm was stopped, restarted or reloaded within the last `ageMs` milliseconds, or does not serve us at all: it is
   * asked at the jobs' address, because the status page may have another one. Undefined if unknown: without a status page, or
   * without an answer in time.
   */
  async hasLeftWithin(ageMs: number): Promise<boolean | undefined> {
    const sinceMs = this.#clock.monotonicMs() - ageMs;
    try {
      if (await this.#hasLeftSince(sinceMs) === true) return true;
      await sleep(this.#clock, LEAVING_MS);
      return await this.#hasLeftSince(sinceMs);
    } catch (error) {
      if (!(error instanceof FervoError)) throw error;
      return isAway(error) ? true : undefined;
    }
  }

  /**
   * One look for `hasLeftWithin`; undefined without a status page.
   *
   * @throws {FastCgiError} FASTCGI_* when php-fpm does not answer
   */
  async #hasLeftSince(sinceMs: number): Promise<boolean | undefined> {
    const isFirstLook = this.#latest === undefined;
    const status = await this.status();
    if (status === undefined || this.#options.statusAddress !== undefined) await this.ping();
    if (status === undefined) return undefined;
    if (this.#restartedMs >= sinceMs) return true;
    // The page has whole seconds of two clocks that tick at the same time: up to one too many.
    return isFirstLook && status.uptimeS * 1_000 < 1_000 + this.#clock.monotonicMs() - sinceMs;
  }

  /**
   * Whether a child runs the request for `uri`; undefined if unknown.
   *
   * @param uri SCRIPT_NAME of the request.
   */
  async isRunning(uri: string): Promise<boolean | undefined> {
    if (isCut(uri)) return undefined;
    try {
      const status = await this.status();
      return status && runningOf(status, uri).length > 0;
    } catch (error) {
      if (!(error instanceof FervoError)) throw error;
      return undefined;
    }
  }

  /**
   * Ends the child that runs the request for `uri`: SIGTERM, and SIGKILL if it has not ended a second later. Returns the id of
   * the ended process, or undefined when no child runs that request.
   *
   * @param uri SCRIPT_NAME of the request; of several children that run it, the longest running one is meant.
   * @throws {FervoError} FASTCGI_* when the status page cannot be read, FPM_KILL_FAILED when the child is not one of this
   * machine, may not be signalled or does not end, or when the page does not show enough of `uri`
   */
  async endChild(uri: string): Promise<number | undefined> {
    if (isCut(uri)) {
      const text = `Cannot tell which PHP process runs "${uri}": the status page shows only the first ` +
        `${MAX_REQUEST_URI_LENGTH} characters of "/QUEUE/JOB-ID"; use a shorter queue name or id`;
      throw new FervoError("FPM_KILL_FAILED", text);
    }
    const status = await this.status();
    if (status === undefined) throw new FervoError("FPM_KILL_FAILED", "The pool has no status page");
    const child = runningOf(status, uri)[0];
    if (child === undefined) return undefined;
    // The page's process ids are those of php-fpm's own machine or container.
    const title = (await readProc([`/proc/${child.pid}/cmdline`])).values().next().value ?? "";
    if (!title.startsWith(childTitle(status.pool))) {
      throw new FervoError(
        "FPM_KILL_FAILED",
        `Cannot end the PHP process "${child.pid}" of "${
          formatAddress(this.#options.address)
        }": on this machine, that process ` +
          "is not a php-fpm child of the pool; does php-fpm run in a container?",
      );
    }
    const isStillRunning = async () =>
      runningOf((await this.status())!, uri).some(({ pid }) => pid === child.pid);
    // It may have begun another job meanwhile.
    if (!await isStillRunning()) return undefined;
    endProcess(child.pid, "SIGTERM");
    if (await this.#isGoneIn(KILL_AFTER_MS, child.pid)) return child.pid;
    endProcess(child.pid, "SIGKILL");
    if (await this.#isGoneIn(KILL_AFTER_MS, child.pid)) return child.pid;
    throw new FervoError(
      "FPM_KILL_FAILED",
      `Cannot end the PHP process "${child.pid}": SIGKILL has not ended it`,
    );
  }

  /** Waits for the end of the process; false when it has not ended after `limitMs` milliseconds. */
  async #isGoneIn(limitMs: number, pid: number): Promise<boolean> {
    const untilMs = this.#clock.monotonicMs() + limitMs;
    while (isProcessThere(pid)) {
      if (this.#clock.monotonicMs() >= untilMs) return false;
      await sleep(this.#clock, LOOK_MS);
    }
    return true;
  }
}

/**
 * Whether two looks found the same php-fpm, as far as the page shows: another one has other children, and another start time
 * unless it started in the same second.
 */
function isSame(before: FpmStatus, now: FpmStatus): boolean {
  if (before.startTimeS !== now.startTimeS) return false;
  if (before.uptimeS > 0) return true;
  const pids = new Set(before.processes.map(({ pid }) => pid));
  // A starting child has no id yet.
  return now.processes.some(({ pid }) => pid > 0 && pids.has(pid));
}

/** Whether an error means that php-fpm is gone, rather than busy. */
export function isAway(error: unknown): error is FervoError {
  return error instanceof FervoError &&
    (error.code === "FASTCGI_CONNECT_FAILED" || error.code === "FASTCGI_CONNECTION_LOST");
}

/** Whether the status page shows only the beginning of `uri`, which other requests may share. */
export function isCut(uri: string): boolean {
  return uri.length > MAX_REQUEST_URI_LENGTH;
}

/** The children that run the request for `uri`, the longest running first. */
export function runningOf({ processes }: FpmStatus, uri: string): FpmProcess[] {
  return processes
    .filter(({ isBusy, requestUri }) => isBusy && requestUri === uri)
    .sort((a, b) => b.requestDurationUs - a.requestDurationUs);
}

/** @throws {FervoError} FPM_KILL_FAILED */
function endProcess(pid: number, signal: "SIGTERM" | "SIGKILL"): void {
  try {
    Deno.kill(pid, signal);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return;
    const reason = cause instanceof Deno.errors.PermissionDenied
      ? "not permitted; run fervo-worker as the pool's user, or as root"
      : reasonOf(cause);
    throw new FervoError("FPM_KILL_FAILED", `Cannot end the PHP process "${pid}": ${reason}`, { cause });
  }
}
