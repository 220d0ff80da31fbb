/** What a whole worker tells over HTTP, on real servers. */
import assert from "node:assert/strict";
import { type App, createApp } from "../../../src/app/app.ts";
import { parseConfig } from "../../../src/config/load.ts";
import type { Clock } from "../../../src/core/time/clock.ts";
import { systemClock } from "../../../src/core/time/clock.ts";
import { tellAll } from "../../../src/core/observer.ts";
import { endpointsOf } from "../../../src/http/endpoints.ts";
import { HttpServer } from "../../../src/http/server.ts";
import { JobMetrics } from "../../../src/telemetry/metrics/job_metrics.ts";
import { METRIC_TEXTS } from "../../../src/telemetry/metrics/catalog.ts";
import { ProcessMetrics } from "../../../src/telemetry/metrics/process_metrics.ts";
import { EventLog } from "../../support/event_log.ts";
import { eventually } from "../../support/eventually.ts";
import { ask, type HttpAnswer } from "../../support/http.ts";
import { MovableClock } from "../../support/movable_clock.ts";
import { PhpFpm } from "../../support/php_fpm.ts";
import { RedisServer } from "../../support/redis_server.ts";

const ACK = "<?php header('X-Fervo-Outcome: ack');";
const FAIL = "<?php header('X-Fervo-Outcome: bury');";

interface SiteOptions {
  readonly script?: string;
  readonly broker?: string;
  readonly clock?: Clock;
  /** The queues of the one consumer. */
  readonly queues?: readonly string[];
}

/** A worker as `fervo-worker run` puts it together, with its HTTP server. */
async function start(fpm: PhpFpm, options: SiteOptions = {}) {
  await using opened = new AsyncDisposableStack();
  const clock = options.clock ?? systemClock;
  const script = await fpm.writeScript("job.php", options.script ?? ACK);
  const at = `${fpm.directory}/worker.sock`;
  const config = await parseConfig(
    `
    [http]
    listen = "${at}"
    [brokers.main]
    ${options.broker ?? `driver = "sqlite"\npath = "queue.sqlite"`}
    [fpm.jobs]
    address = "${fpm.address}"
    script = "${script}"
    status_path = "${fpm.statusPath}"
    [[consumers]]
    queues = ${JSON.stringify(options.queues ?? ["mail"])}
    `,
    `${fpm.directory}/fervo.toml`,
    { env: () => undefined },
  );
  const log = new EventLog();
  const jobs = new JobMetrics();
  const process = opened.use(new ProcessMetrics({ clock, log: { dropped: 3 } }, { version: "0" }));
  const app = opened.use(await createApp(config, { clock, observe: tellAll([log.observe, jobs.observe]) }));
  const endpoints = endpointsOf(app.view, [jobs, process]);
  opened.use(
    await HttpServer.start({
      clock: systemClock,
      endpoints,
      onUnavailable: (error) => assert.fail(String(error)),
    }, config.http!),
  );
  let running: ReturnType<App["worker"]["run"]> | undefined;
  opened.defer(async () => {
    app.worker.stop();
    app.worker.stop();
    await running;
  });
  const resources = opened.move();
  return {
    app,
    log,
    broker: app.sources[0]!.broker,
    run: () => void (running = app.worker.run({ untilEmpty: false })),
    ask: (path: string): Promise<HttpAnswer> => ask(at, path),
    /** The value of a series, as it stands on the page; undefined when it is not there. */
    async metric(series: string): Promise<number | undefined> {
      const { body } = await ask(at, "/metrics");
      const line = body.split("\n").find((line) => line.startsWith(`${series} `));
      return line === undefined ? undefined : Number(line.slice(series.length + 1));
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** What promtool says of a page; nothing when all is well. */
async function promtool(page: string): Promise<string> {
  const child = new Deno.Command("promtool", {
    args: ["check", "metrics"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(page));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  return code === 0 ? said : `${said}exit code ${code}`;
}

function namesOn(page: string): string[] {
  return [...page.matchAll(/^# TYPE (\S+)/gm)].map((match) => match[1]!).sort();
}

Deno.test("/metrics is what promtool takes for right, and has each metric of the catalog, and no other", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await start(fpm);
  const payload = new TextEncoder().encode("secret payload");
  await Promise.all(Array.from({ length: 20 }, () => site.broker.push("mail", payload)));
  site.run();
  await site.log.count("job_settled", 20);
  const { status, headers, body } = await site.ask("/metrics");
  assert.deepEqual([status, headers.get("content-type")], [200, "text/plain; version=0.0.4; charset=utf-8"]);
  assert.equal(await promtool(body), "");
  assert.match(await promtool("bad-name 1\n"), /error|invalid/i, "promtool finds what is wrong");
  assert.match(body, /^fervo_jobs_total\{consumer="mail",queue="mail",outcome="ack"\} 20$/m);
  assert.match(body, /^fervo_job_run_seconds_count\{consumer="mail",queue="mail"\} 20$/m);
  assert.match(body, /^fervo_fpm_requests_total\{fpm="jobs"\} 20$/m);
  assert.doesNotMatch(body, /secret/);

  const rare = [
    "fervo_broker_errors_total",
    "fervo_job_errors_total",
    "fervo_fpm_connections_not_kept",
    "fervo_jobs_recovered_total",
  ];

  const ofAuto = ["fervo_fpm_slots", "fervo_fpm_slots_changes_total"];
  assert.deepEqual(Object.keys(METRIC_TEXTS).sort(), [...namesOn(body), ...rare, ...ofAuto].sort());
});

Deno.test("/metrics follows jobs into slots, dead letters and the queue's depth", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await start(fpm, { script: FAIL, queues: ["mail", "reports"] });
  await Promise.all(Array.from({ length: 3 }, () => site.broker.push("mail", new Uint8Array(1))));
  assert.equal(await site.metric('fervo_queue_jobs{broker="main",queue="mail",state="ready"}'), 3);
  site.run();
  await site.log.count("job_settled", 3);
  await eventually(
    "three dead letters are counted",
    async () => await site.metric('fervo_queue_jobs{broker="main",queue="mail",state="dead"}') === 3,
  );
  assert.equal(
    await site.metric(
      'fervo_jobs_total{consumer="mail,reports",queue="mail",outcome="bury"}',
    ),
    3,
  );
  assert.equal(await site.metric('fervo_slots{consumer="mail,reports"}'), 4);
  assert.equal(await site.metric('fervo_slots_busy{consumer="mail,reports"}'), 0);
  assert.equal(await site.metric('fervo_fpm_up{fpm="jobs"}'), 1);
});

Deno.test("/metrics is made once for all who ask at the same time, and asks the broker once a second", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  // Time stands still: a second never passes, however busy the machine.
  await using site = await start(fpm, { clock: { ...systemClock, monotonicMs: () => 0 } });
  let asked = 0;
  const { admin } = site.broker;
  const depth = admin.depth!.bind(admin);
  const held = Promise.withResolvers<void>();
  admin.depth = async (queue) => {
    asked++;
    await held.promise;
    return await depth(queue);
  };
  const answers = Promise.all(Array.from({ length: 50 }, () => site.ask("/metrics")));
  await eventually("the broker is asked", () => asked > 0);
  held.resolve();
  for (const { status } of await answers) assert.equal(status, 200);
  assert.equal((await site.ask("/readyz")).status, 200);
  assert.equal(asked, 1);
});

Deno.test("/readyz tells when php-fpm is away and when it is back; /livez does not mind", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await start(fpm);
  site.run();
  assert.deepEqual(await site.ask("/readyz").then(({ status, body }) => [status, JSON.parse(body)]), [200, {
    ok: true,
    problems: [],
  }]);
  await fpm.stop();
  await eventually("php-fpm is away", async () => (await site.ask("/readyz")).status === 503);
  const { body } = await site.ask("/readyz");
  assert.match(
    JSON.parse(body).problems.join(),
    /^php-fpm "jobs" is unavailable: FASTCGI_CONNECT_FAILED: Cannot connect to/,
  );
  assert.equal(await site.metric('fervo_fpm_up{fpm="jobs"}'), 0);
  assert.equal((await site.ask("/livez")).status, 200);
  await fpm.restart();
  await eventually("php-fpm is back", async () => (await site.ask("/readyz")).status === 200);
});

Deno.test("/readyz tells when Redis is away or hangs, without its password; /livez does not mind", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using redis = await RedisServer.start({ config: ["requirepass hunter2"] });
  const broker = `driver = "redis"\nurl = "${redis.url}"\npassword = "hunter2"`;
  await using site = await start(fpm, { broker });
  site.run();
  assert.equal((await site.ask("/readyz")).status, 200);

  await redis.signal("SIGSTOP");
  await eventually("Redis hangs", async () => (await site.ask("/readyz")).status === 503);
  assert.match(
    (await site.ask("/readyz")).body,
    /broker \\"main\\" is unavailable: QUEUE_UNAVAILABLE: The broker has not counted/,
  );
  assert.equal(await site.metric('fervo_broker_up{broker="main"}'), 0, "and a scrape does not wait for it");
  await redis.signal("SIGCONT");
  await eventually("Redis goes on", async () => (await site.ask("/readyz")).status === 200);

  await redis.kill();
  await eventually("Redis is away", async () => (await site.ask("/readyz")).status === 503);
  const answers = [await site.ask("/readyz"), await site.ask("/metrics")];
  for (const { body } of answers) assert.doesNotMatch(body, /hunter2/);
  assert.equal((await site.ask("/livez")).status, 200);
  await redis.start();
  await eventually("Redis is back", async () => (await site.ask("/readyz")).status === 200);
});

Deno.test("/readyz is 503 while the worker is quiet, and while its last jobs run", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await start(fpm, {
    script: `<?php while (!file_exists(__DIR__ . '/go')) usleep(1000); header('X-Fervo-Outcome: ack');`,
  });
  await site.broker.push("mail", new Uint8Array(1));
  site.run();
  await site.log.next("job_started");
  site.app.worker.quiet();
  assert.match((await site.ask("/readyz")).body, /the worker takes no jobs: it is quiet/);
  site.app.worker.stop();
  const { status, body } = await site.ask("/readyz");
  assert.deepEqual([status, JSON.parse(body).problems], [503, ["the worker takes no jobs: it is stopping"]]);
  assert.equal((await site.ask("/livez")).status, 200);
  await Deno.writeTextFile(`${fpm.directory}/go`, "");
  await site.log.next("stopped");
});

Deno.test("/readyz names a consumer that can run no jobs, as the script is not there", async () => {
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await start(fpm);
  await Deno.remove(`${fpm.directory}/job.php`);
  await site.broker.push("mail", new Uint8Array(1));
  site.run();
  await site.log.next("consumer_paused");
  assert.match(
    (await site.ask("/readyz")).body,
    /consumer \\"mail\\" cannot run jobs: FPM_MISCONFIGURED: php-fpm cannot find/,
  );
  assert.equal(await site.metric('fervo_consumer_up{consumer="mail"}'), 0);
});

Deno.test("/livez is 503 and names a consumer whose loop is stuck", async () => {
  const clock = new MovableClock();
  await using fpm = await PhpFpm.start({ children: 4 });
  await using site = await start(fpm, { clock });
  const asked = Promise.withResolvers<void>();
  const stuck = Promise.withResolvers<never[]>();
  const subscribe = site.broker.subscribe.bind(site.broker);
  site.broker.subscribe = (options) =>
    Object.assign(subscribe(options), {
      receive: () => {
        asked.resolve();
        return stuck.promise;
      },
    });
  site.run();
  await asked.promise;
  clock.moveAhead(150_000 - 5_000);
  assert.equal((await site.ask("/livez")).status, 200);
  clock.moveAhead(10_000);
  const { status, body } = await site.ask("/livez");
  assert.equal(status, 503);
  assert.match(
    JSON.parse(body).problems.join(),
    /^consumer "mail": its receive has gone on for 15\d s and should have ended after 30 s$/,
  );
  assert.equal(await site.metric('fervo_consumer_up{consumer="mail"}'), 0);
  stuck.resolve([]);
});
