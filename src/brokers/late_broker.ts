import type { Broker, Capabilities, ReceiveRequest, SubscribeOptions, Subscription } from "../core/broker.ts";
import type { BrokerAdmin, DeadLetters, Pauses, ScheduleBook } from "../core/admin.ts";
import type { Delivery } from "../core/delivery.ts";
import { asFervoError, type FervoError, QueueError } from "../core/errors.ts";
import type { Format } from "../core/format.ts";
import type { Clock } from "../core/time/clock.ts";

/** However many callers ask, it is opened at most once in this time, milliseconds. */
const EVERY_MS = 500;

/** A broker with all parts of administration. */
type WholeBroker = Broker & { readonly admin: Required<BrokerAdmin> };

/** A broker that cannot open yet, for instance because its folder is not mounted: calls reject until one has opened it. */
export class LateBroker implements Broker {
  readonly capabilities: Capabilities;
  readonly format: Format;
  readonly #clock: Clock;
  readonly #open: () => WholeBroker;
  #opened: WholeBroker | undefined;
  #failed: { readonly error: FervoError; readonly atMs: number } | undefined;
  #isClosed = false;

  /** @param deps.open Throws QUEUE_UNAVAILABLE while it cannot open; not called again after a success. */
  constructor(
    deps: { clock: Clock; open: () => WholeBroker },
    { capabilities, format }: Pick<Broker, "capabilities" | "format">,
  ) {
    this.#clock = deps.clock;
    this.#open = deps.open;
    this.capabilities = capabilities;
    this.format = format;
  }

  subscribe(options: SubscribeOptions): Subscription {
    return new LateSubscription(() => this.#broker, options);
  }

  readonly push: Broker["push"] = async (...args) => await this.#broker.push(...args);

  readonly admin: Required<BrokerAdmin> = {
    queues: async () => await this.#broker.admin.queues(),
    depth: async (queue) => await this.#broker.admin.depth(queue),
    latencyMs: async (queue) => await this.#broker.admin.latencyMs(queue),
    census: async (queues) => await this.#broker.admin.census(queues),
    jobs: async (...args) => await this.#broker.admin.jobs(...args),
    purge: async (queue) => await this.#broker.admin.purge(queue),
    findings: async (consumed) => await this.#broker.admin.findings(consumed),
    dead: lateParts<DeadLetters>(
      ["list", "groups", "get", "find", "retry", "remove"],
      () => this.#broker.admin.dead,
    ),
    pauses: {
      isEnforced: false,
      ...lateParts<Omit<Pauses, "isEnforced">>(["list", "pause", "resume"], () => this.#broker.admin.pauses),
    },
    schedule: lateParts<ScheduleBook>(
      ["begin", "push", "skip", "setAside", "look"],
      () => this.#broker.admin.schedule,
    ),
  };

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#opened?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  get #broker(): WholeBroker {
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

/** A part of a broker's administration that looks up the real part at each call. */
function lateParts<Part>(names: readonly (keyof Part)[], part: () => Part): Part {
  const late = (name: keyof Part) => async (...args: unknown[]) =>
    await (part()[name] as (...args: unknown[]) => unknown)(...args);
  return Object.fromEntries(names.map((name) => [name, late(name)])) as Part;
}

/** Begins when its broker has opened. */
class LateSubscription implements Subscription {
  readonly #broker: () => Broker;
  readonly #options: SubscribeOptions;
  #capacity: number;
  #begun: Subscription | undefined;

  constructor(broker: () => Broker, options: SubscribeOptions) {
    this.#broker = broker;
    this.#options = options;
    this.#capacity = options.capacity;
  }

  async receive(request: ReceiveRequest, signal: AbortSignal): Promise<Delivery[]> {
    this.#begun ??= this.#broker().subscribe({ ...this.#options, capacity: this.#capacity });
    return await this.#begun.receive(request, signal);
  }

  resize(capacity: number): void {
    this.#capacity = capacity;
    this.#begun?.resize(capacity);
  }

  async stop(): Promise<void> {
    await this.#begun?.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#begun?.[Symbol.asyncDispose]();
  }
}
