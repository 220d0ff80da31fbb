import { kindOf } from "./jobs.ts";
import type { Run } from "./runs.ts";

/** Runs were cut off; or leases ended, because they were not renewed. */
export type Ending = "runs" | "leases";

/** A piece of bad luck: what, and from when to when it had effects, milliseconds of the ledger's clock. */
export interface Trouble {
  readonly what: string;
  readonly fromMs: number;
  toMs: number;
  /** The worker on whose runs alone it had effects; undefined: on those of all. */
  readonly of: string | undefined;
  /** What it did to jobs that ran. */
  readonly ends: readonly Ending[];
  /** What had been settled shortly before is no longer: it explains more than anything else. */
  readonly undoes: boolean;
}

/** Runs of jobs that had run before, with the same cause. */
export interface Doubles {
  readonly kind: string;
  readonly cause: string;
  /** PHP could tell: a later attempt, or FERVO_REPEAT. */
  readonly isTold: boolean;
  /** The run before had not ended. */
  readonly isBeside: boolean;
  /** Whose the run before was. */
  readonly worker: string;
  /** One of them: the job's number, the run before and the later one. */
  readonly example: readonly [number: number, before: Run, later: Run];
  times: number;
}

/** What shows that a job kills its own PHP; no trouble of ours is needed for that. */
const KILLS_PHP = "the job kills its PHP";
export const NO_CAUSE = "no known cause";
/** php-fpm tells its age in whole seconds; in its first two a lost connection counts as its doing (docs/adr/0006). */
const BEFORE_MS = 3_000;
/** What is tried again. */
const AGAIN: readonly (string | undefined)[] = ["retry", "none"];
/** The end of a process that is killed reaches the ledger and the worker in no order. */
const SAME_TIME_MS = 50;

/**
 * Every run of a job that had run before, though that run ended well, was of the same attempt, or had not ended; with what
 * went wrong from shortly before the first of the two until the second began.
 */
export function doublesOf(
  byJob: ReadonlyMap<number, readonly Run[]>,
  troubles: readonly Trouble[],
): readonly Doubles[] {
  const found = new Map<string, Doubles>();
  for (const [number, runs] of byJob) {
    for (let at = 1; at < runs.length; at++) {
      const later = runs[at]!;
      const before = runs.slice(0, at).findLast((run) => isDouble(run, later));
      if (before === undefined || isOutOfOrder(runs.slice(0, at), later)) continue;
      const kind = kindOf(number);
      const cause = causeOf(kind, before, later, troubles);
      const isTold = later.isRepeat || later.attempt > before.attempt;
      const isBeside = isBesideOf(before, later);
      const { worker } = before;
      const name = [kind, cause, isTold, isBeside, worker].join();
      const double = found.get(name) ??
        { kind, cause, isTold, isBeside, worker, example: [number, before, later], times: 0 };
      double.times++;
      found.set(name, double);
    }
  }
  return [...found.values()].sort((a, b) => b.times - a.times);
}

function isDouble(before: Run, later: Run): boolean {
  return before.attempt === later.attempt || isBesideOf(before, later) ||
    before.outcome === "ack" || before.outcome === "bury";
}

/**
 * A ledger that was busy reads what came meanwhile in no order: so a try that was to be tried again comes after the one that
 * followed from it, and no other one like it has come before.
 */
function isOutOfOrder(earlier: readonly Run[], later: Run): boolean {
  return AGAIN.includes(later.outcome) && earlier.every(({ attempt }) => attempt > later.attempt);
}

function isBesideOf(before: Run, later: Run): boolean {
  return before.endMs > later.startMs + SAME_TIME_MS;
}

function causeOf(kind: string, before: Run, later: Run, troubles: readonly Trouble[]): string {
  if (kind === "crashes" && before.outcome === "none") return KILLS_PHP;
  const causes = troubles.filter(({ fromMs, toMs, of }) =>
    fromMs <= later.startMs && toMs >= before.startMs - BEFORE_MS &&
    (of === undefined || of === before.worker)
  );
  // An attempt that counted, and may not have ended: its lease ended.
  const ending = later.isRepeat && later.attempt > before.attempt ? "leases" : "runs";
  const fitting = causes.filter(({ ends }) => ends.includes(ending));
  // The nearest to the second run is the likeliest.
  return (causes.find(({ undoes }) => undoes) ?? fitting.at(-1))?.what ?? NO_CAUSE;
}
