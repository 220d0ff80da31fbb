/** Where one try of a job stands in a distributed trace (W3C Trace Context). */
export interface JobTrace {
  /** Of the whole trace, 32 hexadecimal digits. */
  readonly traceId: string;
  /** Of this try, 16 hexadecimal digits. */
  readonly spanId: string;
  /** Of what the message says has pushed the job; undefined where the trace begins here. */
  readonly parentSpanId: string | undefined;
  /** Whether this try is told to whoever collects traces. */
  readonly isSampled: boolean;
  /** What PHP gets as its parent. */
  readonly traceparent: string;
}

/** The same of a try that ran. */
export interface RunTrace extends JobTrace {
  /** Epoch milliseconds, with fractions. */
  readonly startedAtMs: number;
}

/**
 * Begins the span of a try.
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

/** The `traceparent`, of version 00, that says this. */
export function formatTraceparent({ traceId, spanId, isSampled }: TraceParent): string {
  return `00-${traceId}-${spanId}-${isSampled ? "01" : "00"}`;
}
