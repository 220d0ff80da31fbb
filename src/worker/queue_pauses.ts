import type { Clock, Timer } from "../core/time/clock.ts";
import type { Observer } from "../core/observer.ts";

/** A job that shows nothing within this time, milliseconds, has shown that jobs of its queue are run again. */
const TRIAL_MS = 3_000;

interface QueuePause {
  /** Jobs wait; one may begin; or it has begun, and the others wait for what it shows. */
  state: "paused" | "due" | "probing";
  timer: Timer | undefined;
  endsAtMs: number;
}

/**
 * The queues of a broker of which the application has said "not now", as while it is being maintained: no consumer of this process
 * takes a job of one until its time is over. Then one job shows whether others may follow.
 *
 * It is the application's word, kept in memory; what people pause is kept in the broker.
 */
export class QueuePauses {
  readonly #clock: Clock;
  readonly #observe: Observer;
  readonly #broker: string;
  readonly #pauses = new Map<string, QueuePause>();
  readonly #listeners = new Set<() => void>();

  /** @param options.broker Its name in the configuration. */
  constructor(deps: { clock: Clock; observe: Observer }, options: { broker: string }) {
    this.#clock = deps.clock;
    this.#observe = deps.observe;
    this.#broker = options.broker;
  }

  /** Calls `onChange` whenever another number of jobs may begin, until what it returns is called. Without a listener, nothing is paused. */
  watch(onChange: () => void): () => void {
    this.#listeners.add(onChange);
    return () => {
      this.#listeners.delete(onChange);
      if (this.#listeners.size === 0) this.#close();
    };
  }

  /** How many jobs of the queue may begin now: 0, one to find out, or all. */
  limit(queue: string): number {
    const pause = this.#pauses.get(queue);
    if (pause === undefined) return Infinity;
    return pause.state === "due" ? 1 : 0;
  }

  /** Those of `queues` all of whose jobs may begin; the same list when that is all of them. */
  open(queues: readonly string[]): readonly string[] {
    return this.#pauses.size === 0 ? queues : queues.filter((queue) => !this.#pauses.has(queue));
  }

  /** For how long no job of each queue begins, milliseconds; 0 where one shows whether others may. */
  list(): { readonly queue: string; readonly forMs: number }[] {
    const nowMs = this.#clock.monotonicMs();
    return [...this.#pauses].map(([queue, { state, endsAtMs }]) => ({
      queue,
      forMs: state === "paused" ? Math.max(endsAtMs - nowMs, 0) : 0,
    }));
  }

  /** A job of the queue has said that none is to begin for this many milliseconds. */
  pause(queue: string, ms: number): void {
    const isNew = !this.#pauses.has(queue);
    this.#enter(queue, "paused", ms);
    if (isNew) this.#observe({ type: "queue_held_back", broker: this.#broker, queue, forMs: ms });
  }

  /** Whether a job of the queue may begin now, which it does then. */
  begin(queue: string): boolean {
    const limit = this.limit(queue);
    if (limit === 1) this.#enter(queue, "probing", TRIAL_MS);
    return limit > 0;
  }

  /** A job of the queue has ended and asked for no pause, or there is none that could. */
  passed(queue: string): void {
    if (this.#pauses.get(queue)?.state !== "probing") return;
    this.#pauses.get(queue)!.timer?.cancel();
    this.#pauses.delete(queue);
    this.#observe({ type: "queue_let_go", broker: this.#broker, queue });
    this.#changed();
  }

  #close(): void {
    for (const { timer } of this.#pauses.values()) timer?.cancel();
    this.#pauses.clear();
  }

  #enter(queue: string, state: QueuePause["state"], ms: number): void {
    this.#pauses.get(queue)?.timer?.cancel();
    const timer = state === "due" ? undefined : this.#clock.setTimer(
      () => state === "paused" ? this.#enter(queue, "due", 0) : this.passed(queue),
      ms,
    );
    this.#pauses.set(queue, { state, timer, endsAtMs: this.#clock.monotonicMs() + ms });
    // The consumer that takes the one job knows it, and no other has anything to do.
    if (state !== "probing") this.#changed();
  }

  #changed(): void {
    for (const onChange of [...this.#listeners]) onChange();
  }
}
