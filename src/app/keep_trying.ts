import { Backoff } from "../core/time/backoff.ts";
import { type Clock, sleep } from "../core/time/clock.ts";
import { FervoError, reasonOf } from "../core/errors.ts";
import type { Log } from "../telemetry/log.ts";
import { RepeatedStates } from "../telemetry/repeated.ts";

/** The longest pause between two attempts, milliseconds. */
const MAX_PAUSE_MS = 5_000;

export interface StartOptions<T> {
  /** Starts it. May reject any number of times. */
  readonly start: () => Promise<T>;
  /** The log message while it fails. */
  readonly failed: string;
  /** The log message when it has started, first or later. */
  readonly started: string;
  /** Facts for both. */
  readonly facts: Readonly<Record<string, unknown>>;
  /** Whether a failure may last without another report. */
  readonly mayLast?: (error: unknown) => boolean;
}

/** Something that has started, or is being started. */
export interface Trying<T> {
  /** Ends the attempts. Resolves with the started value, if any; never rejects. */
  end(): Promise<T | undefined>;
}

/**
 * Starts something that a worker can do without for a while. After a failure it tries again in the background, with backoff;
 * the log has the reason at once and then once a minute, and the success. Resolves after the first attempt.
 */
export async function keepTrying<T>(
  deps: { readonly clock: Clock; readonly log: Log; readonly random: () => number },
  { start, failed, started, facts, mayLast = () => false }: StartOptions<T>,
): Promise<Trying<T>> {
  const { clock, log, random } = deps;
  const repeated = new RepeatedStates({ clock });
  const backoff = new Backoff({ random }, { maxMs: MAX_PAUSE_MS });
  const over = new AbortController();

  async function tryOnce(): Promise<{ readonly value: T } | undefined> {
    try {
      const value = await start();
      repeated.ended(failed);
      log.info(facts, started);
      return { value };
    } catch (thrown) {
      const error = thrown instanceof FervoError ? thrown : new FervoError("LISTEN_FAILED", reasonOf(thrown));
      const again = repeated.met(failed, error);
      const isFirst = again?.times === 1;
      const level = mayLast(thrown) ? (isFirst ? "warn" : "debug") : again === undefined ? "debug" : "error";
      log[level]({ ...facts, code: error.code, error: error.message }, failed);
      return undefined;
    }
  }

  async function tryAgain(): Promise<T | undefined> {
    while (!over.signal.aborted) {
      await sleep(clock, backoff.nextMs(), over.signal);
      if (over.signal.aborted) return undefined;
      const result = await tryOnce();
      if (result !== undefined) return result.value;
    }
    return undefined;
  }

  const first = await tryOnce();
  const trying = first === undefined ? tryAgain() : Promise.resolve(first.value);
  return {
    end: () => {
      over.abort();
      return trying;
    },
  };
}
