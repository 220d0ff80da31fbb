/** A message's trace becomes HTTP headers in PHP: none of them may have what no web server lets through. */
import assert from "node:assert/strict";
import { Site, type SiteOptions } from "../../support/fervo_worker.ts";
import { PhpFpm } from "../../support/php_fpm.ts";
import { RedisServer } from "../../support/redis_server.ts";

const PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const EVIL = "\r\nAuthorization: Bearer evil";

type Trace = readonly [traceparent: unknown, tracestate: unknown];

/** What a message says, and what PHP may see of it. */
const CASES: readonly [sent: Trace, seen: Trace][] = [
  [[PARENT, "vendor=1"], [PARENT, "vendor=1"]],
  [[`${PARENT}${EVIL}`, "vendor=1"], [null, null]],
  [[`${PARENT}\n`, "vendor=1"], [null, null]],
  [[PARENT, `vendor=1${EVIL}`], [PARENT, null]],
  [[PARENT, "vendor=1\0other=2"], [PARENT, null]],
  [["00-x", "vendor=1"], [null, null]],
  [[`01-${PARENT.slice(3)}-\0${EVIL.trim()}`, "vendor=1"], [PARENT, "vendor=1"]],
];
const SENT = CASES.map(([sent]) => sent);
const SEEN = CASES.map(([, seen]) => seen);

/** Of formats that have a trace as JSON: what is no text is no trace either. */
const NO_TEXT: Trace[] = [[7, []], [[PARENT], { vendor: 1 }]];

/** Runs the jobs that the site holds; what PHP, or the process, has seen of each in order, and what the log says. */
async function seenBy(site: Site, options: SiteOptions, viaProcess: boolean): Promise<Trace[]> {
  const seen = `${site.directory}/seen`;
  await Deno.writeTextFile(
    `${site.directory}/job.php`,
    `<?php $trace = [$_SERVER['${viaProcess ? "" : "HTTP_"}TRACEPARENT'] ?? null, $_SERVER['${
      viaProcess ? "" : "HTTP_"
    }TRACESTATE'] ?? null];
    file_put_contents('${seen}', json_encode($trace) . "\\n", FILE_APPEND); @header('X-Fervo-Outcome: ack');`,
  );
  await site.configure({
    ...options,
    ...(viaProcess
      ? { process: { command: ["php", `${site.directory}/job.php`] } }
      : { fpm: { script: `${site.directory}/job.php` } }),
    consumer: { concurrency: 1 },
  });
  await site.runOk(["run", "--until-empty"]);
  const text = await Deno.readTextFile(seen);
  await Deno.remove(seen);
  return text.trimEnd().split("\n").map((line) => JSON.parse(line));
}

Deno.test("run hands on the traces of SQLite's headers that keep the rules, to php-fpm and to processes", async () => {
  await using fpm = await PhpFpm.start();
  await using site = await Site.create(fpm);
  for (const viaProcess of [false, true]) {
    await site.runOk(["queues"]);
    for (const [traceparent, tracestate] of SENT) {
      site.queueRows(
        "INSERT INTO fervo_jobs (queue, payload, headers) VALUES ('jobs', 'x', ?)",
        JSON.stringify({ traceparent, tracestate }),
      );
    }
    assert.deepEqual(await seenBy(site, {}, viaProcess), SEEN);
  }
  await site.runOk(["queues"]);
  site.queueRows(
    "INSERT INTO fervo_jobs (queue, payload, headers) VALUES ('jobs', 'x', ?)",
    JSON.stringify({ traceparent: EVIL }),
  );
  await site.configure({ log: { level: "debug" } });
  assert.match(
    (await site.run(["run", "--until-empty"])).stderr,
    /"ignored":\["traceparent"\],"msg":"Job started"/,
  );
});

Deno.test("run hands on the traces of envelopes that keep the rules", async () => {
  await using fpm = await PhpFpm.start();
  const options = { broker: { format: "envelope" } };
  await using site = await Site.create(fpm, options);
  await site.runOk(["queues"]);
  for (const [traceparent, tracestate] of [...SENT, ...NO_TEXT]) {
    const payload = JSON.stringify({ fervo: 1, payload: "x", traceparent, tracestate });
    site.queueRows("INSERT INTO fervo_jobs (queue, payload) VALUES ('jobs', ?)", payload);
  }
  assert.deepEqual(await seenBy(site, options, false), [...SEEN, [null, null], [null, null]]);
});

Deno.test("run hands on the traces of Sidekiq's jobs that keep the rules", async () => {
  await using redis = await RedisServer.start();
  await using fpm = await PhpFpm.start();
  const options = { broker: { driver: "redis", url: redis.url } };
  await using site = await Site.create(fpm, options);
  for (const [traceparent, tracestate] of [...SENT, ...NO_TEXT]) {
    const job = JSON.stringify({ class: "X", args: [], retry: false, traceparent, tracestate });
    await redis.cli("LPUSH", "queue:jobs", job);
  }
  assert.deepEqual(await seenBy(site, options, false), [...SEEN, [null, null], [null, null]]);
});
