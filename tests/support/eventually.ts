/** Far beyond what anything takes, also on a busy machine: only a test that fails waits so long. */
const DEADLINE_MS = 30_000;
const POLL_MS = 5;

/** Resolves when `condition` holds; fails with `what` when it does not in time. For what gives no event to wait for. */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMs = DEADLINE_MS,
): Promise<void> {
  const deadlineMs = performance.now() + limitMs;
  while (!await condition()) {
    if (performance.now() > deadlineMs) throw new Error(`Not in ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
