/** The position of one attempt of a job in a distributed trace (W3C Trace Context). */
export interface JobTrace {
  /** Of the whole trace, 32 hexadecimal digits. */
  readonly traceId: string;
  /** Of this attempt, 16 hexadecimal digits. */
  readonly spanId: string;
  /** The producer's span, from the message; undefined where the trace begins here. */
  readonly parentSpanId: string | undefined;
  /** Whether this attempt is exported. */
  readonly isSampled: boolean;
  /** PHP's parent span. */
  readonly traceparent: string;
}

/** The same for an attempt that ran. */
export interface RunTrace extends JobTrace {
  /** Epoch milliseconds, with fractions. */
  readonly startedAtMs: number;
}

/**
 * Begins the span of an attempt.
 *
 * @param traceparent From the message: it may be anything.
 */
export type Tracer = (traceparent: string | undefined) => JobTrace;

export interface TraceParent {
  readonly traceId: string;
  readonly spanId: string;
  readonly isSampled: boolean;
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const SAMPLED = 0x01;

/** Reads a `traceparent` by the rules of W3C Trace Context, section 3.2; undefined when it is invalid. */
export function parseTraceparent(text: string): TraceParent | undefined {
  const [, version, traceId, spanId, flags, more] = TRACEPARENT.exec(text) ?? [];
  if (version === undefined || version === "ff" || /^0+$/.test(traceId!) || /^0+$/.test(spanId!)) {
    return undefined;
  }
  // Only a later version may have more fields.
  if (version === "00" && more !== undefined) return undefined;
  return { traceId: traceId!, spanId: spanId!, isSampled: (Number.parseInt(flags!, 16) & SAMPLED) !== 0 };
}

/** Section 3.3.1.3 of level 2, which includes level 1: `key=value`, or nothing. */
const STATE_MEMBER =
  /^[ \t]*(?:[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])?[ \t]*$/;
const MAX_STATE_MEMBERS = 32;
/** A member has at most 513 characters, and a comma. */
const MAX_STATE_LENGTH = 514 * MAX_STATE_MEMBERS;

/** Whether a `tracestate` is valid by W3C Trace Context, section 3.3. */
export function isTracestate(text: string): boolean {
  if (text.length > MAX_STATE_LENGTH) return false;
  const members = text.split(",");
  return members.length <= MAX_STATE_MEMBERS && members.every((member) => STATE_MEMBER.test(member));
}

/** The valid part of a message's trace context, and the names of invalid fields. */
export interface CheckedTrace {
  readonly traceparent?: string;
  readonly tracestate?: string;
  readonly ignored?: readonly string[];
}

const NO_TRACE: CheckedTrace = Object.freeze({});

/**
 * Checks the trace context of a message, which PHP gets as HTTP headers: only valid fields are passed on. A `traceparent` of a
 * later version is passed on as version 00, a `tracestate` only with a `traceparent`.
 */
export function checkedTrace(traceparent: string | undefined, tracestate: string | undefined): CheckedTrace {
  if (traceparent === undefined) return NO_TRACE;
  const parent = parseTraceparent(traceparent);
  if (parent === undefined) return { ignored: ["traceparent"] };
  const isCurrent = traceparent.startsWith("00-");
  const trace = { traceparent: isCurrent ? traceparent : formatTraceparent(parent) };
  if (tracestate === undefined || tracestate === "") return trace;
  return isTracestate(tracestate) ? { ...trace, tracestate } : { ...trace, ignored: ["tracestate"] };
}

export function formatTraceparent({ traceId, spanId, isSampled }: TraceParent): string {
  return `00-${traceId}-${spanId}-${isSampled ? "01" : "00"}`;
}
