import { FastCgiError } from "./errors.ts";
import type { FastCgiRequest } from "./connection.ts";
import type { FastCgiResponse } from "./response.ts";

/** What php-fpm's status page tells of its pool (fpm_status.c). */
export interface FpmStatus {
  readonly pool: string;
  readonly processManager: string;
  readonly idleProcesses: number;
  readonly activeProcesses: number;
  /** Counted from the list of processes: php-fpm's own sum is off by one for up to a second, in both directions. */
  readonly totalProcesses: number;
  /** Requests waiting in the listen queue; always 0 for unix sockets (fpm_process_ctl.c reads it for inet only). */
  readonly listenQueue: number;
}

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
 * @throws {FastCgiError} FASTCGI_PROTOCOL when it is not a status page, as when the path is not `pm.status_path`.
 */
export function readStatus(response: FastCgiResponse): FpmStatus {
  const text = new TextDecoder().decode(response.body);
  try {
    const page = JSON.parse(text);
    return {
      pool: String(page["pool"]),
      processManager: String(page["process manager"]),
      idleProcesses: count(page["idle processes"]),
      activeProcesses: count(page["active processes"]),
      totalProcesses: page["processes"].length,
      listenQueue: count(page["listen queue"]),
    };
  } catch (cause) {
    throw new FastCgiError(
      "FASTCGI_PROTOCOL",
      `Cannot read the status page: php-fpm answered ${response.status} with "${text.trim().slice(0, 80)}"`,
      { cause },
    );
  }
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
