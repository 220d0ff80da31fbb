import assert from "node:assert/strict";
import { JobError } from "../../../../src/core/errors.ts";
import type { WorkerEvent } from "../../../../src/core/observer.ts";
import { ACK } from "../../../../src/core/outcome.ts";
import { formatTraceparent, parseTraceparent } from "../../../../src/core/trace.ts";
import { encodeSpans, type JobSpan } from "../../../../src/telemetry/tracing/otlp.ts";
import { Tracing } from "../../../../src/telemetry/tracing/tracing.ts";

const PARENT = { traceId: "4bf92f3577b34da6a3ce929d0e0e4736", spanId: "00f067aa0ba902b7", isSampled: true };

function start({ sampleRatio = 1, random = (): number => 0.5 } = {}) {
  const spans: JobSpan[] = [];
  const tracing = new Tracing({ add: (span) => spans.push(span), random }, {
    sampleRatio,
    systemOf: (consumer) => consumer === "main" ? "sqlite" : undefined,
  });
  const job = { consumer: "main", queue: "mail", id: "7", attempt: 2, waitMs: 12.5, runMs: 3.25 };
  const settled = (traceparent?: string): WorkerEvent & { type: "job_settled" } => ({
    type: "job_settled",
    ...job,
    verdict: ACK,
    trace: { ...tracing.tracer(traceparent), startedAtMs: 1_700_000_000_000.25 },
  });
  return { tracing, spans, job, settled };
}

Deno.test("Tracing.tracer() goes on with the message's trace", { permissions: "none" }, () => {
  const { tracing } = start();
  const trace = tracing.tracer(formatTraceparent(PARENT));
  assert.deepEqual([trace.traceId, trace.parentSpanId, trace.isSampled], [
    PARENT.traceId,
    PARENT.spanId,
    true,
  ]);
  assert.notEqual(trace.spanId, PARENT.spanId);
  const { traceId, spanId, isSampled } = trace;
  assert.deepEqual(parseTraceparent(trace.traceparent), { traceId, spanId, isSampled });
});

Deno.test("Tracing.tracer() heeds that the message's trace is not sampled", { permissions: "none" }, () => {
  const { tracing, spans, settled } = start();
  const parent = formatTraceparent({ ...PARENT, isSampled: false });
  assert.match(tracing.tracer(parent).traceparent, /-00$/);
  tracing.observe(settled(parent));
  assert.deepEqual(spans, []);
});

Deno.test(
  "Tracing.tracer() begins a trace where the message has none that is valid",
  { permissions: "none" },
  () => {
    const { tracing } = start();
    const traces = [undefined, "", "00-1", formatTraceparent({ ...PARENT, spanId: "0".repeat(16) })]
      .map((text) => tracing.tracer(text));
    for (const trace of traces) {
      assert.equal(trace.parentSpanId, undefined);
      assert.notEqual(parseTraceparent(trace.traceparent), undefined);
    }
    assert.equal(new Set([PARENT.traceId, ...traces.map(({ traceId }) => traceId)]).size, 5);
  },
);

Deno.test("Tracing samples the traces that it begins by the ratio", { permissions: "none" }, () => {
  let at = 0;
  const { tracing, spans, settled } = start({ sampleRatio: 0.3, random: () => at++ / 10 });
  for (let i = 0; i < 10; i++) tracing.observe(settled());
  assert.equal(spans.length, 3);
});

Deno.test("Tracing makes a span of a try by the conventions for messaging", { permissions: "none" }, () => {
  const { tracing, spans, settled } = start();
  tracing.observe(settled(formatTraceparent(PARENT)));
  const { traceId, parentSpanId, name, startMs, endMs, failure, attributes } = spans[0]!;
  assert.deepEqual([traceId, parentSpanId, name], [PARENT.traceId, PARENT.spanId, "process mail"]);
  assert.deepEqual([startMs, endMs, failure], [1_700_000_000_000.25, 1_700_000_000_003.5, undefined]);
  assert.deepEqual(attributes, {
    "messaging.system": "sqlite",
    "messaging.operation.name": "process",
    "messaging.operation.type": "process",
    "messaging.destination.name": "mail",
    "messaging.message.id": "7",
    "messaging.consumer.group.name": "main",
    "error.type": undefined,
    "fervo.attempt": 2,
    "fervo.outcome": "ack",
    "fervo.wait_ms": 12.5,
    "fervo.run_ms": 3.25,
  });
});

Deno.test("Tracing tells why a try failed, without STDERR", { permissions: "none" }, () => {
  const { tracing, spans, job, settled } = start();
  const event = settled();
  const error = new JobError("JOB_FAILED", "The job failed", { details: { stderr: "secret" } });
  tracing.observe({ ...event, verdict: { kind: "retry", error, delayMs: 0 } });
  tracing.observe({ ...job, type: "lease_lost", trace: event.trace! });
  assert.deepEqual(
    spans.map(({ attributes, failure }) => [attributes["fervo.outcome"], attributes["error.type"], failure]),
    [
      ["retry", "JOB_FAILED", "The job failed"],
      ["lease_lost", "LEASE_LOST", "The lease was lost; another worker has the job"],
    ],
  );
  assert.doesNotMatch(encodeSpans(spans, {}, "1"), /secret/);
});

Deno.test("Tracing makes no span of a job that never ran", { permissions: "none" }, () => {
  const { tracing, spans, settled } = start();
  const { trace: _, ...event } = settled();
  tracing.observe(event);
  assert.deepEqual(spans, []);
});

Deno.test("encodeSpans() writes OTLP's JSON: ids as digits, times and whole numbers as texts", {
  permissions: "none",
}, () => {
  const { tracing, spans, settled } = start();
  tracing.observe(settled(formatTraceparent(PARENT)));
  const body = JSON.parse(encodeSpans(spans, { "service.name": "w", "process.pid": 7 }, "1.2"));
  const [{ resource, scopeSpans }] = body.resourceSpans;
  assert.deepEqual(resource.attributes, [
    { key: "service.name", value: { stringValue: "w" } },
    { key: "process.pid", value: { intValue: "7" } },
  ]);
  assert.deepEqual(scopeSpans[0].scope, { name: "fervo-worker", version: "1.2" });
  const { spanId, attributes, ...span } = scopeSpans[0].spans[0];
  assert.match(spanId, /^[0-9a-f]{16}$/);
  assert.deepEqual(span, {
    traceId: PARENT.traceId,
    parentSpanId: PARENT.spanId,
    name: "process mail",
    kind: 5,
    startTimeUnixNano: "1700000000000250000",
    endTimeUnixNano: "1700000000003500000",
    status: {},
  });
  assert.deepEqual(attributes.slice(-2), [
    { key: "fervo.wait_ms", value: { doubleValue: 12.5 } },
    { key: "fervo.run_ms", value: { doubleValue: 3.25 } },
  ]);
});
