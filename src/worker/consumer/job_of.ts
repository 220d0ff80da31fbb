import type { Delivery } from "../../core/delivery.ts";
import { asFervoError, type FervoError, JobError } from "../../core/errors.ts";
import type { Job } from "../../core/job.ts";
import { checkedTrace, type JobTrace } from "../../core/trace.ts";
import type { Format } from "../../formats/format.ts";

/** A delivery, as far as it says what the job is. */
export type Message = Pick<
  Delivery,
  | "id"
  | "queue"
  | "raw"
  | "headers"
  | "parsed"
  | "problem"
  | "attempt"
  | "maxAttempts"
  | "enqueuedAtMs"
  | "isRepeat"
>;

/**
 * The job that a delivery carries, or why it carries none that could be run: it cannot be read, it has no try left, or we failed to
 * read it (WORKER_FAULT).
 *
 * @param o.maxAttempts The tries where the message sets no limit of its own.
 * @param o.timeoutMs How long the try may take, milliseconds.
 * @param o.nowMs Epoch milliseconds.
 */
export function jobOf(
  delivery: Message,
  format: Format,
  o: { maxAttempts: number; timeoutMs: number; nowMs: number },
): Job | FervoError {
  if (delivery.problem !== undefined) return delivery.problem;
  let message;
  try {
    message = format.decode(delivery);
  } catch (error) {
    // What is no FervoError is a fault of the format, which says nothing of the message.
    return asFervoError(error);
  }
  const maxAttempts = Math.max(message.maxAttempts ?? o.maxAttempts, message.minAttempts ?? 1);
  if (delivery.attempt > maxAttempts) {
    return new JobError(
      "JOB_CRASHED",
      `This would be try ${delivery.attempt} of ${maxAttempts}: the last one ended without a result, as when its ` +
        "worker is killed, or the limit was lowered",
    );
  }
  return {
    id: message.id ?? delivery.id,
    queue: delivery.queue,
    payload: message.payload,
    attempt: delivery.attempt,
    maxAttempts,
    enqueuedAtMs: timeOf(message.enqueuedAtMs) ?? timeOf(delivery.enqueuedAtMs) ?? o.nowMs,
    deadlineMs: o.nowMs + o.timeoutMs,
    ...(delivery.isRepeat === true && { isRepeat: true }),
    ...(message.retryUntilMs !== undefined && { retryUntilMs: message.retryUntilMs }),
    ...checkedTrace(message.traceparent, message.tracestate),
  };
}

/** The job as its try hands it on, in the trace that the try is a span of. */
export function withTrace({ tracestate, ...job }: Job, trace: JobTrace): Job {
  // It belongs to the trace that it came with.
  const state = trace.parentSpanId !== undefined && tracestate !== undefined && { tracestate };
  return { ...job, traceparent: trace.traceparent, ...state };
}

/** The end of what a date holds, epoch milliseconds. */
const MAX_TIME_MS = 8.64e15;

/** A time that PHP can use; others write any number. */
function timeOf(epochMs: number | undefined): number | undefined {
  return epochMs !== undefined && Math.abs(epochMs) <= MAX_TIME_MS ? Math.round(epochMs) : undefined;
}
