/** So long a test waits for what has to come; only a failing test waits to the end, milliseconds. */
export const WAIT_MS = 20_000;

/** The value of a promise that has to settle soon. */
export async function soon<T>(what: string, promise: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`Not in ${WAIT_MS} ms: ${what}`)), WAIT_MS);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
