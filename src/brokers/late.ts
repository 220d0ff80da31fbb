import type { Clock } from "../core/time/clock.ts";
import type { DeadLetters, Driver, DriverCapabilities, Pauses, ScheduleBook } from "../core/driver.ts";
import { asFervoError, type FervoError, QueueError } from "../core/errors.ts";
import type { Finding } from "../core/finding.ts";

/** Many may ask at the same time; it is tried this seldom, milliseconds. */
const EVERY_MS = 500;

export interface LateDriverOptions {
  readonly capabilities: DriverCapabilities;
  readonly leaseMs: number | undefined;
}

/** A broker that cannot be opened yet, as the folder of its file is not mounted: calls reject until one has opened it. */
export class LateDriver implements Driver {
  readonly capabilities: DriverCapabilities;
  readonly leaseMs: number | undefined;
  readonly #clock: Clock;
  readonly #open: () => Driver;
  #opened: Driver | undefined;
  #failed: { readonly error: FervoError; readonly atMs: number } | undefined;
  #isClosed = false;

  /** @param deps.open Throws QUEUE_UNAVAILABLE while it cannot be opened; is called no more once it was. */
  constructor(deps: { clock: Clock; open: () => Driver }, { capabilities, leaseMs }: LateDriverOptions) {
    this.#clock = deps.clock;
    this.#open = deps.open;
    this.capabilities = capabilities;
    this.leaseMs = leaseMs;
  }

  readonly receive: Driver["receive"] = async (request) => await this.#driver.receive(request);
  readonly push: Driver["push"] = async (...args) => await this.#driver.push(...args);
  readonly depth: Driver["depth"] = async (queue) => await this.#driver.depth(queue);
  readonly latencyMs: Driver["latencyMs"] = async (queue) => await this.#driver.latencyMs(queue);
  readonly census: Driver["census"] = async (queues) => await this.#driver.census(queues);
  readonly queues: Driver["queues"] = async () => await this.#driver.queues();
  readonly findings = async (): Promise<Finding[]> => await this.#driver.findings?.() ?? [];

  readonly dead: DeadLetters = {
    list: async (o) => await this.#driver.dead.list(o),
    get: async (id) => await this.#driver.dead.get(id),
    find: async (ids) => await this.#driver.dead.find(ids),
    retry: async (ids) => await this.#driver.dead.retry(ids),
    remove: async (ids) => await this.#driver.dead.remove(ids),
  };
  readonly pauses: Pauses = {
    list: async () => await this.#driver.pauses.list(),
    pause: async (queue) => await this.#driver.pauses.pause(queue),
    resume: async (queue) => await this.#driver.pauses.resume(queue),
  };
  readonly schedule: ScheduleBook = {
    begin: async (slot) => await this.#driver.schedule!.begin(slot),
    push: async (...args) => await this.#driver.schedule!.push(...args),
    skip: async (slot) => await this.#driver.schedule!.skip(slot),
    setAside: async (...args) => await this.#driver.schedule!.setAside(...args),
    look: async (...args) => await this.#driver.schedule!.look(...args),
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

  get #driver(): Driver {
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
