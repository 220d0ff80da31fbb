import { Backoff } from "../../core/time/backoff.ts";
import { BrokerState } from "../../core/broker_state.ts";
import { type Clock, sleep, type Timer } from "../../core/time/clock.ts";
import type { Delivery, Lease } from "../../core/delivery.ts";
import type { Broker } from "../../core/broker.ts";
import { asFervoError, FervoError, JobError } from "../../core/errors.ts";
import type { Format } from "../../core/format.ts";
import type { Observer } from "../../core/observer.ts";
import type { Outcome, Verdict } from "../../core/outcome.ts";
import { retryDelayMs, type RetryPolicy } from "../../core/retry.ts";
import type { JobTrace, RunTrace } from "../../core/trace.ts";

/** A delivery that is not settled yet. */
export interface InFlightJob {
  readonly delivery: Delivery;
  /** When it began to run, monotonic milliseconds; undefined before. */
  startedMs: number | undefined;
  /** Names the job to observers; the message can have a name of its own for it. */
  id: string;
  /** 1 is the first, and what counts where the broker does not know. */
  readonly attempt: number;
  /** Attempts that this job may have; the message can have its own limit. */
  maxAttempts: number;
  /** After this time a failure is final, epoch milliseconds; the message can have such a limit. */
  retryUntilMs?: number | undefined;
  /** Where its attempt stands in a trace, where traces are made. */
  trace?: JobTrace;
  /** Its settle is under way or done: at shutdown there is nothing to release. */
  isSettling: boolean;
  /** It is no longer ours, as was seen before its settle shows that. */
  isLost: boolean;
}

export interface InFlightOptions {
  /** The consumer's name. */
  readonly name: string;
  readonly retry: RetryPolicy;
  readonly maxInFlightBytes: number;
  /** The longest pause between two attempts to settle, milliseconds. */
  readonly pauseMaxMs: number;
}

export interface InFlightDeps {
  readonly broker: Pick<Broker, "format" | "capabilities">;
  readonly clock: Clock;
  readonly observe: Observer;
  /** Numbers in [0, 1). */
  readonly random: () => number;
  /** Called when one begins to go back that did not run. */
  readonly onRelease: () => void;
  /** Called with those whose renewal has shown that they are ours no more. */
  readonly onLost: (gone: readonly Delivery[]) => void;
  /** Called when there is one less. */
  readonly onChange: () => void;
}

/**
 * The deliveries that a consumer has taken and not settled.
 *
 * 1. Renews their leases.
 * 2. Settles each by the verdict on its outcome ({@link decide}), and repeats that until the broker has taken it or it has to give up.
 */
export class InFlight {
  readonly #deps: InFlightDeps;
  readonly #options: InFlightOptions;
  readonly #all = new Set<InFlightJob>();
  readonly #givenUp = new AbortController();
  readonly #settling: BrokerState;
  readonly #extending: BrokerState;
  #renewal: Timer | undefined;
  #renewAtMs = 0;
  #orphaned = 0;
  #bytes = 0;
  #hasCut = false;

  constructor(deps: InFlightDeps, options: InFlightOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#settling = new BrokerState(deps.observe, { consumer: options.name, during: "settle" });
    this.#extending = new BrokerState(deps.observe, { consumer: options.name, during: "extend" });
  }

  get size(): number {
    return this.#all.size;
  }

  /** How many bytes more may be taken. */
  get roomBytes(): number {
    return this.#options.maxInFlightBytes - this.#bytes;
  }

  /** Deliveries that could not be settled before the end. */
  get orphaned(): number {
    return this.#orphaned;
  }

  add(delivery: Delivery): InFlightJob {
    const entry: InFlightJob = {
      delivery,
      startedMs: undefined,
      id: delivery.id,
      attempt: delivery.attempt ?? 1,
      maxAttempts: this.#options.retry.attempts,
      isSettling: false,
      isLost: false,
    };
    this.#all.add(entry);
    this.#bytes += delivery.message.body.length;
    if (delivery.lease !== undefined) this.#renewBy(delivery.lease.ms / 3);
    return entry;
  }

  /** Puts back what no slot has begun, of what is not being settled already; the last one first, for each goes to the front of its queue. */
  putBack(all: readonly InFlightJob[]): void {
    // An error takes microseconds, and mostly there is nothing to put back.
    if (all.length === 0) return;
    const error = new FervoError("SHUTDOWN", "The job was not begun");
    for (const entry of all.toReversed()) {
      if (!entry.isSettling) void this.settle(entry, { kind: "release", reason: "shutdown", error });
    }
  }

  /**
   * Settles, again and again until the broker has taken it or it has to give up. Never rejects.
   *
   * @param endedMs When the job ended, monotonic milliseconds; now, when absent.
   */
  async settle(
    entry: InFlightJob,
    outcome: Outcome,
    endedMs = this.#deps.clock.monotonicMs(),
  ): Promise<void> {
    entry.isSettling = true;
    if (outcome.kind === "release") this.#deps.onRelease();
    const { clock, random } = this.#deps;
    const nowMs = clock.nowMs();
    const runMs = endedMs - (entry.startedMs ?? endedMs);
    const { readyAtMs } = entry.delivery;
    const waitMs = readyAtMs === undefined ? undefined : Math.max(nowMs - runMs - readyAtMs, 0);
    // Of a batch that ended early some were given a trace, and never ran.
    const trace = entry.trace !== undefined && entry.startedMs !== undefined &&
      { trace: { ...entry.trace, startedAtMs: nowMs - runMs } };
    let verdict = this.#verdictOf(outcome, entry, nowMs);
    let backoff: Backoff | undefined;
    for (;;) {
      const failure = await this.#trySettle(entry, verdict, { waitMs, runMs, ...trace });
      if (failure === undefined) break;
      if (verdict.kind === "replace" && failure.code === "JOB_MALFORMED") {
        verdict = this.#verdictOf({ kind: "retry", error: failure }, entry, nowMs);
        continue;
      }
      this.#settling.failed(failure);
      if (this.#givenUp.signal.aborted) {
        this.#orphaned++;
        break;
      }
      backoff ??= new Backoff({ random }, { maxMs: this.#options.pauseMaxMs });
      await sleep(clock, backoff.nextMs(), this.#givenUp.signal);
    }
    this.#all.delete(entry);
    this.#bytes -= entry.delivery.message.body.length;
    this.#deps.onChange();
  }

  #verdictOf(outcome: Outcome, { attempt, maxAttempts, retryUntilMs }: InFlightJob, nowMs: number): Verdict {
    // The common case needs no facts.
    if (outcome.kind === "ack") return outcome;
    const { broker: { format, capabilities }, random } = this.#deps;
    const { retry } = this.#options;
    const keepsHeaders = capabilities.headers;
    return this.#kept(
      decide(outcome, { attempt, maxAttempts, retryUntilMs, nowMs, retry, format, random, keepsHeaders }),
    );
  }

  /** A delay that the broker keeps: a longer one is cut, and the first of them is told. */
  #kept(verdict: Verdict): Verdict {
    const { broker, observe } = this.#deps;
    const { maxMs } = broker.capabilities.retryDelay;
    if (!("delayMs" in verdict) || verdict.delayMs === undefined || verdict.delayMs <= maxMs) return verdict;
    const { delayMs } = verdict;
    if (!this.#hasCut) observe({ type: "delay_cut", consumer: this.#options.name, delayMs, maxMs });
    this.#hasCut = true;
    return { ...verdict, delayMs: maxMs };
  }

  /** From now on a settle that fails is not tried again. Idempotent. */
  giveUp(): void {
    this.#givenUp.abort();
  }

  /** Forgets its timer. */
  close(): void {
    this.#renewal?.cancel();
  }

  /** Returns why the broker did not take it; undefined when it did, or when the job is ours no more. */
  async #trySettle(
    { delivery, id, attempt }: InFlightJob,
    verdict: Verdict,
    run: { waitMs: number | undefined; runMs: number; trace?: RunTrace },
  ): Promise<FervoError | undefined> {
    const { observe } = this.#deps;
    const consumer = this.#options.name;
    const { queue } = delivery;
    try {
      await delivery.settle(verdict);
      this.#settling.worked();
      observe({ type: "job_settled", consumer, queue, id, attempt, verdict, ...run });
      return undefined;
    } catch (thrown) {
      const error = asFervoError(thrown);
      if (error.code !== "LEASE_LOST") return error;
      observe({ type: "lease_lost", consumer, queue, id, attempt, ...run });
      return undefined;
    }
  }

  /** Renews all leases in that time, and then every third of the shortest, as long as any is held. */
  #renewBy(ms: number): void {
    const { clock } = this.#deps;
    const atMs = clock.monotonicMs() + ms;
    if (this.#renewal !== undefined && this.#renewAtMs <= atMs) return;
    this.#renewal?.cancel();
    this.#renewAtMs = atMs;
    this.#renewal = clock.setTimer(() => {
      this.#renewal = undefined;
      let shortestMs = Infinity;
      for (const { delivery } of this.#all) {
        if (delivery.lease === undefined) continue;
        shortestMs = Math.min(shortestMs, delivery.lease.ms);
        void this.#renew(delivery, delivery.lease);
      }
      if (shortestMs < Infinity) this.#renewBy(shortestMs / 3);
    }, ms);
  }

  async #renew(delivery: Delivery, lease: Lease): Promise<void> {
    try {
      await lease.extend();
      this.#extending.worked();
    } catch (thrown) {
      // Of a job that runs a lost lease shows when it is settled; one that waits here is not to begin.
      if (asFervoError(thrown).code === "LEASE_LOST") this.#deps.onLost([delivery]);
      else this.#extending.failed(thrown);
    }
  }
}

/**
 * What is to be done with a delivery whose job had this outcome: a retry gets its delay where it brings none, from the rule of
 * the job's format or else from the policy, and after the last attempt, or when the time for attempts is over, becomes a
 * burial; so does a message to take its place that the broker cannot keep as it is. Pure.
 */
export function decide(
  outcome: Outcome,
  job: {
    attempt: number;
    maxAttempts: number;
    /** Epoch milliseconds. */
    retryUntilMs?: number | undefined;
    nowMs: number;
    retry: RetryPolicy;
    format: Pick<Format, "retryDelayMs">;
    random: () => number;
    /** Whether the broker keeps headers; without them a message that has some is another one. */
    keepsHeaders?: boolean;
  },
): Verdict {
  if (outcome.kind === "replace") {
    const names = Object.keys(outcome.message.headers);
    if (job.keepsHeaders === false && names.length > 0) {
      return decide({ kind: "retry", error: headersRefused(names) }, job);
    }
    return outcome;
  }
  if (outcome.kind !== "retry") return outcome;
  const { attempt, maxAttempts, retryUntilMs = Infinity, nowMs, retry, format, random } = job;
  if (attempt >= maxAttempts || nowMs > retryUntilMs) return { kind: "bury", error: outcome.error };
  const delayMs = outcome.delayMs ?? format.retryDelayMs?.(attempt, random()) ??
    retryDelayMs(retry, attempt, random());
  return { ...outcome, delayMs };
}

function headersRefused(names: readonly string[]): JobError {
  return new JobError(
    "JOB_MALFORMED",
    `The replacement message has headers (${
      names.join(", ").slice(0, 200)
    }), and the broker stores none: put them ` +
      "into its body",
  );
}
