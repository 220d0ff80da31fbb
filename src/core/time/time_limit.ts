import type { Clock } from "./clock.ts";

/**
 * The value of `promise`, unless the time is up or `signal` aborts before.
 *
 * @param limit.ms The time; then the result rejects with an Error that says so.
 * @param limit.signal Gives up with its reason.
 * @param limit.discard Called with a value that arrives too late.
 */
export async function inTime<T>(
  clock: Clock,
  promise: Promise<T>,
  limit: { ms: number; signal?: AbortSignal | undefined; discard: (late: T) => void },
): Promise<T> {
  const { ms, signal, discard } = limit;
  const givenUp = Promise.withResolvers<never>();
  const timer = clock.setTimer(() => givenUp.reject(new Error(`no answer in ${ms} ms`)), ms);
  const abort = () => givenUp.reject(signal?.reason);
  if (signal?.aborted) abort();
  signal?.addEventListener("abort", abort);
  try {
    return await Promise.race([promise, givenUp.promise]);
  } catch (error) {
    promise.then(discard, () => {});
    throw error;
  } finally {
    timer.cancel();
    signal?.removeEventListener("abort", abort);
  }
}

/** A signal that aborts when the time is up, unless it is disposed of before. @param error The signal's reason. */
export function timeLimit(
  clock: Clock,
  ms: number,
  error: () => unknown,
): Disposable & { readonly signal: AbortSignal } {
  const end = new AbortController();
  const timer = clock.setTimer(() => end.abort(error()), ms);
  return { signal: end.signal, [Symbol.dispose]: () => timer.cancel() };
}
