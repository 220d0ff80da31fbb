import type { Clock } from "../core/time/clock.ts";

/** How often a state that lasts is told again, milliseconds. */
const AGAIN_MS = 60_000;
/** How often a state that comes and goes is told in that time. */
const MAX_TOLD = 3;
/** Errors that are told apart in one state. */
const MAX_ERRORS = 8;

/** What was met: as a FervoError says it. */
export interface Problem {
  readonly code: string;
  readonly message: string;
}

/** What there is to say of a state that lasts, or has ended. */
export interface Repetition {
  /** How often it was met since it began; 1 at the beginning. */
  readonly times: number;
  /** Since the beginning, milliseconds. */
  readonly forMs: number;
}

interface State {
  /** Undefined between two times that it lasts. */
  since: { readonly ms: number; times: number; isTold: boolean } | undefined;
  /** When each error was told, by its text without numbers; the last times, in order. */
  readonly toldMs: Map<string, number[]>;
}

/**
 * States that are met again and again while they last: a php-fpm that is unavailable, a broker that does not answer.
 *
 * 1. Lets a state be told when it begins, once a minute while it lasts, and when it has ended.
 * 2. Lets an error that is new in it be told at once, and each of them once a minute.
 * 3. Lets one that comes and goes be told three times a minute.
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
   * @param key What is in that state, and in which.
   * @returns What to tell; undefined when nothing is.
   */
  met(key: string, { code, message }: Problem): Repetition | undefined {
    const nowMs = this.#clock.monotonicMs();
    let state = this.#states.get(key);
    if (state === undefined) this.#states.set(key, state = { since: undefined, toldMs: new Map() });
    const since = state.since ??= { ms: nowMs, times: 0, isTold: false };
    since.times++;
    // Numbers, as how long something took, make no news.
    const error = `${code} ${message.replaceAll(/\d+/g, "0")}`;
    const told = state.toldMs.get(error) ?? [];
    const latest = told.filter((atMs) => nowMs - atMs < AGAIN_MS);
    if (latest.length >= (since.times === 1 ? MAX_TOLD : 1)) return undefined;
    if (told.length === 0 && state.toldMs.size >= MAX_ERRORS) return undefined;
    state.toldMs.set(error, [...latest, nowMs]);
    since.isTold = true;
    return { times: since.times, forMs: nowMs - since.ms };
  }

  /** The state has ended. Returns what to tell; undefined when it had not begun, or that was not told. */
  ended(key: string): Repetition | undefined {
    const state = this.#states.get(key);
    const since = state?.since;
    if (state === undefined || since === undefined) return undefined;
    state.since = undefined;
    if (!since.isTold) return undefined;
    return { times: since.times, forMs: this.#clock.monotonicMs() - since.ms };
  }
}

/** What a log says of a state that has lasted for a while, beside what it says at the beginning. */
export function repetitionFacts(repetition: Repetition | undefined): Record<string, unknown> {
  if (repetition === undefined || repetition.times === 1) return {};
  return { failures: repetition.times, since_s: seconds(repetition.forMs) };
}

/** What a log says of a state that has ended. */
export function endFacts(ended: Repetition | undefined): Record<string, unknown> {
  return ended === undefined ? {} : { failures: ended.times, after_s: seconds(ended.forMs) };
}

/** To the tenth. */
export function seconds(ms: number): number {
  return Math.round(ms / 100) / 10;
}
