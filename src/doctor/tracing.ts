import type { Clock } from "../core/time/clock.ts";
import { timeLimit } from "../core/time/time_limit.ts";
import type { Finding } from "../core/finding.ts";
import { encodeSpans, exportReason } from "../telemetry/tracing/otlp.ts";

/** The destination of traces. */
export interface TracesToCheck {
  readonly endpoint: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly serviceName: string;
}

/** The limit for the collector's answer, milliseconds. */
const ANSWER_TIMEOUT_MS = 5_000;

/** Whether the collector accepts an export without spans. */
export async function checkTracing(
  clock: Clock,
  { endpoint, headers, serviceName }: TracesToCheck,
): Promise<Finding> {
  const id = "tracing.endpoint";
  const tooLate = () => new Error(`no answer in ${ANSWER_TIMEOUT_MS} ms`);
  using limit = timeLimit(clock, ANSWER_TIMEOUT_MS, tooLate);
  try {
    const answer = await fetch(endpoint, {
      method: "POST",
      headers: { ...headers, "content-type": "application/json" },
      body: encodeSpans([], { "service.name": serviceName }, ""),
      redirect: "manual",
      signal: limit.signal,
    });
    await answer.body?.cancel();
    if (answer.ok) return { id, severity: "ok", what: `"${endpoint}" accepts traces` };
    return problem(`"${endpoint}" answers an export with status ${answer.status}`);
  } catch (error) {
    return problem(`Cannot reach "${endpoint}": ${exportReason(error)}`);
  }
}

function problem(what: string): Finding {
  return {
    id: "tracing.endpoint",
    severity: "warning",
    what,
    why: "jobs run, and their traces are dropped",
    fix:
      'in [tracing]: endpoint = where the collector takes OTLP/HTTP, such as "http://127.0.0.1:4318/v1/traces"; or ' +
      "headers that it accepts",
  };
}
