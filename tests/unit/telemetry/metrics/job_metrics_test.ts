import assert from "node:assert/strict";
import { FervoError, JobError } from "../../../../src/core/errors.ts";
import type { FitReason, WorkerEvent } from "../../../../src/core/observer.ts";
import { ACK, type Verdict } from "../../../../src/core/outcome.ts";
import { JobMetrics } from "../../../../src/telemetry/metrics/job_metrics.ts";
import { MetricsPage } from "../../../../src/telemetry/metrics/prometheus.ts";

const error = new JobError("JOB_FAILED", "The job failed: secret");
const away = new FervoError("QUEUE_UNAVAILABLE", "Cannot use the queue");

function settled(
  verdict: Verdict,
  more: { queue?: string; waitMs?: number | undefined; runMs?: number } = {},
) {
  const facts = { consumer: "main", queue: "mail", id: "job-17", attempt: 1, waitMs: 2_000, runMs: 30 };
  return { type: "job_settled", ...facts, verdict, ...more } as WorkerEvent;
}

/** The lines of the page that begin so, after the events. */
function linesAfter(events: readonly WorkerEvent[], name: string): string[] {
  const metrics = new JobMetrics();
  events.forEach(metrics.observe);
  return pageOf(metrics).split("\n").filter((line) => line.startsWith(name));
}

function pageOf(metrics: JobMetrics): string {
  const page = new MetricsPage();
  metrics.write(page);
  return page.toString();
}

Deno.test("JobMetrics counts tries by consumer, queue, outcome and code", { permissions: "none" }, () => {
  const events = [
    settled(ACK),
    settled(ACK),
    settled(ACK, { queue: "reports" }),
    settled({ kind: "retry", error, delayMs: 0 }),
    settled({ kind: "retry", error, delayMs: 0 }),
    settled({ kind: "bury", error }),
    settled({ kind: "release", reason: "unavailable", error: away }),
  ];
  assert.deepEqual(linesAfter(events, "fervo_jobs_total"), [
    'fervo_jobs_total{consumer="main",queue="mail",outcome="ack"} 2',
    'fervo_jobs_total{consumer="main",queue="mail",outcome="retry"} 2',
    'fervo_jobs_total{consumer="main",queue="mail",outcome="bury"} 1',
    'fervo_jobs_total{consumer="main",queue="mail",outcome="release"} 1',
    'fervo_jobs_total{consumer="main",queue="mail",outcome="handled"} 0',
    'fervo_jobs_total{consumer="main",queue="mail",outcome="replace"} 0',
    'fervo_jobs_total{consumer="main",queue="reports",outcome="ack"} 1',
    'fervo_jobs_total{consumer="main",queue="reports",outcome="retry"} 0',
    'fervo_jobs_total{consumer="main",queue="reports",outcome="bury"} 0',
    'fervo_jobs_total{consumer="main",queue="reports",outcome="release"} 0',
    'fervo_jobs_total{consumer="main",queue="reports",outcome="handled"} 0',
    'fervo_jobs_total{consumer="main",queue="reports",outcome="replace"} 0',
  ]);
  assert.deepEqual(linesAfter(events, "fervo_job_errors_total"), [
    'fervo_job_errors_total{consumer="main",queue="mail",outcome="retry",code="JOB_FAILED"} 2',
    'fervo_job_errors_total{consumer="main",queue="mail",outcome="bury",code="JOB_FAILED"} 1',
    'fervo_job_errors_total{consumer="main",queue="mail",outcome="release",code="QUEUE_UNAVAILABLE"} 1',
  ]);
});

Deno.test("JobMetrics takes waits and runs in seconds, of tries that ran", { permissions: "none" }, () => {
  const events = [
    settled(ACK),
    settled({ kind: "retry", error, delayMs: 0 }, { waitMs: undefined }),
    settled({ kind: "release", reason: "shutdown", error: away }),
  ];
  assert.deepEqual(linesAfter(events, "fervo_job_wait_seconds_").slice(-2), [
    'fervo_job_wait_seconds_sum{consumer="main",queue="mail"} 2',
    'fervo_job_wait_seconds_count{consumer="main",queue="mail"} 1',
  ]);
  assert.deepEqual(linesAfter(events, "fervo_job_run_seconds_").slice(-2), [
    'fervo_job_run_seconds_sum{consumer="main",queue="mail"} 0.06',
    'fervo_job_run_seconds_count{consumer="main",queue="mail"} 2',
  ]);
});

Deno.test("JobMetrics shows a queue's counters from the start, at 0", { permissions: "none" }, () => {
  const events: WorkerEvent[] = [{ type: "consumer_started", consumer: "main", queues: ["mail", "reports"] }];
  assert.deepEqual(
    linesAfter(events, "fervo_jobs_total"),
    ["mail", "reports"].flatMap((queue) =>
      ["ack", "retry", "bury", "release", "handled", "replace"].map((outcome) =>
        `fervo_jobs_total{consumer="main",queue="${queue}",outcome="${outcome}"} 0`
      )
    ),
  );
  assert.deepEqual(linesAfter(events, "fervo_consumer_pauses_total"), [
    'fervo_consumer_pauses_total{consumer="main"} 0',
  ]);
});

Deno.test("JobMetrics counts lost leases, pauses, failures of the broker, and jobs that were taken back", {
  permissions: "none",
}, () => {
  const events: WorkerEvent[] = [
    { type: "lease_lost", consumer: "main", queue: "mail", id: "1", attempt: 1, waitMs: undefined, runMs: 1 },
    { type: "consumer_paused", consumer: "main", error: away, forMs: 50 },
    { type: "consumer_paused", consumer: "main", error: away, forMs: 50 },
    { type: "broker_failed", consumer: "main", during: "receive", error: away },
    { type: "broker_failed", consumer: "main", during: "receive", error: away },
    { type: "broker_failed", during: "schedule", error: away },
    { type: "jobs_recovered", queue: "mail", process: "host:1:ab", putBack: 3, buried: 1 },
    { type: "jobs_recovered", queue: "mail", process: "host:2:cd", putBack: 2, buried: 0 },
  ];
  assert.deepEqual(linesAfter(events, "fervo_leases_lost_total"), [
    'fervo_leases_lost_total{consumer="main",queue="mail"} 1',
  ]);
  assert.deepEqual(linesAfter(events, "fervo_consumer_pauses_total"), [
    'fervo_consumer_pauses_total{consumer="main"} 2',
  ]);
  assert.deepEqual(linesAfter(events, "fervo_broker_errors_total"), [
    'fervo_broker_errors_total{consumer="main",during="receive"} 2',
    'fervo_broker_errors_total{consumer="",during="schedule"} 1',
  ]);
  assert.deepEqual(linesAfter(events, "fervo_jobs_recovered_total"), [
    'fervo_jobs_recovered_total{queue="mail",result="put_back"} 5',
    'fervo_jobs_recovered_total{queue="mail",result="buried"} 1',
  ]);
});

Deno.test("JobMetrics has as many lines after many jobs as after one, and none that names a job", {
  permissions: "none",
}, () => {
  const metrics = new JobMetrics();
  metrics.observe(settled(ACK));
  const lines = pageOf(metrics).split("\n").length;
  for (let id = 0; id < 1_000; id++) metrics.observe({ ...settled(ACK), id: `job-${id}` } as WorkerEvent);
  const page = pageOf(metrics);
  assert.equal(page.split("\n").length, lines);
  assert.doesNotMatch(page, /job-|secret/);
});

Deno.test("JobMetrics tells how many jobs fit a php-fpm pool, and counts the changes by reason", {
  permissions: "none",
}, () => {
  const change = (slots: number, before: number, reason: FitReason): WorkerEvent => ({
    type: "slots_changed",
    fpm: "default",
    slots,
    before,
    reason,
  });
  const events = [change(8, 0, "start"), change(6, 8, "others"), change(7, 6, "idle"), change(8, 7, "idle")];
  assert.deepEqual(linesAfter(events, "fervo_fpm_slots"), [
    'fervo_fpm_slots{fpm="default"} 8',
    'fervo_fpm_slots_changes_total{fpm="default",reason="overloaded"} 0',
    'fervo_fpm_slots_changes_total{fpm="default",reason="children"} 0',
    'fervo_fpm_slots_changes_total{fpm="default",reason="others"} 1',
    'fervo_fpm_slots_changes_total{fpm="default",reason="idle"} 2',
  ]);
  assert.deepEqual(linesAfter([], "fervo_fpm_slots"), []);
});

Deno.test(
  "JobMetrics shows the pools to which no connections are kept any more",
  { permissions: "none" },
  () => {
    const found = { type: "connections_not_kept", fpm: "jobs", uri: "/mail/1" } as const;
    assert.deepEqual(linesAfter([found, found], "fervo_fpm_connections_not_kept"), [
      'fervo_fpm_connections_not_kept{fpm="jobs"} 1',
    ]);
  },
);
