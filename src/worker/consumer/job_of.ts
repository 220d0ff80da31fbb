import type { Delivery } from "../../core/delivery.ts";
import { JobError } from "../../core/errors.ts";
import { type Format, isUnreadable, type Unreadable, unreadable } from "../../core/format.ts";
import type { Job } from "../../core/job.ts";
import { checkedTrace, type JobTrace } from "../../core/trace.ts";

/**
 * The job that a delivery carries, or why it carries none that could be run: it cannot be read, or has no attempt left.
 *
 * @param o.maxAttempts The attempts where the message sets no limit of its own.
 * @param o.timeoutMs How long the attempt may take, milliseconds.
 * @param o.nowMs Epoch milliseconds.
 * @param o.format Of the message.
 */
export function jobOf(
  delivery: Pick<Delivery, "id" | "queue" | "message" | "job" | "attempt" | "enqueuedAtMs" | "isRepeat">,
  o: { maxAttempts: number; timeoutMs: number; nowMs: number; format: Pick<Format, "name" | "framework"> },
): Job | Unreadable {
  const { job: head, attempt = 1 } = delivery;
  if (isUnreadable(head)) return head;
  const maxAttempts = Math.max(head.maxAttempts ?? o.maxAttempts, head.minAttempts ?? 1);
  if (attempt > maxAttempts) {
    return unreadable(
      new JobError(
        "JOB_CRASHED",
        `This would be try ${attempt} of ${maxAttempts}: the last one ended without a result, as when its ` +
          "worker is killed, or the limit was lowered",
      ),
    );
  }
  const framework = o.format.framework !== undefined &&
    { framework: { format: o.format.name, headers: delivery.message.headers } };
  return {
    id: head.id ?? delivery.id,
    queue: delivery.queue,
    payload: head.payload,
    attempt,
    maxAttempts,
    enqueuedAtMs: timeOf(head.enqueuedAtMs) ?? timeOf(delivery.enqueuedAtMs) ?? o.nowMs,
    deadlineMs: o.nowMs + o.timeoutMs,
    ...(delivery.isRepeat === true && { isRepeat: true }),
    ...(head.retryUntilMs !== undefined && { retryUntilMs: head.retryUntilMs }),
    ...checkedTrace(head.traceparent, head.tracestate),
    ...framework,
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
