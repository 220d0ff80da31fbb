import { isLasting } from "../core/stuck_jobs.ts";
import { labelsOf, type MetricsPage } from "../telemetry/metrics/prometheus.ts";
import type { WorkerView } from "./worker_view.ts";

/** Adds how the worker's consumers, brokers and php-fpm pools are doing now. Takes 2 s at most. */
export async function writeWorkerMetrics(page: MetricsPage, view: WorkerView): Promise<void> {
  // At the same time, for each may take its time.
  const [brokers, fpms] = await Promise.all([
    Promise.all(view.brokers.map(async (broker) => ({ name: broker.name, state: await broker.state() }))),
    Promise.all(
      view.fpms.map(async (fpm) => ({ name: fpm.name, state: await fpm.state(), stats: fpm.connections })),
    ),
  ]);
  writeConsumers(page, view);
  writeBrokers(page, brokers, view.stuck);
  writeFpms(page, fpms);
}

type StateOf<T extends { state(): Promise<unknown> }> = Awaited<ReturnType<T["state"]>>;

function writeConsumers(page: MetricsPage, { consumers, stuck }: WorkerView): void {
  const all = consumers.map(({ name, stats, stall, fault }) => ({
    labels: labelsOf({ consumer: name }),
    starvedMs: stuck.find((one) => one.kind === "starved" && one.consumer === name)?.forMs ?? 0,
    stats,
    isWell: stall === undefined && fault === undefined,
  }));
  const gauge = (name: string, help: string, value: (each: (typeof all)[number]) => number) =>
    page.gauge(name, help, all.map((each) => [each.labels, value(each)]));

  gauge(
    "fervo_consumer_up",
    "1 while the consumer works; 0 when it is stuck, or what runs its jobs is misconfigured.",
    (each) => Number(each.isWell),
  );
  gauge(
    "fervo_consumer_paused",
    "1 while it waits until what runs its jobs can do so again.",
    ({ stats }) => Number(stats.isPaused),
  );
  gauge(
    "fervo_consumer_queues_held_back",
    "Its queues of which the application has said that no job is to begin now.",
    ({ stats }) => stats.heldBack.length,
  );
  gauge(
    "fervo_consumer_starved_seconds",
    "For how long jobs have been ready, slots free, and none was taken; 0 when that is not so. Looked at every 5 s.",
    ({ starvedMs }) => starvedMs / 1_000,
  );
  gauge("fervo_slots", "Jobs, or batches, that can run at the same time.", ({ stats }) => stats.slots);
  gauge("fervo_slots_busy", "Slots in use.", ({ stats }) => stats.busySlots);
  gauge(
    "fervo_jobs_in_flight",
    "Jobs taken and not settled: running, waiting for a slot, or being settled.",
    ({ stats }) => stats.inFlight,
  );
  page.gauge(
    "fervo_last_receive_timestamp_seconds",
    "When the broker last answered a request for jobs, be it that there are none; in seconds since 1970.",
    all.flatMap(({ labels, stats: { receivedAtMs } }) =>
      receivedAtMs === undefined ? [] : [[labels, receivedAtMs / 1_000] as const]
    ),
  );
}

function writeBrokers(
  page: MetricsPage,
  brokers: readonly { name: string; state: StateOf<WorkerView["brokers"][number]> }[],
  stuck: WorkerView["stuck"],
): void {
  page.gauge(
    "fervo_broker_up",
    "1 when the broker answers in time.",
    brokers.map(({ name, state }) => [labelsOf({ broker: name }), Number(state.isUp)]),
  );
  const orphans = (name: string) =>
    stuck.find((one) => one.kind === "orphaned" && one.broker === name && isLasting(one))?.jobs ?? 0;
  page.gauge(
    "fervo_broker_orphans",
    "Jobs that the broker has counted as in flight with this worker for 30 s or more, and that are not here.",
    brokers.map(({ name }) => [labelsOf({ broker: name }), orphans(name)]),
  );
  page.gauge(
    "fervo_queue_jobs",
    "Jobs in the broker, by state. All workers of a broker tell the same: take the maximum, not the sum.",
    brokers.flatMap(({ name, state }) =>
      state.isUp
        ? state.depths.flatMap(([queue, depth]) =>
          (["ready", "delayed", "reserved", "dead"] as const).flatMap((kind) => {
            const count = depth[kind];
            return count === undefined
              ? []
              : [[labelsOf({ broker: name, queue, state: kind }), count] as const];
          })
        )
        : []
    ),
  );
  page.gauge(
    "fervo_queue_latency_seconds",
    "For how long the next job of the queue has been ready; 0 when none is. All workers of a broker tell the same.",
    brokers.flatMap(({ name, state }) =>
      state.isUp
        ? state.depths.map(([queue, , latencyMs = 0]) =>
          [labelsOf({ broker: name, queue }), latencyMs / 1_000] as const
        )
        : []
    ),
  );
}

function writeFpms(
  page: MetricsPage,
  fpms: readonly {
    name: string;
    state: StateOf<WorkerView["fpms"][number]>;
    stats: WorkerView["fpms"][number]["connections"];
  }[],
): void {
  page.gauge(
    "fervo_fpm_up",
    "1 when php-fpm is there, be it too busy to answer.",
    fpms.map(({ name, state }) => [labelsOf({ fpm: name }), Number(state.isUp)]),
  );
  const pages = fpms.flatMap(({ name, state }) =>
    state.isUp && state.status !== undefined ? [{ name, status: state.status }] : []
  );
  page.gauge(
    "fervo_fpm_processes",
    "Children of the pool, by its status page.",
    pages.flatMap(({ name, status }) => [
      [labelsOf({ fpm: name, state: "idle" }), status.idleProcesses],
      [labelsOf({ fpm: name, state: "active" }), status.activeProcesses],
    ]),
  );
  page.gauge(
    "fervo_fpm_listen_queue",
    "Requests that wait for a child, by the status page; always 0 on a unix socket, where php-fpm cannot tell.",
    pages.map(({ name, status }) => [labelsOf({ fpm: name }), status.listenQueue]),
  );
  page.gauge(
    "fervo_fpm_connections",
    "The worker's connections to php-fpm.",
    fpms.flatMap(({ name, stats }) => [
      [labelsOf({ fpm: name, state: "busy" }), stats.busy],
      [labelsOf({ fpm: name, state: "idle" }), stats.idle],
    ]),
  );
  const counter = (name: string, help: string, value: (stats: (typeof fpms)[number]["stats"]) => number) =>
    page.counter(name, help, fpms.map(({ name, stats }) => [labelsOf({ fpm: name }), value(stats)]));
  counter("fervo_fpm_connections_opened_total", "Connections that were opened.", ({ opened }) => opened);
  counter("fervo_fpm_requests_total", "Requests that php-fpm has answered.", ({ answered }) => answered);
  counter(
    "fervo_fpm_requests_resent_total",
    "Requests that were sent again because the child had left its kept connection.",
    ({ resent }) => resent,
  );
}
