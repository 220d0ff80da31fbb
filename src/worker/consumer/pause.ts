import { Backoff } from "../../core/time/backoff.ts";
import type { Clock, Timer } from "../../core/time/clock.ts";
import type { FervoError } from "../../core/errors.ts";
import type { Observer } from "../../core/observer.ts";
import { isMisconfigured } from "../../core/outcome.ts";
import type { Executor } from "../../executors/executor.ts";

/** A connect fails within this time or not at all: a job that still runs then shows that the executor is back. */
const TRIAL_MS = 3_000;

/**
 * The longest pause after a job showed a fault that the probe does not show, milliseconds. Such a job may have run in part, for
 * instance in a script that does not support batches.
 */
const MAX_TRIAL_PAUSE_MS = 30_000;

/** A short fault, such as a deployment that moves a folder, is over before this many failures: 2.6 s or more. */
const LASTING_FAILURES = 8;

export type GateState = "open" | "paused" | "probing";

/** Why no jobs can run. */
export interface Closure {
  /** The error of the last job or probe. */
  readonly error: FervoError;
  /** Failed jobs and probes in a row. */
  readonly failures: number;
  /** Since when, monotonic milliseconds. */
  readonly sinceMs: number;
}

export interface GateDeps {
  readonly clock: Clock;
  readonly random: () => number;
  readonly observe: Observer;
  readonly executor: Pick<Executor, "probe">;
  /** Whether no job runs now. */
  readonly isIdle: () => boolean;
  /** Called when more jobs may begin than before. */
  readonly onChange: () => void;
}

export interface GateOptions {
  /** The consumer's name. */
  readonly name: string;
  readonly maxPauseMs: number;
}

/**
 * Whether jobs can be given to the executor.
 *
 * States: `open` -> unable() -> `paused` -> the pause ends, and the executor's probe, which runs no job, finds no fault ->
 * `probing` -> available(), or TRIAL_MS without a failure -> `open`; a probe or unable() -> `paused` for longer.
 *
 * While probing, one job at a time tests what a probe cannot. The executor counts as back, and the next pause is short again,
 * once a job has ended, or when no job came within TRIAL_MS; a job that still runs proves less.
 */
export class Gate {
  readonly #deps: GateDeps;
  readonly #name: string;
  /** For pauses after a probe, or after a job that met an unavailable executor. */
  readonly #backoff: Backoff;
  /** For pauses after a job that met a misconfigured executor. */
  readonly #trialBackoff: Backoff;
  #state: GateState = "open";
  /** Undefined after a success. */
  #closure: Closure | undefined;
  #timer: Timer | undefined;
  #probe: AbortController | undefined;
  readonly #waiting = new Set<() => void>();

  constructor(deps: GateDeps, { name, maxPauseMs }: GateOptions) {
    this.#deps = deps;
    this.#name = name;
    this.#backoff = new Backoff(deps, { maxMs: maxPauseMs });
    this.#trialBackoff = new Backoff(deps, { maxMs: Math.max(maxPauseMs, MAX_TRIAL_PAUSE_MS) });
  }

  get state(): GateState {
    return this.#state;
  }

  /** Whether all slots may be in use. */
  get isOpen(): boolean {
    return this.#state === "open";
  }

  get closure(): Closure | undefined {
    return this.#state === "open" ? undefined : this.#closure;
  }

  /** The error, where a person may have to act. */
  get fault(): FervoError | undefined {
    const error = this.closure?.error;
    return error && isMisconfigured(error) ? error : undefined;
  }

  /** It is closed, and after this many failures the cause does not pass in a moment. */
  get isLasting(): boolean {
    return (this.closure?.failures ?? 0) >= LASTING_FAILURES;
  }

  /** How many of `slots` may be in use. */
  limit(slots: number): number {
    if (this.#state === "open") return slots;
    return this.#state === "probing" ? 1 : 0;
  }

  /** A job could not run. While the gate is closed this changes nothing: the failures of all running jobs count as one. */
  unable(error: FervoError): void {
    if (this.#state === "paused") return;
    this.#pause(error, isMisconfigured(error) ? this.#trialBackoff : this.#backoff);
  }

  /** A job ran. A job that began before the pause says nothing about the time after. */
  available(): void {
    if (this.#closure !== undefined && this.#state !== "paused") this.#resume();
  }

  /** Resolves when a job may begin, or `signal` aborts. */
  async opened(signal: AbortSignal): Promise<void> {
    if (this.#state !== "paused" || signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.add(resolve);
    signal.addEventListener("abort", () => resolve(), { once: true });
    await promise;
    this.#waiting.delete(resolve);
  }

  /** Ends the pause, if there is one: the cause may be corrected. */
  probeNow(): void {
    if (this.#state === "paused" && this.#probe === undefined) void this.#look();
  }

  close(): void {
    this.#timer?.cancel();
    this.#probe?.abort();
  }

  #pause(error: FervoError, backoff: Backoff): void {
    const { clock, observe } = this.#deps;
    const { failures, sinceMs } = this.#closure ?? { failures: 0, sinceMs: clock.monotonicMs() };
    this.#closure = { error, failures: failures + 1, sinceMs };
    const forMs = backoff.nextMs();
    observe({ type: "consumer_paused", consumer: this.#name, error, forMs });
    this.#enter("paused", forMs);
  }

  async #look(): Promise<void> {
    this.#timer?.cancel();
    const { signal } = this.#probe = new AbortController();
    const error = await this.#deps.executor.probe(this.#closure!.error, signal);
    if (signal.aborted) return;
    this.#probe = undefined;
    if (error === undefined) this.#enter("probing");
    else this.#pause(error, this.#backoff);
  }

  #resume(): void {
    const { error, failures, sinceMs } = this.#closure!;
    this.#closure = undefined;
    this.#backoff.reset();
    this.#trialBackoff.reset();
    const afterMs = this.#deps.clock.monotonicMs() - sinceMs;
    this.#deps.observe({ type: "consumer_resumed", consumer: this.#name, error, failures, afterMs });
    if (this.#state !== "open") this.#enter("open");
  }

  #endTrial(): void {
    if (this.#deps.isIdle()) this.#resume();
    else this.#enter("open");
  }

  /** The one place where the state changes. */
  #enter(state: GateState, pauseMs = 0): void {
    const { clock, onChange } = this.#deps;
    this.#timer?.cancel();
    this.#state = state;
    if (state === "paused") this.#timer = clock.setTimer(() => void this.#look(), pauseMs);
    if (state === "probing") this.#timer = clock.setTimer(() => this.#endTrial(), TRIAL_MS);
    if (state === "paused") return;
    // Waiting jobs go first.
    for (const go of this.#waiting) go();
    onChange();
  }
}
