import type { Clock } from "../core/time/clock.ts";
import { timeLimit } from "../core/time/time_limit.ts";
import { type FastCgiAddress, formatAddress } from "../fastcgi/address.ts";
import { Connection, type FastCgiRequest } from "../fastcgi/connection.ts";
import { FastCgiError } from "../fastcgi/errors.ts";
import { DEFAULT_POOL_OPTIONS, type Pool } from "../fastcgi/pool.ts";
import type { FastCgiResponse } from "../fastcgi/response.ts";

/**
 * The facts of php-fpm's status page about its pool (fpm_status.c). Numbers of processes are counted from the list: php-fpm's
 * own sums count each request on a kept connection as one more active child, until its master counts again, once a second.
 */
export interface FpmStatus {
  readonly pool: string;
  readonly processManager: string;
  readonly idleProcesses: number;
  readonly activeProcesses: number;
  readonly totalProcesses: number;
  /** How often the pool wanted more children than allowed, since it started. */
  readonly maxChildrenReached: number;
  /** Requests waiting in the listen queue; always 0 for unix sockets (fpm_process_ctl.c reads it for inet only). */
  readonly listenQueue: number;
  /** When php-fpm last started or reloaded, by its own clock, epoch seconds, whole. */
  readonly startTimeS: number;
  /** How long ago that was, whole seconds. */
  readonly uptimeS: number;
  readonly processes: readonly FpmProcess[];
}

/** A child, as the full page shows it. */
export interface FpmProcess {
  readonly pid: number;
  /** It has a connection, and usually runs a request; else the request is its latest. */
  readonly isBusy: boolean;
  /** SCRIPT_NAME of the request; "-" for a connection without a request. Cut to {@link MAX_REQUEST_URI_LENGTH}. */
  readonly requestUri: string;
  /** SCRIPT_FILENAME of the request; "-" without a script, as for this page. */
  readonly script: string;
  /** How long the request has been running, or ran; microseconds. */
  readonly requestDurationUs: number;
}

/** Whether a pool has fewer children than `wanted`. For a dynamic pool the page shows only the current number. */
export function isTooSmall({ processManager, totalProcesses }: FpmStatus, wanted: number): boolean {
  return processManager === "static" && totalProcesses < wanted;
}

/** The beginning of the children's titles in the process list (fpm_children.c). */
export function childTitle(pool: string): string {
  return `php-fpm: pool ${pool}`;
}

/** php-fpm keeps this much of a request's uri (fpm_scoreboard.h: a buffer of 128 with its NUL). */
export const MAX_REQUEST_URI_LENGTH = 127;

/** The limit for php-fpm's answer to a request without a job, milliseconds. */
export const ASK_TIMEOUT_MS = 3_000;

/**
 * Sends php-fpm a request without a job, on a new connection, or on one of `pool`.
 *
 * @param signal Ends it early; rejects with the signal's reason then.
 * @throws {FastCgiError} FASTCGI_*; FASTCGI_OVERLOADED also without an answer in 3 s
 */
export async function ask(
  address: FastCgiAddress,
  clock: Clock,
  request: FastCgiRequest,
  pool?: Pick<Pool, "request">,
  signal?: AbortSignal,
): Promise<FastCgiResponse> {
  using limit = timeLimit(clock, ASK_TIMEOUT_MS, () => {
    const text = `php-fpm at "${formatAddress(address)}" did not answer in ${ASK_TIMEOUT_MS} ms: ` +
      "all its children may be busy";
    return new FastCgiError("FASTCGI_OVERLOADED", text);
  });
  const end = signal === undefined ? limit.signal : AbortSignal.any([limit.signal, signal]);
  if (pool !== undefined) return await pool.request(request, end);
  const connection = await Connection.open(address, clock, PAGE_OPTIONS, end);
  return await connection.request(request, false, end);
}

/** The page of a pool with thousands of children is long. */
const PAGE_OPTIONS = { ...DEFAULT_POOL_OPTIONS, maxResponseBytes: 64 * 1_048_576 };

/** The request for the status page at `statusPath`, the pool's `pm.status_path`. */
export function statusRequest(statusPath: string): FastCgiRequest {
  return pageRequest(statusPath, "json&full");
}

/** The request for the ping page at `pingPath`, the pool's `ping.path`. */
export function pingRequest(pingPath: string): FastCgiRequest {
  return pageRequest(pingPath, "");
}

/**
 * Reads the answer to a {@link statusRequest}.
 *
 * @throws {FastCgiError} FASTCGI_PROTOCOL when it is not a status page, for instance because the path is not `pm.status_path`.
 */
export function readStatus(response: FastCgiResponse): FpmStatus {
  const text = new TextDecoder().decode(response.body);
  try {
    const page = JSON.parse(text);
    const processes: FpmProcess[] = page["processes"].map(processOf);
    const idleProcesses = processes.filter(({ isBusy }) => !isBusy).length;
    return {
      pool: String(page["pool"]),
      processManager: String(page["process manager"]),
      idleProcesses,
      activeProcesses: processes.length - idleProcesses,
      totalProcesses: processes.length,
      maxChildrenReached: count(page["max children reached"]),
      listenQueue: count(page["listen queue"]),
      startTimeS: count(page["start time"]),
      uptimeS: count(page["start since"]),
      processes,
    };
  } catch (cause) {
    throw new FastCgiError(
      "FASTCGI_PROTOCOL",
      `Cannot read the status page: php-fpm answered ${response.status} with "${text.trim().slice(0, 80)}"`,
      { cause },
    );
  }
}

function processOf(process: Record<string, unknown>): FpmProcess {
  return {
    pid: count(process["pid"]),
    isBusy: process["state"] !== "Idle",
    requestUri: String(process["request uri"]),
    script: String(process["script"]),
    requestDurationUs: count(process["request duration"]),
  };
}

function count(value: unknown): number {
  if (typeof value !== "number") throw new TypeError(`${JSON.stringify(value)} is not a number`);
  return value;
}

function pageRequest(path: string, query: string): FastCgiRequest {
  return {
    params: [
      ["REQUEST_METHOD", "GET"],
      ["SCRIPT_NAME", path],
      ["SCRIPT_FILENAME", path],
      ["REQUEST_URI", path],
      ["QUERY_STRING", query],
    ],
    body: new Uint8Array(0),
  };
}
