import type { ReceiveRequest, Subscription } from "../../core/broker.ts";
import type { Delivery } from "../../core/delivery.ts";
import type { SqliteClaims } from "./claims.ts";
import type { SqliteStatement } from "./store/file.ts";
import type { SqliteLeases } from "./leases.ts";
import type { SqliteShared } from "./shared.ts";
import { read } from "./store/writer.ts";

/** Takes jobs of the embedded queue, and waits for them without polling. */
export class SqliteSubscription implements Subscription {
  readonly #shared: SqliteShared;
  readonly #claims: SqliteClaims;
  readonly #leases: SqliteLeases;
  readonly #isOpen: () => boolean;
  readonly #hasReady: SqliteStatement;

  /** @param deps.isOpen Whether the broker is; else nothing is taken. */
  constructor(
    shared: SqliteShared,
    deps: { claims: SqliteClaims; leases: SqliteLeases; isOpen: () => boolean },
  ) {
    this.#shared = shared;
    this.#claims = deps.claims;
    this.#leases = deps.leases;
    this.#isOpen = deps.isOpen;
    this.#hasReady = shared.file.prepare(
      "SELECT 1 FROM fervo_jobs WHERE state = 'ready' AND queue = ? LIMIT 1",
    );
  }

  async receive(request: ReceiveRequest, signal: AbortSignal): Promise<Delivery[]> {
    const { clock, file, writer, changes } = this.#shared;
    this.#leases.start();
    const untilMs = clock.monotonicMs() + request.waitMs;
    const isOver = () => signal.aborted || !this.#isOpen();
    while (!isOver()) {
      // Under load there is always a settle to share the transaction with, and looking first would cost more.
      const before = writer.hasChanges ? undefined : await read(file, () => this.#look(request.queues));
      if (isOver()) break;
      if (before === undefined || before.hasWork) {
        const deliveries = await writer.write(() => this.#claims.claim(request, before?.isDue ?? false));
        for (const delivery of deliveries) this.#leases.hold(delivery);
        if (deliveries.length > 0) return deliveries;
      }
      const leftMs = untilMs - clock.monotonicMs();
      if (leftMs <= 0) break;
      if (before !== undefined) {
        const untilDueMs = before.nextDueMs === undefined ? Infinity : before.nextDueMs - clock.nowMs();
        await changes.wait(before.mark, Math.min(leftMs, Math.max(untilDueMs, 1)), signal);
      }
    }
    return [];
  }

  resize(): void {}

  stop(): Promise<void> {
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }

  /** What a waiting receive has to know, read before it waits. */
  #look(queues: readonly string[]) {
    const mark = this.#shared.changes.mark();
    const nextDueMs = this.#leases.nextDueMs();
    const isDue = nextDueMs !== undefined && nextDueMs <= this.#shared.clock.nowMs();
    const hasWork = isDue || queues.some((queue) => this.#hasReady.get(queue) !== undefined);
    return { mark, nextDueMs, isDue, hasWork };
  }
}
