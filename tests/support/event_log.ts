import type { Observer, WorkerEvent } from "../../src/core/observer.ts";

type EventType = WorkerEvent["type"];
export type EventOf<T extends EventType> = Extract<WorkerEvent, { type: T }>;

interface Waiter {
  readonly isMet: () => boolean;
  readonly resolve: () => void;
}

/** Only a test that fails waits so long: it is to say what it waited for. */
const DEADLINE_MS = 60_000;

/** Keeps what a worker tells, and lets a test wait for it. */
export class EventLog {
  readonly events: WorkerEvent[] = [];
  readonly #waiters = new Set<Waiter>();

  readonly observe: Observer = (event) => {
    this.events.push(event);
    for (const waiter of this.#waiters) {
      if (waiter.isMet()) waiter.resolve();
    }
  };

  /** The events of a type, in order. */
  of<T extends EventType>(type: T): EventOf<T>[] {
    return this.events.filter((event): event is EventOf<T> => event.type === type);
  }

  /** The types of all events, in order. */
  get types(): EventType[] {
    return this.events.map((event) => event.type);
  }

  /** Resolves with the first event of the type for which `matches` holds, whether it has come already or is to come. */
  async next<T extends EventType>(
    type: T,
    matches: (event: EventOf<T>) => boolean = () => true,
  ): Promise<EventOf<T>> {
    let found: EventOf<T> | undefined;
    await this.until(`an event "${type}"`, () => (found = this.of(type).find(matches)) !== undefined);
    return found!;
  }

  /** Resolves when so many events of the type have come for which `matches` holds. */
  async count<T extends EventType>(
    type: T,
    count: number,
    matches: (event: EventOf<T>) => boolean = () => true,
  ): Promise<void> {
    const seen = () => this.of(type).filter(matches).length;
    await this.until(`${count} events "${type}"`, () => seen() >= count, () => `; there are ${seen()}`);
  }

  /** Resolves when `isMet` holds, which is looked at with each event; fails with `what` when that takes a minute. */
  async until(what: string, isMet: () => boolean, state: () => string = () => ""): Promise<void> {
    if (isMet()) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter = { isMet, resolve };
    this.#waiters.add(waiter);
    const tooLate = setTimeout(() => {
      const last = this.types.slice(-20).join(", ");
      reject(new Error(`Not in ${DEADLINE_MS} ms: ${what}${state()}; the last events were ${last}`));
    }, DEADLINE_MS);
    try {
      await promise;
    } finally {
      clearTimeout(tooLate);
      this.#waiters.delete(waiter);
    }
  }
}
