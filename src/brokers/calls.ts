import { QueueError } from "../core/errors.ts";

/** The running calls, which `close` waits for; refuses later ones. */
export class Calls {
  #count = 0;
  #isClosed = false;
  #onIdle: (() => void) | undefined;

  /** @throws {QueueError} QUEUE_UNAVAILABLE after `close` */
  async run<T>(call: () => Promise<T>): Promise<T> {
    if (this.#isClosed) throw new QueueError("QUEUE_UNAVAILABLE", "The queue is closed");
    this.#count++;
    try {
      return await call();
    } finally {
      if (--this.#count === 0) this.#onIdle?.();
    }
  }

  /** Resolves when no call is left. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#count > 0) await new Promise<void>((resolve) => this.#onIdle = resolve);
  }
}
