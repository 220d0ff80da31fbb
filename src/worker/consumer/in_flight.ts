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

/** A delivery that is not settled. */
export interface InFlightJob {
  readonly delivery: Delivery;
  /** When it began to run, monotonic milliseconds; undefined before. */
  startedMs: number | undefined;
  /** Names the job for observers; the message may have its own id. */
  id: string;
  /** From 1; 1 where the broker does not know. */
  readonly attempt: number;
  /** The limit of attempts; the message may have its own. */
  maxAttempts: number;
  /** After this time a failure is final, epoch milliseconds; undefined without such a limit. */
  retryUntilMs?: number | undefined;
  /** The position of its attempt in a trace, with tracing. */
  trace?: JobTrace;
  /** Its settle has begun: at shutdown there is nothing to release. */
  isSettling: boolean;
  /** It is known to be lost before its settle shows that. */
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
  readonly random: () => number;
  /** Called when a job that did not run begins to go back. */
  readonly onRelease: () => void;
  /** Called with deliveries whose renewal shows that they are lost. */
  readonly onLost: (gone: readonly Delivery[]) => void;
  /** Called when a delivery is settled. */
  readonly onChange: () => void;
}

/**
 * The deliveries in flight of a consumer.
 *
 * 1. Renews their leases.
 * 2. Settles each by the verdict on its outcome ({@link decide}), again and again until the broker has taken it or the worker
 *    gives up.
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

  get roomBytes(): number {
    return this.#options.maxInFlightBytes - this.#bytes;
  }

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

  /**
   * Puts back jobs that no slot has begun and that are not being settled; the last one first, because each goes to the front of
   * its queue.
   */
  putBack(all: readonly InFlightJob[]): void {
    // An error takes microseconds to make, and usually there is nothing to put back.
    if (all.length === 0) return;
    const error = new FervoError("SHUTDOWN", "The job was not begun");
    for (const entry of all.toReversed()) {
      if (!entry.isSettling) void this.settle(entry, { kind: "release", reason: "shutdown", error });
    }
  }

  /**
   * Settles, again and again until the broker has taken it or the worker gives up. Never rejects.
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
    // Some jobs of a batch that ended early have a trace, and never ran.
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

  /** Cuts a delay that is too long for the broker, and reports the first. */
  #kept(verdict: Verdict): Verdict {
    const { broker, observe } = this.#deps;
    const { maxMs } = broker.capabilities.retryDelay;
    if (!("delayMs" in verdict) || verdict.delayMs === undefined || verdict.delayMs <= maxMs) return verdict;
    const { delayMs } = verdict;
    if (!this.#hasCut) observe({ type: "delay_cut", consumer: this.#options.name, delayMs, maxMs });
    this.#hasCut = true;
    return { ...verdict, delayMs: maxMs };
  }

  /** A settle that fails from now on is not made again. Idempotent. */
  giveUp(): void {
    this.#givenUp.abort();
  }

  close(): void {
    this.#renewal?.cancel();
  }

  /** Returns why the broker did not take it; undefined when it did, or when the job is lost. */
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

  /** Renews all leases after this time, and then after every third of the shortest, as long as there are any. */
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
      // A running job shows a lost lease at its settle; a waiting job must not begin.
      if (asFervoError(thrown).code === "LEASE_LOST") this.#deps.onLost([delivery]);
      else this.#extending.failed(thrown);
    }
  }
}

/**
 * The verdict on a job with this outcome. A retry without a delay gets one, from the job's format or else from the policy. A
 * retry becomes a burial after the last attempt, or when the time for attempts is over. A replacement that the broker cannot
 * store counts as a retry. Pure.
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
    /** Whether the broker stores headers; a message with headers would change without. */
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
