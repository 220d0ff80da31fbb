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
  /** Why it failed; undefined when it did not. */
  readonly failure: string | undefined;
}

/** What is said of the worker with each export. */
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
    // Left out by JSON where there is none.
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

/** Nanoseconds do not fit a number: whole milliseconds and the rest are written one after the other. */
function nanosOf(epochMs: number): string {
  const wholeMs = Math.floor(epochMs);
  return `${wholeMs}${String(Math.floor((epochMs - wholeMs) * 1e6)).padStart(6, "0")}`;
}

/** Why a request with spans failed, for the end of a sentence: the runtime's own words are long, or in the error's cause. */
export function exportReason(error: unknown): string {
  const text = reasonOf(error instanceof Error && error.cause instanceof Error ? error.cause : error);
  if (/failed to lookup address/.test(text)) return "no such host";
  if (/connection refused/i.test(text)) return "connection refused";
  return text.replace(/^error sending request (?:for url|from) .*?\): /, "");
}
