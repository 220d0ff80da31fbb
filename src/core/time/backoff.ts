/** The first pause after a failure, milliseconds; each further one is twice as long. */
const FIRST_PAUSE_MS = 50;

/** Waits that grow while something fails: 50 ms, then twice the last one, up to a limit, each 20 % shorter or longer. */
export class Backoff {
  readonly #maxMs: number;
  readonly #random: () => number;
  #failures = 0;

  constructor(deps: { random: () => number }, options: { maxMs: number }) {
    this.#random = deps.random;
    this.#maxMs = options.maxMs;
  }

  nextMs(): number {
    const ms = Math.min(FIRST_PAUSE_MS * 2 ** this.#failures++, this.#maxMs);
    return Math.round(ms * (0.8 + 0.4 * this.#random()));
  }

  reset(): void {
    this.#failures = 0;
  }
}
