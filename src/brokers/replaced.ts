/** More than ever come back together; the oldest is forgotten then. */
const MAX_KEPT = 10_000;

/**
 * Jobs in whose place a message was put, and which could not be removed: a broker that replaces in two steps was lost in between.
 * When such a job comes back, it is removed without running, by the process that remembers it; another one runs it again.
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
