/** A php-fpm pool and its workers in numbers, for tests of what a {@link FitRule} makes of it. */
import type { FitReason } from "../../src/core/observer.ts";
import { type FitBounds, FitRule } from "../../src/fpm/autoscale/fit_rule.ts";
import { SeededRandom } from "./seeded_random.ts";

/** How often a worker looks, milliseconds. */
export const LOOK_MS = 500;

export interface SimulatedWorker {
  readonly rule: FitRule;
  /** Children it has now; the rest of what it wants waits in the listen queue. */
  served: number;
  /** Jobs it would run at the same time if it might. */
  demand: number;
  /** The number of slots after each look. */
  readonly history: number[];
  /** The number of children at each look. */
  readonly servedHistory: number[];
  readonly reasons: FitReason[];
}

/** Children go to who has waited longest; a worker keeps those it has while it uses them, but for one a step. */
export class SimulatedPool {
  children: number;
  /** Children that somebody has who knows no rule, such as the web. */
  web = 0;
  readonly workers: SimulatedWorker[] = [];
  #nowMs = 0;
  readonly #random: () => number;

  constructor(options: { children: number; seed?: number }) {
    const seeded = new SeededRandom(options.seed ?? 1);
    this.#random = () => seeded.next();
    this.children = options.children;
  }

  /** A worker comes, and looks how many children are idle. */
  join(bounds: Partial<FitBounds> = {}, demand = Infinity): SimulatedWorker {
    const rule = new FitRule(
      { random: this.#random },
      { min: 1, max: Infinity, reserve: 0, ...bounds },
      this.idle,
    );
    const worker = { rule, served: 0, demand, history: [], servedHistory: [], reasons: [] };
    this.workers.push(worker);
    return worker;
  }

  get idle(): number {
    return Math.max(this.children - this.web - this.workers.reduce((sum, { served }) => sum + served, 0), 0);
  }

  /** So many looks of each worker, at times of their own. */
  run(looks: number): void {
    for (let i = 0; i < looks; i++) {
      for (const worker of this.workers.toSorted(() => this.#random() - 0.5)) {
        this.#nowMs += LOOK_MS / this.workers.length;
        this.#serve();
        this.#look(worker);
      }
    }
  }

  #wanted({ rule, demand }: SimulatedWorker): number {
    return Math.min(rule.slots, demand);
  }

  /** Who has too many gives them back, and who waits gets one of another's from time to time, as connections are renewed. */
  #serve(): void {
    for (const worker of this.workers) worker.served = Math.min(worker.served, this.#wanted(worker));
    for (let over = this.#taken() - this.children; over > 0; over--) {
      const most = this.workers.toSorted((a, b) => b.served - a.served)[0];
      if (most !== undefined) most.served = Math.max(most.served - 1, 0);
    }
    const hungry = () => this.workers.filter((worker) => worker.served < this.#wanted(worker));
    while (this.idle > 0 && hungry().length > 0) {
      const all = hungry();
      all[Math.floor(this.#random() * all.length)]!.served++;
    }
    const waiting = hungry();
    if (waiting.length === 0) return;
    const most = this.workers.toSorted((a, b) => b.served - a.served)[0]!;
    const next = waiting[Math.floor(this.#random() * waiting.length)]!;
    if (most === next || most.served <= 1) return;
    most.served--;
    next.served++;
  }

  #taken(): number {
    return this.web + this.workers.reduce((sum, { served }) => sum + served, 0);
  }

  #look(worker: SimulatedWorker): void {
    const wanted = this.#wanted(worker);
    const reason = worker.rule.adjust({
      nowMs: this.#nowMs,
      children: this.children,
      idle: this.idle,
      others: Math.max(Math.min(this.#taken(), this.children) - worker.served, 0),
      isQueued: worker.served < wanted && this.idle === 0,
      overloads: 0,
      isSaturated: wanted === worker.rule.slots,
    });
    if (reason !== undefined) worker.reasons.push(reason);
    worker.history.push(worker.rule.slots);
    worker.servedHistory.push(worker.served);
  }
}
