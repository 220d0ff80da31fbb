import { JobError } from "../../core/errors.ts";
import type { Delivery } from "../../core/delivery.ts";
import { type Format, isUnreadable, type Unreadable, unreadable, type Writable } from "../../core/format.ts";
import type { Job } from "../../core/job.ts";
import type { Observer } from "../../core/observer.ts";
import { type Outcome, outcomeOfFault } from "../../core/outcome.ts";
import type { Clock } from "../../core/time/clock.ts";
import { checkedTrace, type JobTrace, type Tracer } from "../../core/trace.ts";
import type { Executor } from "../../executors/executor.ts";
import type { InFlightJob } from "./in_flight.ts";
import type { PostMortems } from "./post_mortem.ts";
import type { Slot, Slots } from "./slots.ts";

export interface SlotRunnerDeps {
  readonly executor: Executor;
  readonly clock: Clock;
  readonly observe: Observer;
  readonly tracer: Tracer | undefined;
  readonly slots: Slots;
  readonly format: Format;
  readonly postMortems: PostMortems;
  /** Settles a job that ended while others of its slot go on. */
  readonly settle: (entry: InFlightJob, outcome: Outcome, endedMs?: number) => void;
  /** Settles a delivery with an unreadable job, which says nothing about the executor. */
  readonly refuse: (entry: InFlightJob, why: Unreadable) => void;
  /** Aborted when the worker must end now. */
  readonly cut: AbortSignal;
}

export interface SlotRunnerOptions {
  /** The consumer's name. */
  readonly name: string;
  readonly batchSize: number;
  readonly timeoutMs: number;
}

/** A delivery and its job. */
interface Ready {
  readonly entry: InFlightJob;
  readonly job: Job;
}

/** How a slot's run ended. */
export interface SlotEnd {
  /** The jobs to settle when the slot is free; several when they ran at once, in one request. */
  readonly ran: readonly InFlightJob[];
  /** Their outcome; undefined without jobs. */
  readonly outcome: Outcome | undefined;
  /** Jobs that did not begin. */
  readonly left: readonly InFlightJob[];
}

const NONE: readonly InFlightJob[] = [];
const NOTHING: SlotEnd = { ran: NONE, outcome: undefined, left: NONE };

/** Runs the jobs of a slot: reads each delivery, and lets the executor run the readable ones. */
export class SlotRunner {
  readonly #deps: SlotRunnerDeps;
  readonly #options: SlotRunnerOptions;
  /** Whether each slot runs one job, without a framework. */
  readonly #isAlone: boolean;

  constructor(deps: SlotRunnerDeps, options: SlotRunnerOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#isAlone = options.batchSize === 1 && deps.format.framework === undefined;
  }

  /** Runs them. Each but the last is settled as soon as its outcome has come. Never rejects. */
  run(slot: Slot): Promise<SlotEnd> {
    // The common case takes the short way: each further array or promise would cost every job.
    return this.#isAlone ? this.#runOne(slot) : this.#runAll(slot);
  }

  async #runOne(slot: Slot): Promise<SlotEnd> {
    const { executor, refuse, cut } = this.#deps;
    const { jobs } = slot;
    const entry = jobs[0]!;
    // The worker was told to end now just as the job was received.
    if (cut.aborted) return { ran: NONE, outcome: undefined, left: jobs };
    const job = this.#jobOf(entry);
    if (isUnreadable(job)) {
      refuse(entry, job);
      return NOTHING;
    }
    this.#began(slot, entry, job);
    const outcome = await executor.execute(job, slot.abort.signal, slot).catch(outcomeOfFault);
    return { ran: jobs, outcome, left: NONE };
  }

  async #runAll(slot: Slot): Promise<SlotEnd> {
    const { refuse, cut, postMortems } = this.#deps;
    // As above.
    if (cut.aborted) return { ran: NONE, outcome: undefined, left: slot.jobs };
    let ready: Ready[] = [];
    const abandoned: Ready[] = [];
    for (const entry of slot.jobs) {
      const isAbandoned = postMortems.isAbandoned(entry.delivery);
      const job = this.#jobOf(entry, isAbandoned);
      if (isUnreadable(job)) refuse(entry, job);
      else (isAbandoned ? abandoned : ready).push({ entry, job });
    }
    if (abandoned.length > 0) {
      await this.#tellAbandoned(slot, abandoned);
      // PHP would refuse the others as late.
      const deadlineMs = this.#deps.clock.nowMs() + this.#options.timeoutMs;
      ready = ready.map(({ entry, job }) => ({ entry, job: { ...job, deadlineMs } }));
    }
    if (ready.length === 0 || cut.aborted) return { ...NOTHING, left: entriesOf(ready) };
    return await this.#runBatch(slot, ready);
  }

  /** A framework's jobs report when they begin, may run several at once, and get post-mortems; others run one after the other. */
  async #runBatch(slot: Slot, ready: readonly Ready[]): Promise<SlotEnd> {
    const { executor, format, slots, settle, postMortems, clock } = this.#deps;
    /** Jobs without an outcome, in order. */
    const open = new Map(ready.map((one) => [one.job, one]));
    const beginNext = () => {
      const [next] = open.values();
      if (format.framework === undefined && next !== undefined) this.#began(slot, next.entry, next.job);
    };
    const onBegun = (job: Job) => {
      slots.next(slot);
      this.#began(slot, open.get(job)!.entry, job);
    };
    const onOutcome = (outcome: Outcome, job: Job) => {
      settle(open.get(job)!.entry, outcome);
      open.delete(job);
      slots.next(slot);
      beginNext();
    };
    beginNext();
    const jobs = ready.map(({ job }) => job);
    const { timeoutMs } = this.#options;
    const end = await executor.executeBatch!({ jobs, timeoutMs, onBegun, onOutcome }, slot.abort.signal, slot)
      .catch((fault) => ({
        outcome: outcomeOfFault(fault),
        jobs: [...open.keys()].slice(0, 1),
        hasEnded: false,
      }));
    const ran = end?.jobs.map((job) => open.get(job)!) ?? [];
    for (const { job } of ran) open.delete(job);
    const left = entriesOf([...open.values()]);
    // A job that may still run gets no post-mortem; its broker hands it out again.
    if (end?.outcome.kind !== "retry" || !end.hasEnded || !postMortems.areTold) {
      return { ran: entriesOf(ran), outcome: end?.outcome, left };
    }
    const endedMs = clock.monotonicMs();
    for (const { entry, job } of ran) {
      settle(entry, await postMortems.tell(slot, { entry, job }, end.outcome.error), endedMs);
    }
    return { ran: NONE, outcome: undefined, left };
  }

  /** These jobs lost their workers too often: they do not run again, and their framework counts a failure. */
  async #tellAbandoned(slot: Slot, abandoned: readonly Ready[]): Promise<void> {
    const { settle, postMortems, slots } = this.#deps;
    for (const { entry, job } of abandoned) {
      const { redeliveries } = entry.delivery;
      const text =
        `The job lost its worker ${redeliveries} times or more: each was killed, or lost its connection, while the job ran`;
      settle(entry, await postMortems.tell(slot, { entry, job }, new JobError("JOB_ABANDONED", text)));
    }
    slots.restart(slot);
  }

  #jobOf(entry: InFlightJob, isAbandoned = false): Job | Unreadable {
    const { clock, tracer, format } = this.#deps;
    const { maxAttempts } = entry;
    const { timeoutMs } = this.#options;
    const job = jobOf(entry.delivery, { maxAttempts, timeoutMs, nowMs: clock.nowMs(), format, isAbandoned });
    if (isUnreadable(job)) return job;
    ({ id: entry.id, maxAttempts: entry.maxAttempts, retryUntilMs: entry.retryUntilMs } = job);
    if (tracer === undefined) return job;
    entry.trace = tracer(job.traceparent);
    return withTrace(job, entry.trace);
  }

  #began(slot: Slot, entry: InFlightJob, { queue, id, attempt, ignored }: Job): void {
    // It was cut off.
    if (entry.isSettling) return;
    entry.startedMs = slot.beganMs;
    const event = { type: "job_started", consumer: this.#options.name, queue, id, attempt } as const;
    this.#deps.observe(ignored === undefined ? event : { ...event, ignored });
  }
}

function entriesOf(ready: readonly Ready[]): readonly InFlightJob[] {
  return ready.length === 0 ? NONE : ready.map(({ entry }) => entry);
}

/**
 * The job of a delivery, or why there is none to run: it is unreadable, or has no attempt left.
 *
 * @param o.maxAttempts The limit where the message has none of its own.
 * @param o.timeoutMs How long the attempt may take, milliseconds.
 * @param o.nowMs Epoch milliseconds.
 * @param o.format Of the message.
 * @param o.isAbandoned It does not run, but gets a post-mortem, whatever attempts it has left.
 */
export function jobOf(
  delivery: Pick<Delivery, "id" | "queue" | "message" | "job" | "attempt" | "enqueuedAtMs" | "isRepeat">,
  o: {
    maxAttempts: number;
    timeoutMs: number;
    nowMs: number;
    format: Pick<Format, "name" | "framework">;
    isAbandoned?: boolean;
  },
): Job | Unreadable {
  const { job: head, attempt = 1 } = delivery;
  if (isUnreadable(head)) return head;
  const maxAttempts = Math.max(head.maxAttempts ?? o.maxAttempts, head.minAttempts ?? 1);
  if (attempt > maxAttempts && o.isAbandoned !== true) {
    return unreadable(
      new JobError(
        "JOB_CRASHED",
        `This would be attempt ${attempt} of ${maxAttempts}: the last attempt ended without a result, as when its ` +
          "worker is killed, or the limit was lowered",
      ),
    );
  }
  const job: Writable<Job> = {
    id: head.id ?? delivery.id,
    queue: delivery.queue,
    payload: head.payload,
    attempt,
    maxAttempts,
    enqueuedAtMs: timeOf(head.enqueuedAtMs) ?? timeOf(delivery.enqueuedAtMs) ?? o.nowMs,
    deadlineMs: o.nowMs + o.timeoutMs,
  };
  // Most jobs have none of these, and a spread would cost every job.
  if (delivery.isRepeat === true) job.isRepeat = true;
  if (head.retryUntilMs !== undefined) job.retryUntilMs = head.retryUntilMs;
  if (head.traceparent !== undefined) Object.assign(job, checkedTrace(head.traceparent, head.tracestate));
  if (o.format.framework !== undefined) {
    job.framework = { format: o.format.name, headers: delivery.message.headers };
  }
  return job;
}

/** The job with the trace context of its attempt, for PHP to hand on. */
export function withTrace({ tracestate, ...job }: Job, trace: JobTrace): Job {
  // It belongs to the trace of the message.
  const state = trace.parentSpanId !== undefined && tracestate !== undefined && { tracestate };
  return { ...job, traceparent: trace.traceparent, ...state };
}

/** The latest time that a date can hold, epoch milliseconds. */
const MAX_TIME_MS = 8.64e15;

/** A time that PHP can use; foreign messages may have any number. */
function timeOf(epochMs: number | undefined): number | undefined {
  return epochMs !== undefined && Math.abs(epochMs) <= MAX_TIME_MS ? Math.round(epochMs) : undefined;
}
