import { type Clock, sleep, type Timer } from "../../core/time/clock.ts";
import { type FervoError, JobError } from "../../core/errors.ts";
import type { Executor, Run } from "../../executors/executor.ts";
import type { SlotSnapshot } from "./stats.ts";
import type { InFlightJob } from "./in_flight.ts";
import { STALL_MS } from "./stall_detector.ts";
import type { SlotLimit } from "../../core/slot_limit.ts";

const NONE: readonly InFlightJob[] = [];

/** How much longer than the executor's own limit an aborted job may take to end, milliseconds. */
const ABORT_MARGIN_MS = 1_000;

/** A slot and its work: a job, or several in one request. Slots are reused. */
export class Slot implements Run {
  /** In the order in which they run; empty while the slot is free. */
  jobs = NONE;
  /** Aborts its work. */
  abort = new AbortController();
  /** When its use began, monotonic milliseconds. */
  startedMs = 0;
  /** When the running job began, monotonic milliseconds. */
  beganMs = 0;
  /** How long the job may take, milliseconds; Infinity while something else limits it. */
  limitMs = 0;
  /** Incremented with each use of any slot. */
  turn = 0;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  notBegun(): void {
    this.beganMs = this.#clock.monotonicMs();
  }
}

/** The slots of a consumer, made on demand, and the time limit of their jobs. */
export class Slots {
  readonly #clock: Clock;
  readonly #limit: SlotLimit;
  readonly #timeoutMs: number;
  readonly #abortMs: number;
  readonly #all: Slot[] = [];
  readonly #free: Slot[] = [];
  #turns = 0;
  #allFree: AbortController | undefined;
  #areAborted = false;
  #timer: Timer | undefined;

  /**
   * @param options.limit How many there are.
   * @param options.timeoutMs How long one job may take; then its slot is aborted with JOB_TIMEOUT.
   */
  constructor(
    deps: { clock: Clock; executor: Pick<Executor, "abortMs"> },
    options: { limit: SlotLimit; timeoutMs: number },
  ) {
    this.#clock = deps.clock;
    this.#abortMs = deps.executor.abortMs ?? 0;
    this.#limit = options.limit;
    this.#timeoutMs = options.timeoutMs;
  }

  get busy(): number {
    return this.#all.length - this.#free.length;
  }

  /** The slots in use, the longest first. */
  get inUse(): readonly Slot[] {
    return this.#all.filter(({ jobs }) => jobs !== NONE).sort((a, b) => a.turn - b.turn);
  }

  /** The work of the slots in use, in the same order. */
  snapshot(): SlotSnapshot[] {
    const nowMs = this.#clock.monotonicMs();
    return this.inUse.map(({ beganMs, jobs }) => ({
      runMs: nowMs - beganMs,
      jobs: jobs.map(({ id, attempt, delivery: { queue }, isSettling }) => ({
        id,
        queue,
        attempt,
        isSettling,
      })),
    }));
  }

  /** Why no slot will ever be free again, as the end of a sentence; undefined when one is free, or will be. */
  get stall(): string | undefined {
    if (this.busy < this.#limit.slots) return undefined;
    const latestMs = this.#clock.monotonicMs() - this.#timeoutMs - this.#abortMs - STALL_MS;
    if (this.inUse.some(({ beganMs, limitMs }) => limitMs === Infinity || beganMs > latestMs)) {
      return undefined;
    }
    return `all slots (${this.busy}) run jobs that did not end after they were aborted at their time limit`;
  }

  /** Takes a slot for these jobs; the first of them begins. The caller checks the number. */
  begin(jobs: readonly InFlightJob[]): Slot {
    const slot = this.#free.pop() ?? this.#add();
    slot.jobs = jobs;
    slot.abort = new AbortController();
    slot.startedMs = slot.beganMs = this.#clock.monotonicMs();
    slot.limitMs = this.#timeoutMs;
    slot.turn = this.#turns++;
    this.#timer ??= this.#timeOutAfter(this.#timeoutMs);
    return slot;
  }

  /**
   * The slot begins its next step now, unless all have been aborted.
   *
   * @param limitMs As {@link Slot.limitMs}.
   */
  restart(slot: Slot, limitMs = this.#timeoutMs): AbortController {
    if (slot.abort.signal.aborted && !this.#areAborted) slot.abort = new AbortController();
    slot.beganMs = this.#clock.monotonicMs();
    slot.limitMs = limitMs;
    if (limitMs < Infinity) this.#timer ??= this.#timeOutAfter(limitMs);
    return slot.abort;
  }

  /** The next of the slot's jobs begins. */
  next(slot: Slot): void {
    slot.notBegun();
  }

  end(slot: Slot): void {
    slot.jobs = NONE;
    this.#free.push(slot);
    if (this.#allFree !== undefined && this.busy === 0) this.#allFree.abort();
  }

  /**
   * Aborts the slots in use, the last one first, and waits for their end as long as the executor may take. Returns the jobs
   * that have not ended, the last one first.
   */
  async abortAll(reason: FervoError): Promise<InFlightJob[]> {
    this.#areAborted = true;
    for (const { abort } of this.inUse.toReversed()) abort.abort(reason);
    const { signal } = this.#allFree = new AbortController();
    if (this.busy > 0) await sleep(this.#clock, this.#abortMs + ABORT_MARGIN_MS, signal);
    return this.inUse.toReversed().flatMap(({ jobs }) => jobs.toReversed());
  }

  close(): void {
    this.#timer?.cancel();
  }

  #add(): Slot {
    const slot = new Slot(this.#clock);
    this.#all.push(slot);
    return slot;
  }

  /** All jobs have the same time limit, so one timer serves all: no job times out before it. */
  #timeOutAfter(delayMs: number): Timer {
    return this.#clock.setTimer(() => {
      this.#timer = undefined;
      const nowMs = this.#clock.monotonicMs();
      let nextMs = Infinity;
      for (const slot of this.#all) {
        if (slot.jobs === NONE) continue;
        const leftMs = slot.beganMs + slot.limitMs - nowMs;
        if (leftMs > 0) nextMs = Math.min(nextMs, leftMs);
        else this.#timeOut(slot);
      }
      if (nextMs < Infinity) this.#timer = this.#timeOutAfter(nextMs);
    }, delayMs);
  }

  #timeOut(slot: Slot): void {
    slot.abort.abort(
      new JobError("JOB_TIMEOUT", `The job took longer than timeout_ms = ${this.#timeoutMs} allows`),
    );
  }
}
