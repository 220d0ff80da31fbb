import { isLasting } from "../core/stuck_jobs.ts";
import type { NumberName } from "../telemetry/metrics/catalog.ts";
import { labelsOf, type MetricsPage } from "../telemetry/metrics/prometheus.ts";
import type { WorkerView } from "./worker_view.ts";

/** Adds the current state of the worker's consumers, brokers and php-fpm pools. Takes at most 2 s. */
export async function writeWorkerMetrics(page: MetricsPage, view: WorkerView): Promise<void> {
  // In parallel, because each may be slow.
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
  const gauge = (name: NumberName, value: (each: (typeof all)[number]) => number) =>
    page.add(name, all.map((each) => [each.labels, value(each)]));

  gauge(
    "fervo_consumer_up",
    (each) => Number(each.isWell),
  );
  gauge(
    "fervo_consumer_paused",
    ({ stats }) => Number(stats.isPaused),
  );
  gauge(
    "fervo_consumer_queues_held_back",
    ({ stats }) => stats.heldBack.length,
  );
  gauge(
    "fervo_consumer_starved_seconds",
    ({ starvedMs }) => starvedMs / 1_000,
  );
  gauge("fervo_slots", ({ stats }) => stats.slots);
  gauge("fervo_slots_busy", ({ stats }) => stats.busySlots);
  gauge(
    "fervo_jobs_in_flight",
    ({ stats }) => stats.inFlight,
  );
  page.add(
    "fervo_last_receive_timestamp_seconds",
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
  page.add(
    "fervo_broker_up",
    brokers.map(({ name, state }) => [labelsOf({ broker: name }), Number(state.isUp)]),
  );
  const orphans = (name: string) =>
    stuck.find((one) => one.kind === "orphaned" && one.broker === name && isLasting(one))?.jobs ?? 0;
  page.add(
    "fervo_broker_orphans",
    brokers.map(({ name }) => [labelsOf({ broker: name }), orphans(name)]),
  );
  page.add(
    "fervo_queue_jobs",
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
  page.add(
    "fervo_queue_latency_seconds",
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
  page.add(
    "fervo_fpm_up",
    fpms.map(({ name, state }) => [labelsOf({ fpm: name }), Number(state.isUp)]),
  );
  const pages = fpms.flatMap(({ name, state }) =>
    state.isUp && state.status !== undefined ? [{ name, status: state.status }] : []
  );
  page.add(
    "fervo_fpm_processes",
    pages.flatMap(({ name, status }) => [
      [labelsOf({ fpm: name, state: "idle" }), status.idleProcesses],
      [labelsOf({ fpm: name, state: "active" }), status.activeProcesses],
    ]),
  );
  page.add(
    "fervo_fpm_listen_queue",
    pages.map(({ name, status }) => [labelsOf({ fpm: name }), status.listenQueue]),
  );
  page.add(
    "fervo_fpm_connections",
    fpms.flatMap(({ name, stats }) => [
      [labelsOf({ fpm: name, state: "busy" }), stats.busy],
      [labelsOf({ fpm: name, state: "idle" }), stats.idle],
    ]),
  );
  const counter = (metric: NumberName, value: (stats: (typeof fpms)[number]["stats"]) => number) =>
    page.add(metric, fpms.map(({ name, stats }) => [labelsOf({ fpm: name }), value(stats)]));
  counter("fervo_fpm_connections_opened_total", ({ opened }) => opened);
  counter("fervo_fpm_requests_total", ({ answered }) => answered);
  counter(
    "fervo_fpm_requests_resent_total",
    ({ resent }) => resent,
  );
}
