import { setImmediate } from "node:timers";
import { type Clock, sleep, type Timer } from "../../core/time/clock.ts";
import type { FitReason, Observer } from "../../core/observer.ts";
import type { Pool } from "../../fastcgi/pool.ts";
import type { FpmStatus } from "../status.ts";
import { type FitBounds, FitRule, type PoolObservation } from "./fit_rule.ts";
import { type Children, observePool, type OwnPart } from "./pool_observation.ts";
import { SharedSlots } from "./shared_slots.ts";
import type { SlotLimit } from "../../core/slot_limit.ts";

export interface PoolFitOptions extends FitBounds {
  /** The pool's name in the configuration. */
  readonly name: string;
  /** The number of children in the configuration; for a static pool the status page is exact. */
  readonly children: number | undefined;
  /** The pool's `pm.status_path`; undefined without one. */
  readonly statusPath: string | undefined;
  /** Whether the page has its own address. */
  readonly hasStatusAddress: boolean;
  /** The sum of the fixed concurrency of the pool's other consumers. */
  readonly fixed: number;
}

/** The bounds without configuration. */
export const DEFAULT_FIT_BOUNDS: FitBounds = { min: 1, max: Infinity, reserve: 0 };

/** A consumer that shares a pool. */
export interface PoolUser {
  /** Slots in use. */
  readonly busySlots: number;
  /** Since the start: jobs that ran, and the time that slots were in use for them, milliseconds. */
  readonly ran: { readonly jobs: number; readonly ms: number };
  /** The number of slots may have grown. */
  limitChanged(): void;
}

export interface PoolFitDeps {
  readonly clock: Clock;
  readonly observe: Observer;
  readonly pool: Pick<
    Pool,
    "stats" | "maxConnections" | "underWay" | "watch" | "overloads" | "resize" | "request"
  >;
  /** Reads the status page; on a connection of `pool`, if given and the page has no address of its own. */
  readonly control: { status(pool?: Pick<Pool, "request">): Promise<FpmStatus | undefined> };
  /** Numbers in [0, 1). */
  readonly random: () => number;
}

/** From one look to the next, milliseconds, a fifth more or less, so that workers do not act in step. */
const LOOK_MS = 400;
/** A request that no child shows after this time waits for a child, milliseconds; a look takes as long. */
const UNSEEN_MS = 100;
/** From one look to the next without work, milliseconds. */
const IDLE_LOOK_MS = 5_000;
/** Slots that were in use for this share of the time count as always in use. */
const SATURATED = 0.85;

/**
 * Keeps the number of jobs at the same time at the room of a php-fpm pool (docs/adr/0014).
 *
 * 1. Looks at the pool's status page, and at the work of its consumers, twice a second while they work. If the page has no
 *    address of its own, and our jobs may have all children, the request for it takes the place of a job: else it would wait
 *    behind them.
 * 2. Lets {@link FitRule} decide, and gives the slots to the consumers, and as many connections to the pool.
 * 3. Sets aside the slots of consumers with a fixed concurrency.
 */
export class PoolFit implements Disposable {
  readonly #deps: PoolFitDeps;
  readonly #options: PoolFitOptions;
  readonly #rule: FitRule;
  readonly #slots: SharedSlots;
  readonly #users: (() => PoolUser)[] = [];
  #before: { readonly ms: number; readonly jobs: number; readonly ranMs: number; readonly overloads: number };
  /** When php-fpm started, its count of missing children at our first look, and the most children seen. */
  #since: { readonly startTimeS: number; readonly reached: number; most: number } | undefined;
  /** The number of our jobs with room at the last look, fixed consumers' included. */
  #room = 0;
  #timer: Timer | undefined;
  readonly #end = new AbortController();

  private constructor(deps: PoolFitDeps, options: PoolFitOptions, idle: number | undefined) {
    this.#deps = deps;
    this.#options = options;
    this.#rule = new FitRule(deps, options, idle);
    this.#slots = new SharedSlots(this.#rule.slots);
    this.#before = { ms: deps.clock.monotonicMs(), jobs: 0, ranMs: 0, overloads: deps.pool.overloads };
    this.#apply("start");
    this.#lookLater(LOOK_MS);
  }

  /**
   * Looks at the pool for the first time, and once more with others in it: a child that has just answered can look like theirs.
   * If the pool does not answer now, the configuration counts.
   */
  static async start(deps: PoolFitDeps, options: PoolFitOptions): Promise<PoolFit> {
    const { fixed, children, hasStatusAddress } = options;
    const answeredBy = hasStatusAddress ? "none" : "child";
    const own: OwnPart = { slots: fixed, fixed, connections: 0, answeredBy, requests: [], recent: new Set() };
    const look = async () => {
      const status = await deps.control.status().catch(() => undefined);
      return status && observePool(status, childrenOf(status, options, undefined), own);
    };
    let observation = await look();
    if (observation !== undefined && observation.others > 0) {
      await sleep(deps.clock, UNSEEN_MS);
      const again = await look();
      if (again !== undefined && again.others < observation.others) observation = again;
    }
    return new PoolFit(
      deps,
      options,
      observation === undefined ? children && children - fixed : observation.idle,
    );
  }

  /**
   * The slots of a consumer, shared with the others here.
   *
   * @param user Not called before the consumer exists, which may need these slots.
   */
  join(user: () => PoolUser): SlotLimit {
    this.#users.push(user);
    return this.#slots.share(() => user().busySlots);
  }

  /** How many jobs may run at the same time, without consumers with a fixed concurrency. */
  get slots(): number {
    return this.#rule.slots;
  }

  [Symbol.dispose](): void {
    this.#end.abort();
    this.#timer?.cancel();
  }

  #lookLater(ms: number): void {
    this.#timer = this.#deps.clock.setTimer(() => void this.#look(), ms * (0.8 + 0.4 * this.#deps.random()));
  }

  async #look(): Promise<void> {
    const seen = await this.#seen();
    if (this.#end.signal.aborted) return;
    const work = this.#work();
    const reason = this.#rule.adjust({ ...seen, ...work, isSaturated: work.isSaturated && seen.isSeen });
    if (reason !== undefined) this.#apply(reason);
    // A slot that one leaves, another may use.
    else if (this.#users.length > 1) this.#users.forEach((user) => user().limitChanged());
    this.#lookLater(work.jobs === 0 && this.#slots.busy === 0 ? IDLE_LOOK_MS : LOOK_MS);
  }

  /** The observation of the children; without one, nobody else counts. */
  async #seen(): Promise<
    Pick<PoolObservation, "children" | "idle" | "others" | "isQueued"> & { isSeen: boolean }
  > {
    const { pool, control } = this.#deps;
    const { statusPath, hasStatusAddress, children, fixed } = this.#options;
    using watch = pool.watch();
    const earlier = [...watch.requests];
    await sleep(this.#deps.clock, UNSEEN_MS, this.#end.signal);
    const first = pool.stats;
    const isAside = hasStatusAddress || fixed + this.slots < this.#room;
    const asked = statusPath === undefined
      ? undefined
      : await control.status(isAside ? undefined : pool).catch(() => undefined);
    const { busy, idle: kept } = pool.stats;
    if (asked === undefined) {
      const most = children && children - fixed;
      const isSeen = statusPath === undefined;
      return { children: most, idle: undefined, others: 0, isQueued: false, isSeen };
    }
    // Answers that came before the page, or with it, are read first, in case this process is slow.
    await new Promise<void>((resolve) => setImmediate(resolve));
    const later = pool.underWay;
    // The request for the page may have taken a connection of the pool: a kept one, a new one or a job's.
    const withQuestion = isAside
      ? first.busy + first.idle
      : Math.min(first.busy + Math.max(first.idle, 1), pool.maxConnections);
    const own: OwnPart = {
      slots: fixed + this.slots,
      fixed,
      connections: Math.max(withQuestion, busy + kept),
      answeredBy: hasStatusAddress ? "none" : isAside ? "child" : "connection",
      requests: earlier.filter((request) => later.has(request)),
      recent: watch.requests,
    };
    const seen = observePool(asked, this.#childrenOf(asked), own);
    this.#room = fixed + (seen.children ?? 0) - seen.others;
    return { ...seen, isSeen: true };
  }

  #childrenOf(status: FpmStatus): Children {
    const { startTimeS, maxChildrenReached: reached, totalProcesses } = status;
    if (this.#since?.startTimeS !== startTimeS) this.#since = { startTimeS, reached, most: 0 };
    const since = this.#since;
    since.most = Math.max(since.most, totalProcesses);
    return childrenOf(status, this.#options, reached > since.reached ? since.most : undefined);
  }

  /** The work since the last look. */
  #work() {
    const { clock, pool } = this.#deps;
    const now = {
      ms: clock.monotonicMs(),
      jobs: sum(this.#users, (user) => user().ran.jobs),
      ranMs: sum(this.#users, (user) => user().ran.ms),
      overloads: pool.overloads,
    };
    const before = this.#before;
    this.#before = now;
    const slots = this.#slots.total;
    const inUseMs = now.ranMs - before.ranMs;
    return {
      nowMs: now.ms,
      jobs: now.jobs - before.jobs,
      overloads: now.overloads - before.overloads,
      isSaturated: this.#slots.busy >= slots || inUseMs >= SATURATED * slots * (now.ms - before.ms),
    };
  }

  #apply(reason: FitReason): void {
    const { pool, observe } = this.#deps;
    const { slots } = this.#rule;
    const before = reason === "start" ? 0 : this.#slots.total;
    this.#slots.total = slots;
    pool.resize(this.#options.fixed + slots);
    observe({ type: "slots_changed", fpm: this.#options.name, slots, before, reason });
    for (const user of this.#users) user().limitChanged();
  }
}

/** @param learned The number of children of a pool that cannot make more, if known. */
function childrenOf(status: FpmStatus, { children }: PoolFitOptions, learned: number | undefined): Children {
  const { processManager, totalProcesses } = status;
  if (processManager === "static") return { most: totalProcesses, mayGrow: false };
  const most = children ?? learned;
  return { most, mayGrow: most === undefined };
}

function sum<T>(all: readonly T[], of: (one: T) => number): number {
  return all.reduce((total, one) => total + of(one), 0);
}
