import type { Clock } from "../core/time/clock.ts";

/** How often a lasting state is reported again, milliseconds. */
const AGAIN_MS = 60_000;
/** How often a state that comes and goes is reported in that time. */
const MAX_TOLD = 3;
/** At most this many errors are distinguished in one state. */
const MAX_ERRORS = 8;

/** A FervoError's code and message. */
export interface Problem {
  readonly code: string;
  readonly message: string;
}

/** The facts about a lasting or ended state. */
export interface Repetition {
  /** How often it was met since its beginning; 1 at the beginning. */
  readonly times: number;
  /** Since the beginning, milliseconds. */
  readonly forMs: number;
}

interface State {
  /** Undefined while the state is not met. */
  since: { readonly ms: number; times: number; isTold: boolean } | undefined;
  /** When each error was reported, by its text without numbers; the last times, in order. */
  readonly toldMs: Map<string, number[]>;
}

/**
 * States that are met again and again while they last: a php-fpm that is unavailable, a broker that does not answer.
 *
 * 1. Lets a state be reported at its beginning, once a minute while it lasts, and at its end.
 * 2. Lets an error that is new in it be reported at once, and each error once a minute.
 * 3. Lets a state that comes and goes be reported three times a minute.
 */
export class RepeatedStates {
  readonly #clock: Pick<Clock, "monotonicMs">;
  readonly #states = new Map<string, State>();

  constructor(deps: { clock: Pick<Clock, "monotonicMs"> }) {
    this.#clock = deps.clock;
  }

  /**
   * The state was met.
   *
   * @param key The object and its state.
   * @returns The report; undefined without one.
   */
  met(key: string, { code, message }: Problem): Repetition | undefined {
    const nowMs = this.#clock.monotonicMs();
    let state = this.#states.get(key);
    if (state === undefined) this.#states.set(key, state = { since: undefined, toldMs: new Map() });
    const since = state.since ??= { ms: nowMs, times: 0, isTold: false };
    since.times++;
    // Different numbers, such as durations, make no new error.
    const error = `${code} ${message.replaceAll(/\d+/g, "0")}`;
    const told = state.toldMs.get(error) ?? [];
    const latest = told.filter((atMs) => nowMs - atMs < AGAIN_MS);
    if (latest.length >= (since.times === 1 ? MAX_TOLD : 1)) return undefined;
    if (told.length === 0 && state.toldMs.size >= MAX_ERRORS) return undefined;
    state.toldMs.set(error, [...latest, nowMs]);
    since.isTold = true;
    return { times: since.times, forMs: nowMs - since.ms };
  }

  /** The state has ended. Returns the report; undefined when it had not begun, or was not reported. */
  ended(key: string): Repetition | undefined {
    const state = this.#states.get(key);
    const since = state?.since;
    if (state === undefined || since === undefined) return undefined;
    state.since = undefined;
    if (!since.isTold) return undefined;
    return { times: since.times, forMs: this.#clock.monotonicMs() - since.ms };
  }
}

/** The additional log facts of a lasting state. */
export function repetitionFacts(repetition: Repetition | undefined): Record<string, unknown> {
  if (repetition === undefined || repetition.times === 1) return {};
  return { failures: repetition.times, since_s: seconds(repetition.forMs) };
}

/** The log facts of an ended state. */
export function endFacts(ended: Repetition | undefined): Record<string, unknown> {
  return ended === undefined ? {} : { failures: ended.times, after_s: seconds(ended.forMs) };
}

/** To a tenth of a second. */
export function seconds(ms: number): number {
  return Math.round(ms / 100) / 10;
}
