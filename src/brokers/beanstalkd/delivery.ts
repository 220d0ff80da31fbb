import type { Delivery } from "../../core/delivery.ts";
import type { FervoError } from "../../core/errors.ts";
import type { Verdict } from "../../core/outcome.ts";
import { tooLarge } from "../../core/text/payload.ts";

/** Settles what is reserved on its connection. */
interface Settler {
  settle(delivery: BeanstalkdDelivery, verdict: Verdict): Promise<void>;
}

const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({});

/** A job that is reserved on a connection. That renews the reservation by itself, so there is no need to `extend`. */
export class BeanstalkdDelivery implements Delivery {
  readonly id: string;
  readonly queue: string;
  readonly raw: Uint8Array;
  readonly headers = NO_HEADERS;
  readonly problem?: FervoError;
  readonly attempt: number;
  /** Known to the second. */
  readonly enqueuedAtMs?: number;
  readonly #settler: Settler;

  /** @param job.body Undefined when it is longer than `maxPayloadBytes`. */
  constructor(
    settler: Settler,
    job: {
      readonly id: string;
      readonly queue: string;
      readonly body: Uint8Array | undefined;
      readonly bytes: number;
      readonly attempt: number;
      readonly enqueuedAtMs: number | undefined;
    },
    maxPayloadBytes: number,
  ) {
    this.#settler = settler;
    this.id = job.id;
    this.queue = job.queue;
    this.raw = job.body ?? new Uint8Array(0);
    this.attempt = job.attempt;
    if (job.enqueuedAtMs !== undefined) this.enqueuedAtMs = job.enqueuedAtMs;
    if (job.body === undefined) this.problem = tooLarge(job.queue, job.bytes, maxPayloadBytes);
  }

  /** The error is not kept: beanstalkd has no place for it. */
  settle(verdict: Verdict): Promise<void> {
    return this.#settler.settle(this, verdict);
  }
}
