import assert from "node:assert/strict";
import type { Log } from "../../../../src/telemetry/log.ts";
import type { JobSpan } from "../../../../src/telemetry/tracing/otlp.ts";
import { SpanQueue } from "../../../../src/telemetry/tracing/span_queue.ts";
import { eventually } from "../../../support/eventually.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { OtlpReceiver } from "../../../support/otlp_receiver.ts";

const SPAN: JobSpan = {
  traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
  spanId: "00f067aa0ba902b7",
  parentSpanId: undefined,
  isSampled: true,
  traceparent: "",
  name: "process mail",
  startMs: 1_700_000_000_000,
  endMs: 1_700_000_000_001,
  attributes: {},
  failure: undefined,
};

function start() {
  const collector = new OtlpReceiver();
  const clock = new FakeClock();
  const told: string[] = [];
  const tell = (facts: Record<string, unknown>, message: string) =>
    void told.push("dropped" in facts ? `${message}: ${facts["dropped"]}` : message);
  const log: Log = { debug: tell, info: tell, warn: tell, error: tell };
  const { endpoint } = collector;
  const queue = new SpanQueue({ clock, log }, { endpoint, headers: {}, resource: {}, version: "1" });
  return {
    collector,
    clock,
    told,
    add: (count = 1) => Array.from({ length: count }, () => queue.add(SPAN)),
    /** Moves on as far as the next request takes, which is `ms`, until there have been so many requests. */
    async request(count: number, ms = 1_000): Promise<void> {
      // The timer is set when the answer before has come.
      await eventually("the queue waits", () => clock.pendingTimers === 1);
      await clock.advance(ms);
      await eventually(`request ${count}`, () => collector.requests.length === count);
    },
    /** Ends, at once or after all the time that it has. */
    async close(): Promise<void> {
      await queue[Symbol.asyncDispose]();
    },
    queue,
    [Symbol.asyncDispose]: () => collector[Symbol.asyncDispose](),
  };
}

Deno.test("SpanQueue sends what has come within a second in one request", async () => {
  await using t = start();
  t.add(3);
  assert.equal(t.collector.requests.length, 0);
  await t.request(1);
  assert.equal(t.collector.requests[0]!.spans, 3);
  await t.close();
  assert.deepEqual([t.collector.spans.length, t.told], [3, []]);
});

Deno.test("SpanQueue sends what is left when it ends", async () => {
  await using t = start();
  t.add(4_001);
  await t.close();
  assert.equal(t.collector.spans.length, 4_001);
  assert.ok(t.collector.requests.every(({ spans }) => spans <= 2_000));
  assert.deepEqual(t.told, []);
});

Deno.test("SpanQueue tells an outage once, keeps the spans, and sends them when it is over", async () => {
  await using t = start();
  t.collector.answer = () => new Response(null, { status: 503 });
  t.add();
  await t.request(1);
  await t.request(2);
  t.add();
  await t.request(3, 2_000);
  assert.deepEqual(t.told, ["Cannot export traces"]);
  t.collector.answer = () => new Response();
  await t.request(4, 4_000);
  assert.equal((await t.collector.received(2)).length, 2);
  await eventually("the end of the outage is told", () => t.told.length === 2);
  assert.deepEqual(t.told, ["Cannot export traces", "Traces are exported again: 0"]);
  await t.close();
});

Deno.test("SpanQueue drops what the collector refuses, and goes on with the next", async () => {
  await using t = start();
  t.collector.answer = () => new Response(null, { status: 400 });
  t.add(2);
  await t.request(1);
  await eventually("the refusal is told", () => t.told.length === 1);
  t.collector.answer = () => new Response();
  t.add();
  await t.request(2);
  await eventually("the end of the outage is told", () => t.told.length === 2);
  assert.deepEqual(t.told, ["Cannot export traces", "Traces are exported again: 2"]);
  assert.equal(t.collector.spans.length, 1);
  await t.close();
});

Deno.test("SpanQueue follows no redirection: its headers may be secret", async () => {
  await using t = start();
  await using other = new OtlpReceiver();
  t.collector.answer = () => Response.redirect(other.endpoint, 307);
  t.add();
  await t.close();
  assert.deepEqual(other.requests, []);
  assert.deepEqual(t.told, ["Cannot export traces", "Traces were lost: 1"]);
});

Deno.test("SpanQueue keeps 20,000 spans at most, and ends in 3 s though the collector never answers", async () => {
  await using t = start();
  const gate = Promise.withResolvers<Response>();
  t.collector.answer = () => gate.promise;
  t.add(20_007);
  const closed = t.close();
  await eventually("it sends", () => t.collector.requests.length === 1);
  await t.clock.advance(3_000);
  await closed;
  gate.resolve(new Response());
  assert.deepEqual(t.told, ["Cannot export traces", "Traces were lost: 20007"]);
});
