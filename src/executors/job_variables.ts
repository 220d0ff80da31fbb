import type { Job } from "../core/job.ts";

/** An earlier run may have begun this attempt. */
export const REPEAT: [name: string, value: string] = ["FERVO_REPEAT", "1"];

/** What PHP gets about a job beside its payload, by name; see docs/protocol.md. Times are epoch milliseconds. */
export function jobVariables(job: Job): [name: string, value: string][] {
  const variables: [string, string][] = [
    ["FERVO_JOB_ID", job.id],
    ["FERVO_QUEUE", job.queue],
    ["FERVO_ATTEMPT", String(job.attempt)],
    ["FERVO_MAX_ATTEMPTS", String(job.maxAttempts)],
    ["FERVO_ENQUEUED_AT", String(job.enqueuedAtMs)],
    ["FERVO_DEADLINE", String(job.deadlineMs)],
  ];
  if (job.isRepeat) variables.push(REPEAT);
  return variables;
}
