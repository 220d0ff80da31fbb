import { type Clock, sleep } from "../../core/time/clock.ts";
import { timeLimit } from "../../core/time/time_limit.ts";
import type { Capabilities } from "../../core/broker.ts";
import type { Delivery } from "../../core/delivery.ts";
import { asFervoError, type FervoError, JobError } from "../../core/errors.ts";
import type { Format } from "../../core/format.ts";
import type { Job } from "../../core/job.ts";
import type { Observer } from "../../core/observer.ts";
import { type Outcome, outcomeOfFault } from "../../core/outcome.ts";
import type { Executor } from "../../executors/executor.ts";
import type { InFlightJob } from "./in_flight.ts";
import type { Gate } from "./pause.ts";
import type { Slot, Slots } from "./slots.ts";

/** A post-mortem that the application died of is sent once more. */
const MAX_DEATHS = 2;

/**
 * A front controller that passes the check and begins none of this many post-mortems in a row does not support them: it must
 * not stop all jobs.
 */
const MAX_UNHEARD = 3;

/** The pause between two checks of the lease while the broker is unavailable, milliseconds. */
const BROKER_PAUSE_MS = 1_000;

export interface PostMortemDeps {
  readonly executor: Pick<Executor, "tellFailure">;
  readonly format: Pick<Format, "framework">;
  readonly capabilities: Pick<Capabilities, "redeliveries" | "release">;
  readonly clock: Clock;
  readonly observe: Observer;
  readonly slots: Slots;
  readonly gate: Pick<Gate, "unable" | "available" | "opened">;
}

export interface PostMortemOptions {
  /** The consumer's name. */
  readonly name: string;
  /** How long the application may take for a post-mortem, milliseconds. */
  readonly postMortemTimeoutMs: number;
  /** A job that lost its holder more often is not run again; once is the limit where the broker does not count that. */
  readonly redeliveriesMax: number;
}

/**
 * Sends an application's framework the post-mortems of its jobs that died, because PHP cannot do so itself.
 *
 * 1. Sends a post-mortem in the job's slot, while the delivery is ours, with its own time limit.
 * 2. Keeps it while it cannot be sent, for instance without php-fpm, and sends it later.
 * 3. Falls back to the broker's own retry when the application dies of it twice, or does not begin it although it starts.
 */
export class PostMortems {
  readonly #deps: PostMortemDeps;
  readonly #options: PostMortemOptions;

  constructor(deps: PostMortemDeps, options: PostMortemOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  readonly #tooLate = () => {
    const { postMortemTimeoutMs } = this.#options;
    const text =
      `The application took longer than ${postMortemTimeoutMs} ms to handle the post-mortem of a job`;
    return new JobError("JOB_TIMEOUT", text);
  };

  /** Whether post-mortems are sent. */
  get areTold(): boolean {
    return this.#deps.format.framework?.isToldFailures === true;
  }

  /** Whether a delivery must not run, because it lost its holder too often. */
  isAbandoned({ redeliveries = 0 }: Pick<Delivery, "redeliveries">): boolean {
    if (redeliveries === 0 || !this.areTold) return false;
    const { capabilities } = this.#deps;
    // The flag says nothing where a release sets it too: each worker that stops releases some jobs.
    if (capabilities.redeliveries === "flagged") return capabilities.release === "uncounted";
    return redeliveries > this.#options.redeliveriesMax;
  }

  /** The outcome of a job that died. Never rejects. */
  async tell(
    slot: Slot,
    { entry, job }: { entry: InFlightJob; job: Job },
    error: FervoError,
  ): Promise<Outcome> {
    const { executor, gate, slots, observe } = this.#deps;
    const failure = { id: crypto.randomUUID(), code: error.code, message: error.message };
    const fallback: Outcome = { kind: "retry", error };
    let [deaths, unheard] = [0, 0];
    while (deaths < MAX_DEATHS && unheard < MAX_UNHEARD) {
      const { signal } = slots.restart(slot, Infinity);
      if (signal.aborted || !await this.#isOurs(entry, signal)) return fallback;
      using limit = timeLimit(this.#deps.clock, this.#options.postMortemTimeoutMs, this.#tooLate);
      const either = AbortSignal.any([signal, limit.signal]);
      const outcome = await executor.tellFailure!(job, failure, either).catch(outcomeOfFault);
      // The application has answered.
      if (outcome !== undefined && outcome.kind !== "release") {
        gate.available();
        return outcome;
      }
      if (signal.aborted) return fallback;
      if (outcome === undefined) {
        deaths++;
        const { queue, id, attempt } = job;
        observe({
          type: "post_mortem_died",
          consumer: this.#options.name,
          queue,
          id,
          attempt,
          error,
          deaths,
        });
      } else {
        // The next one is sent after the check has passed, or php-fpm is back.
        unheard = outcome.error.code === "APPLICATION_NOT_STARTED" ? unheard + 1 : 0;
        gate.unable(outcome.error);
        await gate.opened(signal);
      }
    }
    return fallback;
  }

  /** Whether the delivery is still ours; waits for a broker that is unavailable. */
  async #isOurs(entry: InFlightJob, signal: AbortSignal): Promise<boolean> {
    while (!signal.aborted) {
      try {
        await entry.delivery.lease?.extend();
        return !entry.isLost;
      } catch (thrown) {
        if (asFervoError(thrown).code === "LEASE_LOST") return false;
        await sleep(this.#deps.clock, BROKER_PAUSE_MS, signal);
      }
    }
    return false;
  }
}
