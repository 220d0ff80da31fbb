import type { Delivery } from "../../core/delivery.ts";
import {
  type Format,
  type JobHead,
  type Message,
  readJob,
  type Unreadable,
  unreadable,
} from "../../core/format.ts";
import { JobError } from "../../core/errors.ts";
import type { Verdict } from "../../core/outcome.ts";
import { tooLarge } from "../../core/text/payload.ts";

interface Settler {
  settle(delivery: BeanstalkdDelivery, verdict: Verdict): Promise<void>;
}

const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({});

/** A job reserved on a connection. The connection renews the reservation by itself, so there is no `extend`. */
export class BeanstalkdDelivery implements Delivery {
  readonly id: string;
  readonly queue: string;
  readonly message: Message;
  readonly job: JobHead | Unreadable;
  readonly attempt: number;
  /** In whole seconds. */
  readonly enqueuedAtMs?: number;
  readonly #settler: Settler;

  /**
   * @param job.body Undefined when it is longer than `maxPayloadBytes`.
   * @param job.isDamaged As `isDamaged` in `reply.ts`.
   */
  constructor(
    settler: Settler,
    job: {
      readonly id: string;
      readonly queue: string;
      readonly body: Uint8Array | undefined;
      readonly bytes: number;
      readonly isDamaged: boolean;
      readonly attempt: number;
      readonly enqueuedAtMs: number | undefined;
    },
    { format, maxPayloadBytes }: { format: Format; maxPayloadBytes: number },
  ) {
    this.#settler = settler;
    this.id = job.id;
    this.queue = job.queue;
    this.message = { body: job.body ?? new Uint8Array(0), headers: NO_HEADERS };
    if (job.body === undefined) {
      this.job = unreadable(tooLarge(job.queue, job.bytes, maxPayloadBytes));
    } else {
      this.job = job.isDamaged ? unreadable(damaged(job.id)) : readJob(format, this.message);
    }
    this.attempt = job.attempt;
    if (job.enqueuedAtMs !== undefined) this.enqueuedAtMs = job.enqueuedAtMs;
  }

  /** beanstalkd cannot store the error. */
  settle(verdict: Verdict): Promise<void> {
    return this.#settler.settle(this, verdict);
  }
}

function damaged(id: string): JobError {
  return new JobError(
    "JOB_MALFORMED",
    `beanstalkd has lost bytes of job "${id}": its log has zeros in their place, as when beanstalkd was killed, or its machine lost ` +
      "power, while the job was being pushed; push it again if its producer did not",
  );
}
