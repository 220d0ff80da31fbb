import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { parseTraceparent } from "../../src/core/trace.ts";
import { Site, type SiteOptions } from "../support/fervo_worker.ts";
import { OtlpReceiver } from "../support/otlp_receiver.ts";
import { PhpFpm } from "../support/php_fpm.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT = "00f067aa0ba902b7";
const TRACEPARENT = `00-${TRACE}-${PARENT}-01`;
const SECRET = "Bearer 0123456789secret";
const ENV = { OTLP_AUTHORIZATION: SECRET };

/** Notes the trace context that it was given; the payload is its outcome. */
const SCRIPT = `<?php
$seen = [$_SERVER['HTTP_TRACEPARENT'] ?? null, $_SERVER['HTTP_TRACESTATE'] ?? null];
file_put_contents(__DIR__ . '/seen', json_encode($seen) . "\\n", FILE_APPEND | LOCK_EX);
header('X-Fervo-Outcome: ' . file_get_contents('php://input'));`;

/** The same for each job of a batch. */
const BATCH_SCRIPT = `<?php
header('X-Fervo-Outcome: batch');
$input = fopen('php://input', 'rb');
for ($left = (int) $_SERVER['FERVO_BATCH']; $left > 0; $left--) {
    $job = json_decode(fgets($input), true);
    $outcome = stream_get_contents($input, $job['bytes']);
    fgetc($input);
    $seen = [$job['traceparent'] ?? null, $job['tracestate'] ?? null];
    file_put_contents(__DIR__ . '/seen', json_encode($seen) . "\\n", FILE_APPEND | LOCK_EX);
    echo "\\x1e", json_encode(['id' => $job['id'], 'outcome' => $outcome]), "\\n";
}`;

/** What `[tracing]` says, and `[tracing.headers]`; and how the jobs run, if not by the script, one by one. */
async function startSite(
  tracing: Record<string, string | number>,
  headers: Record<string, string> = {},
  how: (folder: string) => SiteOptions = () => ({}),
) {
  await using opened = new AsyncDisposableStack();
  const fpm = opened.use(await PhpFpm.start({ children: 4 }));
  await fpm.writeScript("trace.php", SCRIPT);
  await fpm.writeScript("batch.php", BATCH_SCRIPT);
  const site = opened.use(
    await Site.create(fpm, {
      log: { level: "debug" },
      tracing,
      tracingHeaders: headers,
      fpm: { script: `${fpm.directory}/trace.php` },
      ...how(fpm.directory),
    }),
  );
  const resources = opened.move();
  return {
    site,
    /** Pushes a job as a producer does that has a trace. */
    async push(payload: string, context: Record<string, string> = {}): Promise<void> {
      // The first command makes the queue.
      await site.runOk(["queues"], { env: ENV });
      using queue = new DatabaseSync(site.queueFile);
      queue.prepare("INSERT INTO fervo_jobs (queue, payload, headers) VALUES ('jobs', CAST(? AS BLOB), ?)")
        .run(payload, JSON.stringify(context));
    },
    async seen(): Promise<[traceparent: string | null, tracestate: string | null][]> {
      const text = await Deno.readTextFile(`${fpm.directory}/seen`);
      return text.trimEnd().split("\n").map((line) => JSON.parse(line));
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

Deno.test("run exports a span of each try, and PHP gets it as its parent", async () => {
  await using collector = new OtlpReceiver();
  await using t = await startSite({ endpoint: collector.endpoint, service_name: "mailer" }, {
    Authorization: "${OTLP_AUTHORIZATION}",
  });
  await t.push("ack", { traceparent: TRACEPARENT, tracestate: "vendor=1" });
  const run = await t.site.run(["run", "--until-empty"], { env: ENV });
  assert.equal(run.code, 0, run.stderr);
  const [span, ...others] = collector.spans;
  assert.deepEqual(others, []);
  assert.deepEqual([span!.traceId, span!.parentSpanId, span!.name, span!.kind, span!.status], [
    TRACE,
    PARENT,
    "process jobs",
    5,
    {},
  ]);
  assert.deepEqual(await t.seen(), [[`00-${TRACE}-${span!.spanId}-01`, "vendor=1"]]);
  assert.ok(span!.startMs <= span!.endMs && span!.endMs <= Date.now(), `${span!.startMs} to ${span!.endMs}`);
  const { "fervo.run_ms": runMs, "fervo.wait_ms": waitMs, ...attributes } = span!.attributes;
  assert.ok(Number(runMs) > 0 && Number(waitMs) >= 0);
  assert.deepEqual(attributes, {
    "messaging.system": "sqlite",
    "messaging.operation.name": "process",
    "messaging.operation.type": "process",
    "messaging.destination.name": "jobs",
    "messaging.message.id": "1",
    "messaging.consumer.group.name": "jobs",
    "fervo.attempt": 1,
    "fervo.outcome": "ack",
  });
  assert.equal(span!.resource["service.name"], "mailer");
  const { path, headers } = collector.requests[0]!;
  assert.deepEqual([path, headers.get("authorization")], ["/v1/traces", SECRET]);
  // The trace is found from the log line; the secret is nowhere.
  assert.match(run.stderr, new RegExp(`"trace_id":"${TRACE}".*"msg":"Job done"`));
  assert.doesNotMatch(run.stdout + run.stderr, /0123456789secret/);
});

Deno.test("run gives each job of a batch a span of its own for a parent, and the state of its trace", async () => {
  await using collector = new OtlpReceiver();
  await using t = await startSite({ endpoint: collector.endpoint }, {}, (folder) => ({
    fpm: { script: `${folder}/batch.php` },
    consumer: { concurrency: 1, batch_size: 10 },
  }));
  await t.push("ack", { traceparent: TRACEPARENT, tracestate: "vendor=1" });
  await t.push("bury");
  const run = await t.site.run(["run", "--until-empty"]);
  const spanOf = (id: string) =>
    collector.spans.find((span) => span.attributes["messaging.message.id"] === id)!;
  const [first, second] = [spanOf("1"), spanOf("2")];
  assert.equal(collector.spans.length, 2, run.stderr);
  assert.deepEqual([first.traceId, first.parentSpanId], [TRACE, PARENT]);
  assert.deepEqual([second.parentSpanId, second.attributes["fervo.outcome"]], [undefined, "bury"]);
  assert.deepEqual(await t.seen(), [
    [`00-${TRACE}-${first.spanId}-01`, "vendor=1"],
    [`00-${second.traceId}-${second.spanId}-01`, null],
  ]);
});

Deno.test("run gives a process its span and the state of its trace in the environment", async () => {
  await using collector = new OtlpReceiver();
  const code = `printf '["%s","%s"]\\n' "$TRACEPARENT" "$TRACESTATE" >> "$0/seen"`;
  await using t = await startSite({ endpoint: collector.endpoint }, {}, (folder) => ({
    process: { command: ["sh", "-c", code, folder] },
  }));
  await t.push("{}", { traceparent: TRACEPARENT, tracestate: "vendor=1" });
  const run = await t.site.run(["run", "--until-empty"]);
  const [span] = collector.spans;
  assert.deepEqual([span?.traceId, span?.parentSpanId], [TRACE, PARENT], run.stderr);
  assert.deepEqual(await t.seen(), [[`00-${TRACE}-${span!.spanId}-01`, "vendor=1"]]);
});

Deno.test("run begins a trace where the message's is not valid, and tells of a job that failed", async () => {
  await using collector = new OtlpReceiver();
  await using t = await startSite({ endpoint: collector.endpoint });
  await t.push("bury", { traceparent: `00-${TRACE}-${"0".repeat(16)}-01`, tracestate: "vendor=1" });
  await t.site.run(["run", "--until-empty"]);
  const [span] = collector.spans;
  assert.equal(span!.parentSpanId, undefined);
  assert.notEqual(span!.traceId, TRACE);
  assert.deepEqual([span!.status.code, span!.attributes["error.type"], span!.attributes["fervo.outcome"]], [
    2,
    "JOB_FAILED",
    "bury",
  ]);
  assert.deepEqual(await t.seen(), [[`00-${span!.traceId}-${span!.spanId}-01`, null]]);
});

Deno.test("run exports nothing of a trace that is not sampled, and PHP is told so", async () => {
  await using collector = new OtlpReceiver();
  await using t = await startSite({ endpoint: collector.endpoint, sample_ratio: 0 });
  await t.push("ack");
  await t.push("ack", { traceparent: TRACEPARENT.replace(/01$/, "00") });
  await t.site.run(["run", "--until-empty"]);
  assert.deepEqual(collector.requests, []);
  const seen = (await t.seen()).map(([traceparent]) => parseTraceparent(traceparent!));
  assert.deepEqual(seen.map((parent) => parent?.isSampled), [false, false]);
  assert.equal(seen.filter((parent) => parent?.traceId === TRACE).length, 1);
});

Deno.test("run without tracing passes on what the message says, untouched, if it keeps the rules", async () => {
  await using t = await startSite({});
  await t.push("ack", { traceparent: TRACEPARENT, tracestate: "vendor=1" });
  await t.site.run(["run", "--until-empty"]);
  assert.deepEqual(await t.seen(), [[TRACEPARENT, "vendor=1"]]);
});

Deno.test("run does its jobs when the collector is away, tells it once, and ends in time", async () => {
  const endpoint = await (async () => {
    await using gone = new OtlpReceiver();
    return gone.endpoint;
  })();
  await using t = await startSite({ endpoint });
  await t.site.push("ack", 50);
  const run = await t.site.run(["run", "--until-empty", "--json"]);
  assert.equal(run.code, 0, run.stderr);
  assert.equal(run.stderr.match(/"msg":"Cannot export traces"/g)?.length, 1);
  assert.match(run.stderr, /"dropped":50,"msg":"Traces were lost"/);
});
