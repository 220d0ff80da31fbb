import assert from "node:assert/strict";
import { FervoError } from "../../../src/core/errors.ts";
import type { FpmStatus } from "../../../src/fpm/status.ts";
import { writeWorkerMetrics } from "../../../src/monitor/worker_metrics.ts";
import type { WorkerView } from "../../../src/monitor/worker_view.ts";
import { MetricsPage } from "../../../src/telemetry/metrics/prometheus.ts";
import { unavailable } from "../../support/fake_broker.ts";
import { viewOf } from "./fake_view.ts";

/** The lines of values, sorted. */
async function valuesOf(view: WorkerView): Promise<string[]> {
  const page = new MetricsPage();
  await writeWorkerMetrics(page, view);
  return page.toString().split("\n").filter((line) => /^[^#]/.test(line)).sort();
}

const CONSUMER = [
  'fervo_consumer_paused{consumer="main"} 0',
  'fervo_consumer_queues_held_back{consumer="main"} 0',
  'fervo_consumer_starved_seconds{consumer="main"} 0',
  'fervo_consumer_up{consumer="main"} 1',
];
const CONNECTIONS = [
  'fervo_fpm_connections_opened_total{fpm="default"} 7',
  'fervo_fpm_connections{fpm="default",state="busy"} 1',
  'fervo_fpm_connections{fpm="default",state="idle"} 0',
];
const IN_FLIGHT = [
  'fervo_jobs_in_flight{consumer="main"} 2',
  'fervo_last_receive_timestamp_seconds{consumer="main"} 1700000000.5',
];
const SLOTS = ['fervo_slots_busy{consumer="main"} 1', 'fervo_slots{consumer="main"} 4'];
const REQUESTS = [
  'fervo_fpm_requests_resent_total{fpm="default"} 1',
  'fervo_fpm_requests_total{fpm="default"} 9',
];

Deno.test(
  "writeWorkerMetrics() tells of consumers, brokers and php-fpm pools",
  { permissions: "none" },
  async () => {
    const status = { idleProcesses: 3, activeProcesses: 2, listenQueue: 6 } as FpmStatus;
    assert.deepEqual(await valuesOf(viewOf({ fpm: { isUp: true, status } })), [
      'fervo_broker_orphans{broker="queue"} 0',
      'fervo_broker_up{broker="queue"} 1',
      ...CONSUMER,
      ...CONNECTIONS,
      'fervo_fpm_listen_queue{fpm="default"} 6',
      'fervo_fpm_processes{fpm="default",state="active"} 2',
      'fervo_fpm_processes{fpm="default",state="idle"} 3',
      ...REQUESTS,
      'fervo_fpm_up{fpm="default"} 1',
      ...IN_FLIGHT,
      'fervo_queue_jobs{broker="queue",queue="mail",state="dead"} 2',
      'fervo_queue_jobs{broker="queue",queue="mail",state="delayed"} 4',
      'fervo_queue_jobs{broker="queue",queue="mail",state="ready"} 5',
      'fervo_queue_jobs{broker="queue",queue="mail",state="reserved"} 3',
      'fervo_queue_latency_seconds{broker="queue",queue="mail"} 1.5',
      ...SLOTS,
    ]);
  },
);

Deno.test("writeWorkerMetrics() leaves out what a broker or php-fpm that is away would tell", {
  permissions: "none",
}, async () => {
  const error = new FervoError("FASTCGI_CONNECT_FAILED", "no such socket");
  assert.deepEqual(
    await valuesOf(viewOf({ broker: { isUp: false, error: unavailable() }, fpm: { isUp: false, error } })),
    [
      'fervo_broker_orphans{broker="queue"} 0',
      'fervo_broker_up{broker="queue"} 0',
      ...CONSUMER,
      ...CONNECTIONS,
      ...REQUESTS,
      'fervo_fpm_up{fpm="default"} 0',
      ...IN_FLIGHT,
      ...SLOTS,
    ],
  );
});

Deno.test("writeWorkerMetrics() shows a consumer that is stuck, misconfigured or paused", {
  permissions: "none",
}, async () => {
  const up = async (consumer: NonNullable<Parameters<typeof viewOf>[0]>["consumer"]) =>
    (await valuesOf(viewOf({ consumer: consumer! }))).find((line) => line.startsWith("fervo_consumer_up"));
  assert.equal(await up({ stall: "its receive" }), 'fervo_consumer_up{consumer="main"} 0');
  assert.equal(await up({ fault: unavailable() }), 'fervo_consumer_up{consumer="main"} 0');
  const stats = {
    slots: 4,
    busySlots: 0,
    inFlight: 0,
    hasRoom: true,
    isPaused: true,
    heldBack: [],
    receivedAtMs: undefined,
  };
  const lines = await valuesOf(viewOf({ consumer: { stats } }));
  assert.ok(lines.includes('fervo_consumer_paused{consumer="main"} 1'));
  assert.ok(!lines.some((line) => line.startsWith("fervo_last_receive")), "the broker has not answered yet");
});

Deno.test(
  "writeWorkerMetrics() shows for how long a consumer is starved, and how many jobs have lasted as orphans",
  {
    permissions: "none",
  },
  async () => {
    const values = async (forMs: number) =>
      (await valuesOf(viewOf({
        stuck: [
          { kind: "starved", broker: "queue", consumer: "main", queues: ["mail"], jobs: 3, forMs },
          { kind: "orphaned", broker: "queue", jobs: 2, forMs },
        ],
      }))).filter((line) => /starved|orphans/.test(line)).map((line) => Number(line.split(" ")[1]));
    assert.deepEqual(await values(5_000), [0, 5], "jobs may be on their way");
    assert.deepEqual(await values(45_000), [2, 45]);
  },
);
