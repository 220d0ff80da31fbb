import { reasonOf } from "../../core/errors.ts";
import type { JobTrace } from "../../core/trace.ts";

/*
 * The JSON of OTLP/HTTP: opentelemetry-proto, trace/v1/trace.proto, with ids as hexadecimal digits and 64-bit numbers as
 * texts.
 */

/** One attempt that has ended. */
export interface JobSpan extends JobTrace {
  readonly name: string;
  /** Epoch milliseconds, with fractions. */
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: Readonly<Record<string, string | number | undefined>>;
  /** Why it failed; undefined after a success. */
  readonly failure: string | undefined;
}

/** The worker's attributes in each export. */
export type Resource = Readonly<Record<string, string | number>>;

/** SpanKind and StatusCode of trace.proto. */
const KIND_CONSUMER = 5;
const STATUS_ERROR = 2;

/** The body of a request that exports these spans. */
export function encodeSpans(spans: readonly JobSpan[], resource: Resource, version: string): string {
  return JSON.stringify({
    resourceSpans: [{
      resource: { attributes: attributesOf(resource) },
      scopeSpans: [{ scope: { name: "fervo-worker", version }, spans: spans.map(encodeSpan) }],
    }],
  });
}

function encodeSpan(span: JobSpan) {
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    // JSON leaves it out when undefined.
    parentSpanId: span.parentSpanId,
    name: span.name,
    kind: KIND_CONSUMER,
    startTimeUnixNano: nanosOf(span.startMs),
    endTimeUnixNano: nanosOf(span.endMs),
    attributes: attributesOf(span.attributes),
    status: span.failure === undefined ? {} : { code: STATUS_ERROR, message: span.failure },
  };
}

function attributesOf(attributes: JobSpan["attributes"]) {
  return Object.entries(attributes).filter(([, value]) => value !== undefined).map(([key, value]) => ({
    key,
    value: typeof value === "string"
      ? { stringValue: value }
      : Number.isInteger(value)
      ? { intValue: String(value) }
      : { doubleValue: value },
  }));
}

/** A number cannot hold nanoseconds exactly: whole milliseconds and the rest are written one after the other. */
function nanosOf(epochMs: number): string {
  const wholeMs = Math.floor(epochMs);
  return `${wholeMs}${String(Math.floor((epochMs - wholeMs) * 1e6)).padStart(6, "0")}`;
}

/** Why an export failed, as the end of a sentence: the runtime's own text is long, or in the error's cause. */
export function exportReason(error: unknown): string {
  const text = reasonOf(error instanceof Error && error.cause instanceof Error ? error.cause : error);
  if (/failed to lookup address/.test(text)) return "no such host";
  if (/connection refused/i.test(text)) return "connection refused";
  return text.replace(/^error sending request (?:for url|from) .*?\): /, "");
}
