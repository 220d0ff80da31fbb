import type { FervoError } from "../core/errors.ts";
import type { Clock, Timer } from "../core/time/clock.ts";
import type { Observer } from "../core/observer.ts";

/** A job without a sign within this time, milliseconds, shows that jobs of its queue run again. */
const TRIAL_MS = 3_000;

interface QueuePause {
  /** Jobs wait; one may begin; or one has begun, and the others wait for its outcome. */
  state: "paused" | "due" | "probing";
  timer: Timer | undefined;
  endsAtMs: number;
}

/**
 * The queues that the application holds back ("not now"), for instance during its maintenance. No consumer of this process
 * takes a job of such a queue until the time is over. Then one job tests whether others may follow.
 *
 * They are in memory only; pauses by people are in the broker.
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

  /**
   * Calls `onChange` whenever the number of jobs that may begin changes. Ends with the returned function. Without a listener,
   * nothing is held back.
   */
  watch(onChange: () => void): () => void {
    this.#listeners.add(onChange);
    return () => {
      this.#listeners.delete(onChange);
      if (this.#listeners.size === 0) this.#close();
    };
  }

  /** How many jobs of the queue may begin now: 0, 1 as a test, or all. */
  limit(queue: string): number {
    const pause = this.#pauses.get(queue);
    if (pause === undefined) return Infinity;
    return pause.state === "due" ? 1 : 0;
  }

  /** The queues of which all jobs may begin; the same list if that is all of them. */
  open(queues: readonly string[]): readonly string[] {
    return this.#pauses.size === 0 ? queues : queues.filter((queue) => !this.#pauses.has(queue));
  }

  /** How long each queue is held back, milliseconds; 0 while a job tests it. */
  list(): { readonly queue: string; readonly forMs: number }[] {
    const nowMs = this.#clock.monotonicMs();
    return [...this.#pauses].map(([queue, { state, endsAtMs }]) => ({
      queue,
      forMs: state === "paused" ? Math.max(endsAtMs - nowMs, 0) : 0,
    }));
  }

  /**
   * A job of the queue said that none may begin for this many milliseconds.
   *
   * @param error What it said of the reason.
   */
  pause(queue: string, ms: number, error?: FervoError): void {
    const isNew = !this.#pauses.has(queue);
    this.#enter(queue, "paused", ms);
    if (!isNew) return;
    this.#observe({
      type: "queue_held_back",
      broker: this.#broker,
      queue,
      forMs: ms,
      ...(error && { error }),
    });
  }

  /** Whether a job of the queue may begin now; if so, it begins. */
  begin(queue: string): boolean {
    const limit = this.limit(queue);
    if (limit === 1) this.#enter(queue, "probing", TRIAL_MS);
    return limit > 0;
  }

  /** A job of the queue ended without "not now", or there is no job for a test. */
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
    // The consumer with the test job knows it, and no other has anything to do.
    if (state !== "probing") this.#changed();
  }

  #changed(): void {
    for (const onChange of [...this.#listeners]) onChange();
  }
}
