import { Backoff } from "../core/backoff.ts";
import type { Clock, Timer } from "../core/clock.ts";

/** Connecting fails within this time or not at all; a job that still runs then has shown that the executor is back. */
const PROBE_MS = 3_000;

export type GateState = "open" | "paused" | "probing";

/**
 * Whether jobs can be given to the executor.
 *
 * States: `open` -> unavailable() -> `paused` -> the pause ends -> `probing` -> available(), or PROBE_MS without a
 * failure -> `open`; or unavailable() -> `paused` for longer. While probing, one job at a time finds out. The executor
 * counts as back, and the next pause is a short one again, once a job has ended; that PROBE_MS passed proves less.
 */
export class Gate {
  readonly #clock: Clock;
  readonly #backoff: Backoff;
  readonly #onChange: () => void;
  #state: GateState = "open";
  /** Nothing has been run since the last pause. */
  #isUnproven = false;
  #timer: Timer | undefined;

  /** @param deps.onChange Called when more jobs can be given than before. */
  constructor(
    deps: { clock: Clock; random: () => number; onChange: () => void },
    options: { maxPauseMs: number },
  ) {
    this.#clock = deps.clock;
    this.#backoff = new Backoff(deps, { maxMs: options.maxPauseMs });
    this.#onChange = deps.onChange;
  }

  get state(): GateState {
    return this.#state;
  }

  /** Whether all slots may be in use, and nothing is in doubt. */
  get isOpen(): boolean {
    return this.#state === "open";
  }

  /** How many of `slots` may be in use. */
  limit(slots: number): number {
    if (this.#state === "open") return slots;
    return this.#state === "probing" ? 1 : 0;
  }

  /**
   * A job could not be run. Returns for how long the gate is closed now, in milliseconds, or undefined when it was
   * closed already: the failures of all jobs under way are one.
   */
  unavailable(): number | undefined {
    if (this.#state === "paused") return undefined;
    this.#isUnproven = true;
    const pauseMs = this.#backoff.nextMs();
    this.#enter("paused", pauseMs);
    return pauseMs;
  }

  /** A job was run. Returns whether it is the first one since the pause. */
  available(): boolean {
    // One that began before the pause says nothing of what came after.
    if (!this.#isUnproven || this.#state === "paused") return false;
    this.#isUnproven = false;
    this.#backoff.reset();
    if (this.#state === "probing") this.#enter("open");
    return true;
  }

  /** Forgets its timer. */
  close(): void {
    this.#timer?.cancel();
  }

  /** The one place where the state changes. */
  #enter(state: GateState, pauseMs = 0): void {
    this.#timer?.cancel();
    this.#state = state;
    if (state === "paused") this.#timer = this.#clock.setTimer(() => this.#enter("probing"), pauseMs);
    if (state === "probing") this.#timer = this.#clock.setTimer(() => this.#enter("open"), PROBE_MS);
    if (state !== "paused") this.#onChange();
  }
}
