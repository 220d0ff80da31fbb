import type { FastCgiRequest } from "../fastcgi/connection.ts";
import { type FpmStatus, MAX_REQUEST_URI_LENGTH } from "../fastcgi/status.ts";
import type { PoolSight } from "./fit_rule.ts";

/** What of a pool is ours. */
export interface OwnPart {
  /** Connections, kept ones included, when the page was made. */
  readonly connections: number;
  /** Connections kept for the next request. */
  readonly kept: number;
  /** Requests that were sent a good while before the page was asked for, and not answered when it had come. */
  readonly requests: readonly FastCgiRequest[];
  /** Slots of consumers with a fixed concurrency, in all and in use: they are set aside. */
  readonly fixed: number;
  readonly fixedBusy: number;
}

/** How many children a pool may have. */
export interface Children {
  /** Undefined when that is not known. */
  readonly most: number | undefined;
  /** It may make more than there are now, as far as is known. */
  readonly mayGrow: boolean;
}

/**
 * What a status page says of a pool's children, as its {@link PoolSight}: who has them, and whether somebody waits.
 *
 * php-fpm does not say whose connection a child has, nor, on a unix socket, how many wait for one. Both follow from what
 * is ours: while no child is idle, a request of ours that no child shows is waiting; and children beyond those that our
 * connections have are others'. A connection that is kept has its child, too: it reads the headers of a request that has
 * not come.
 */
export function sightOf(
  { processes, activeProcesses, idleProcesses, listenQueue }: FpmStatus,
  { most, mayGrow }: Children,
  own: OwnPart,
): Pick<PoolSight, "children" | "idle" | "others" | "isQueued"> {
  const taken = processes.filter(({ isBusy }) => isBusy);
  const uris = new Set(taken.map(({ requestUri }) => requestUri));
  const unread = taken.filter(({ requestUri }) => requestUri === "-").length;
  const unseen = own.requests.filter((request) => !uris.has(uriOf(request))).length;
  // A pool that makes its children as they are needed misses one where two requests come at once, until the next comes.
  const waiting = idleProcesses > 0 || mayGrow ? 0 : Math.max(unseen - unread, 0);
  const ours = Math.max(own.connections - waiting, 0);
  const free = (most ?? processes.length + (mayGrow ? 1 : 0)) - activeProcesses;
  return {
    children: most === undefined ? undefined : most - own.fixed,
    idle: Math.max(free, 0) + own.kept - (own.fixed - own.fixedBusy),
    others: Math.max(activeProcesses - ours, 0),
    isQueued: listenQueue > 0 || waiting > 0,
  };
}

/** How the page shows a request. */
function uriOf({ params }: FastCgiRequest): string {
  const uri = params.find(([name]) => name === "SCRIPT_NAME")?.[1] ?? "";
  return uri.slice(0, MAX_REQUEST_URI_LENGTH);
}
