/** More than ever come back together; beyond it the oldest is forgotten. */
const MAX_KEPT = 10_000;

/**
 * Replaced jobs that could not be removed, because a broker with two-step replacement was lost in between. When such a job
 * comes back, the process that remembers it removes the job without running it; another process runs it again.
 */
export class Replaced {
  readonly #ids = new Set<string>();

  has(id: string): boolean {
    return this.#ids.has(id);
  }

  add(id: string): void {
    this.#ids.add(id);
    if (this.#ids.size > MAX_KEPT) this.#ids.delete(this.#ids.values().next().value!);
  }

  delete(id: string): void {
    this.#ids.delete(id);
  }
}
