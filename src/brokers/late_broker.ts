import type { Clock } from "../core/time/clock.ts";
import type { DeadLetters, Pauses, ScheduleBook } from "../core/admin.ts";
import type { Broker, Capabilities } from "../core/broker.ts";
import { asFervoError, type FervoError, QueueError } from "../core/errors.ts";
import type { Finding } from "../core/finding.ts";
import type { Format } from "../core/format.ts";

/** Many may ask at the same time; it is tried this seldom, milliseconds. */
const EVERY_MS = 500;

export interface LateBrokerOptions {
  readonly capabilities: Capabilities;
  readonly format: Format;
}

/** A broker that cannot be opened yet, as the folder of its file is not mounted: calls reject until one has opened it. */
export class LateBroker implements Broker {
  readonly capabilities: Capabilities;
  readonly format: Format;
  readonly #clock: Clock;
  readonly #open: () => Broker;
  #opened: Broker | undefined;
  #failed: { readonly error: FervoError; readonly atMs: number } | undefined;
  #isClosed = false;

  /** @param deps.open Throws QUEUE_UNAVAILABLE while it cannot be opened; is called no more once it was. */
  constructor(deps: { clock: Clock; open: () => Broker }, { capabilities, format }: LateBrokerOptions) {
    this.#clock = deps.clock;
    this.#open = deps.open;
    this.capabilities = capabilities;
    this.format = format;
  }

  readonly receive: Broker["receive"] = async (request) => await this.#broker.receive(request);
  readonly push: Broker["push"] = async (...args) => await this.#broker.push(...args);
  readonly depth: Broker["depth"] = async (queue) => await this.#broker.depth(queue);
  readonly latencyMs: Broker["latencyMs"] = async (queue) => await this.#broker.latencyMs(queue);
  readonly census: Broker["census"] = async (queues) => await this.#broker.census(queues);
  readonly queues: Broker["queues"] = async () => await this.#broker.queues();
  readonly findings = async (): Promise<Finding[]> => await this.#broker.findings?.() ?? [];

  readonly dead: DeadLetters = {
    list: async (o) => await this.#broker.dead.list(o),
    get: async (id) => await this.#broker.dead.get(id),
    find: async (ids) => await this.#broker.dead.find(ids),
    retry: async (ids) => await this.#broker.dead.retry(ids),
    remove: async (ids) => await this.#broker.dead.remove(ids),
  };
  readonly pauses: Pauses = {
    list: async () => await this.#broker.pauses.list(),
    pause: async (queue) => await this.#broker.pauses.pause(queue),
    resume: async (queue) => await this.#broker.pauses.resume(queue),
  };
  readonly schedule: ScheduleBook = {
    begin: async (slot) => await this.#broker.schedule!.begin(slot),
    push: async (...args) => await this.#broker.schedule!.push(...args),
    skip: async (slot) => await this.#broker.schedule!.skip(slot),
    setAside: async (...args) => await this.#broker.schedule!.setAside(...args),
    look: async (...args) => await this.#broker.schedule!.look(...args),
  };

  quiet(): void {
    this.#opened?.quiet?.();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#opened?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  get #broker(): Broker {
    if (this.#opened !== undefined) return this.#opened;
    if (this.#isClosed) throw new QueueError("QUEUE_UNAVAILABLE", "The broker is closed");
    const nowMs = this.#clock.monotonicMs();
    if (this.#failed !== undefined && nowMs - this.#failed.atMs < EVERY_MS) throw this.#failed.error;
    try {
      return this.#opened = this.#open();
    } catch (thrown) {
      const error = asFervoError(thrown);
      this.#failed = { error, atMs: nowMs };
      throw error;
    }
  }
}
