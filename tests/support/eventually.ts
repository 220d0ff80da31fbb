const DEADLINE_MS = 10_000;
const POLL_MS = 5;

/** Resolves when `condition` holds; fails with `what` when it does not in 10 s. For what gives no event to wait for. */
export async function eventually(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + DEADLINE_MS;
  while (!await condition()) {
    if (performance.now() > deadlineMs) throw new Error(`Not in ${DEADLINE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
