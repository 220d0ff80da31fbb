/** Where one attempt of a job stands in a distributed trace (W3C Trace Context). */
export interface JobTrace {
  /** Of the whole trace, 32 hexadecimal digits. */
  readonly traceId: string;
  /** Of this attempt, 16 hexadecimal digits. */
  readonly spanId: string;
  /** Of what the message says has pushed the job; undefined where the trace begins here. */
  readonly parentSpanId: string | undefined;
  /** Whether this attempt is told to whoever collects traces. */
  readonly isSampled: boolean;
  /** What PHP gets as its parent. */
  readonly traceparent: string;
}

/** The same of an attempt that ran. */
export interface RunTrace extends JobTrace {
  /** Epoch milliseconds, with fractions. */
  readonly startedAtMs: number;
}

/**
 * Begins the span of an attempt.
 *
 * @param traceparent As the message has it: it may be anything.
 */
export type Tracer = (traceparent: string | undefined) => JobTrace;

/** What a `traceparent` says. */
export interface TraceParent {
  readonly traceId: string;
  readonly spanId: string;
  readonly isSampled: boolean;
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const SAMPLED = 0x01;

/** Reads a `traceparent` by the rules of W3C Trace Context, section 3.2; undefined when it breaks one. */
export function parseTraceparent(text: string): TraceParent | undefined {
  const [, version, traceId, spanId, flags, more] = TRACEPARENT.exec(text) ?? [];
  if (version === undefined || version === "ff" || /^0+$/.test(traceId!) || /^0+$/.test(spanId!)) {
    return undefined;
  }
  // Only a later version may have more fields.
  if (version === "00" && more !== undefined) return undefined;
  return { traceId: traceId!, spanId: spanId!, isSampled: (Number.parseInt(flags!, 16) & SAMPLED) !== 0 };
}

/** Section 3.3.1.3 of level 2, which allows all that level 1 does: `key=value`, or nothing. */
const STATE_MEMBER =
  /^[ \t]*(?:[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])?[ \t]*$/;
const MAX_STATE_MEMBERS = 32;
/** A member has at most 513 characters, and a comma. */
const MAX_STATE_LENGTH = 514 * MAX_STATE_MEMBERS;

/** Whether a `tracestate` keeps the rules of W3C Trace Context, section 3.3. */
export function isTracestate(text: string): boolean {
  if (text.length > MAX_STATE_LENGTH) return false;
  const members = text.split(",");
  return members.length <= MAX_STATE_MEMBERS && members.every((member) => STATE_MEMBER.test(member));
}

/** What of a message's trace context may be handed on, and the names of what may not. */
export interface CheckedTrace {
  readonly traceparent?: string;
  readonly tracestate?: string;
  readonly ignored?: readonly string[];
}

const NO_TRACE: CheckedTrace = Object.freeze({});

/**
 * Checks the trace context of a message, which becomes HTTP headers in PHP and from there on: only what keeps the rules is
 * handed on. A `traceparent` of a later version is handed on as one of version 00, a `tracestate` only with a `traceparent`.
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

/** The `traceparent`, of version 00, that says this. */
export function formatTraceparent({ traceId, spanId, isSampled }: TraceParent): string {
  return `00-${traceId}-${spanId}-${isSampled ? "01" : "00"}`;
}
