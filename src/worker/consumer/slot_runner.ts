import { isUnreadable, type Unreadable } from "../../core/format.ts";
import type { Job } from "../../core/job.ts";
import type { Observer } from "../../core/observer.ts";
import { type Outcome, outcomeOfFault } from "../../core/outcome.ts";
import type { Clock } from "../../core/time/clock.ts";
import type { Tracer } from "../../core/trace.ts";
import type { Executor } from "../../executors/executor.ts";
import type { Held } from "./held.ts";
import { jobOf, withTrace } from "./job_of.ts";
import type { Slot, Slots } from "./slots.ts";

export interface SlotRunnerDeps {
  readonly executor: Executor;
  readonly clock: Clock;
  readonly observe: Observer;
  readonly tracer: Tracer | undefined;
  readonly slots: Slots;
  /** Settles a job that has ended while others of its slot go on. */
  readonly settle: (held: Held, outcome: Outcome) => void;
  /** Settles a delivery that no job could be read from, which says nothing of the executor. */
  readonly refuse: (held: Held, why: Unreadable) => void;
  /** Aborted when the worker is told to end now. */
  readonly cut: AbortSignal;
}

export interface SlotRunnerOptions {
  /** The consumer's name. */
  readonly name: string;
  readonly batchSize: number;
  readonly timeoutMs: number;
}

/** A job, and what became of it. */
export interface Ended {
  readonly held: Held;
  readonly outcome: Outcome;
}

/** Runs the jobs of a slot: reads what each delivery says, and has the executor run those that can be. */
export class SlotRunner {
  readonly #deps: SlotRunnerDeps;
  readonly #options: SlotRunnerOptions;

  constructor(deps: SlotRunnerDeps, options: SlotRunnerOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /**
   * Runs them. Never rejects.
   *
   * @returns The job that the run ended with, to be settled when the slot is free; those behind it were not begun, and are not
   * settled. Undefined when there was none.
   */
  async run(slot: Slot): Promise<Ended | undefined> {
    const { refuse, cut } = this.#deps;
    // It was received just when the worker was told to end now.
    if (cut.aborted) return undefined;
    const ready: { readonly held: Held; readonly job: Job }[] = [];
    for (const held of slot.jobs) {
      const job = this.#jobOf(held);
      if (isUnreadable(job)) refuse(held, job);
      else ready.push({ held, job });
    }
    if (ready.length === 0) return undefined;
    this.#began(slot, ready[0]!);
    return await (this.#options.batchSize === 1
      ? this.#runOne(slot, ready[0]!)
      : this.#runBatch(slot, ready));
  }

  async #runOne(slot: Slot, { held, job }: { held: Held; job: Job }): Promise<Ended> {
    const outcome = await this.#deps.executor.execute(job, slot.abort.signal, slot).catch(outcomeOfFault);
    return { held, outcome };
  }

  /** Each job is settled as soon as its outcome has come, but the last. */
  async #runBatch(
    slot: Slot,
    ready: readonly { readonly held: Held; readonly job: Job }[],
  ): Promise<Ended | undefined> {
    const { executor, slots, settle } = this.#deps;
    let at = 0;
    const onOutcome = (outcome: Outcome) => {
      settle(ready[at++]!.held, outcome);
      slots.next(slot);
      if (at < ready.length) this.#began(slot, ready[at]!);
    };
    const jobs = ready.map(({ job }) => job);
    const batch = { jobs, timeoutMs: this.#options.timeoutMs, onOutcome };
    const outcome = await executor.executeBatch!(batch, slot.abort.signal, slot).catch(outcomeOfFault);
    return outcome === undefined || at === ready.length ? undefined : { held: ready[at]!.held, outcome };
  }

  #jobOf(held: Held): Job | Unreadable {
    const { clock, tracer } = this.#deps;
    const { maxAttempts } = held;
    const job = jobOf(held.delivery, {
      maxAttempts,
      timeoutMs: this.#options.timeoutMs,
      nowMs: clock.nowMs(),
    });
    if (isUnreadable(job)) return job;
    ({ id: held.id, maxAttempts: held.maxAttempts, retryUntilMs: held.retryUntilMs } = job);
    if (tracer === undefined) return job;
    held.trace = tracer(job.traceparent);
    return withTrace(job, held.trace);
  }

  #began(slot: Slot, { held, job: { queue, id, attempt, ignored } }: { held: Held; job: Job }): void {
    // What was cut off is over.
    if (held.isSettling) return;
    held.startedMs = slot.beganMs;
    const event = { type: "job_started", consumer: this.#options.name, queue, id, attempt } as const;
    this.#deps.observe(ignored === undefined ? event : { ...event, ignored });
  }
}
