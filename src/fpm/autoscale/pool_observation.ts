import type { FastCgiRequest } from "../../fastcgi/connection.ts";
import { type FpmStatus, MAX_REQUEST_URI_LENGTH } from "../status.ts";
import type { PoolObservation } from "./fit_rule.ts";

/** What of a pool is ours. */
export interface OwnPart {
  /** Jobs that may run at the same time, those of consumers with a fixed concurrency included. */
  readonly slots: number;
  /** Of those, what consumers with a fixed concurrency have: they are set aside. */
  readonly fixed: number;
  /** Connections, kept ones included, when the page was made. */
  readonly connections: number;
  /** By what the page was answered: a child on one of these connections, one more child, or none of the pool's. */
  readonly answeredBy: "connection" | "child" | "none";
  /** Requests that were under way at some time from shortly before the page was made. */
  readonly recent: ReadonlySet<FastCgiRequest>;
  /** Requests that were sent a good while before the page was asked for, and not answered when it was made. */
  readonly requests: readonly FastCgiRequest[];
}

/** How many children a pool may have. */
export interface Children {
  /** Undefined when that is not known. */
  readonly most: number | undefined;
  /** It may make more than there are now, as far as is known. */
  readonly mayGrow: boolean;
}

/**
 * What a status page says of a pool's children, as its {@link PoolObservation}: who has them, and whether somebody waits.
 *
 * php-fpm does not say whose connection a child has, nor, on a unix socket, how many wait for one. Both follow from what
 * is ours: while no child is idle, a request of ours that no child shows is waiting; children beyond those that our
 * connections have are others', and so is one that shows a request which is not ours: then as many of our connections wait
 * as there are not children enough for all. A connection that is kept has its child, too, for the next job of its slot: it
 * reads the headers of a request that has not come.
 */
export function observePool(
  { processes, activeProcesses, idleProcesses, listenQueue }: FpmStatus,
  { most, mayGrow }: Children,
  own: OwnPart,
): Pick<PoolObservation, "children" | "idle" | "others" | "isQueued"> {
  const shown = processes.filter(({ isBusy }) => isBusy).map(({ requestUri }) => requestUri);
  const unseen = own.requests.filter((request) => !shown.includes(uriOf(request))).length;
  const active = activeProcesses - (own.answeredBy === "child" ? 1 : 0);
  const foreign = foreignRequests(shown, own);
  // A pool that makes its children as they are needed misses one where two requests come at once, until the next comes.
  const waiting = idleProcesses > 0 || mayGrow ? 0 : Math.max(unseen, own.connections + foreign - active);
  const ours = Math.max(own.connections - waiting, 0);
  const free = Math.max((most ?? processes.length + (mayGrow ? 1 : 0)) - active, 0);
  return {
    children: most === undefined ? undefined : most - own.fixed,
    // Those that each of our slots may still take are not for more slots.
    idle: free - Math.max(own.slots - own.connections, 0),
    others: Math.max(active - ours, foreign),
    isQueued: listenQueue > 0 || waiting > 0,
  };
}

/** How many children run requests that are not ours, as far as they show them: between two requests a child shows "-". */
function foreignRequests(shown: readonly string[], { recent, answeredBy }: OwnPart): number {
  const own = new Set([...recent].map(uriOf));
  const foreign = shown.filter((uri) => uri !== "-" && !own.has(uri)).length;
  return Math.max(foreign - (answeredBy === "none" ? 0 : 1), 0);
}

/** How the page shows a request. */
function uriOf({ params }: FastCgiRequest): string {
  const uri = params.find(([name]) => name === "SCRIPT_NAME")?.[1] ?? "";
  return uri.slice(0, MAX_REQUEST_URI_LENGTH);
}
