import type { FastCgiRequest } from "../../fastcgi/connection.ts";
import { type FpmStatus, MAX_REQUEST_URI_LENGTH } from "../status.ts";
import type { PoolObservation } from "./fit_rule.ts";

/** Our part of a pool. */
export interface OwnPart {
  /** Jobs that may run at the same time, with consumers of a fixed concurrency. */
  readonly slots: number;
  /** The part of consumers with a fixed concurrency, which is set aside. */
  readonly fixed: number;
  /** Connections, kept ones included, when the page was made. */
  readonly connections: number;
  /** What answered the page: a child on one of these connections, another child, or none of the pool's. */
  readonly answeredBy: "connection" | "child" | "none";
  /** Requests in progress at any time since shortly before the page was made. */
  readonly recent: ReadonlySet<FastCgiRequest>;
  /** Requests that were sent a good while before the page was requested, and had no answer when it was made. */
  readonly requests: readonly FastCgiRequest[];
}

/** The children of a pool. */
export interface Children {
  /** The largest number; undefined if unknown. */
  readonly most: number | undefined;
  /** It may make more children, as far as is known. */
  readonly mayGrow: boolean;
}

/**
 * Derives a {@link PoolObservation} from a status page: who uses the children, and whether somebody waits.
 *
 * php-fpm does not say which client has a child, nor, on a unix socket, how many wait. Both follow from our own part. Without
 * an idle child, our request that no child shows is waiting. Children beyond our connections belong to others, and so does a
 * child with a foreign request: then as many of our connections wait as there are children too few. A kept connection has its
 * child, too, for the next job of its slot: the child reads the headers of a request that has not come.
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
  // A pool that makes children on demand misses one when two requests come at once, until the next one comes.
  const waiting = idleProcesses > 0 || mayGrow ? 0 : Math.max(unseen, own.connections + foreign - active);
  const ours = Math.max(own.connections - waiting, 0);
  const free = Math.max((most ?? processes.length + (mayGrow ? 1 : 0)) - active, 0);
  return {
    children: most === undefined ? undefined : most - own.fixed,
    // Children that our own slots may still take are not for more slots.
    idle: free - Math.max(own.slots - own.connections, 0),
    others: Math.max(active - ours, foreign),
    isQueued: listenQueue > 0 || waiting > 0,
  };
}

/** The number of children with foreign requests, as far as they show: between two requests a child shows "-". */
function foreignRequests(shown: readonly string[], { recent, answeredBy }: OwnPart): number {
  const own = new Set([...recent].map(uriOf));
  const foreign = shown.filter((uri) => uri !== "-" && !own.has(uri)).length;
  return Math.max(foreign - (answeredBy === "none" ? 0 : 1), 0);
}

/** A request as the page shows it. */
function uriOf({ params }: FastCgiRequest): string {
  const uri = params.find(([name]) => name === "SCRIPT_NAME")?.[1] ?? "";
  return uri.slice(0, MAX_REQUEST_URI_LENGTH);
}
