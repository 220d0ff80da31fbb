import type { FitReason, Observer, WorkerEvent } from "../../core/observer.ts";
import type { Verdict } from "../../core/outcome.ts";
import { BucketHistogram, labelsOf, type LabelText, type MetricsPage } from "./prometheus.ts";

/** Upper bounds of the buckets for waits and runs, seconds: from an empty job to one of an hour. */
const DURATION_BOUNDS_S = [
  0.001,
  0.005,
  0.01,
  0.025,
  0.05,
  0.1,
  0.25,
  0.5,
  1,
  2.5,
  5,
  10,
  30,
  60,
  300,
  1_800,
  3_600,
];

const FIT_REASONS: readonly FitReason[] = ["overloaded", "children", "others", "idle"];

type Settled = Extract<WorkerEvent, { type: "job_settled" }>;

/** The counts of one queue of one consumer. */
interface QueueCounts {
  readonly labels: { readonly consumer: string; readonly queue: string };
  /** By outcome. All begin at 0: a counter that begins at 1 hides its first step from `rate()`. */
  readonly outcomes: Record<Verdict["kind"], number>;
  /** The errors of attempts that were not done, by outcome and code. */
  readonly errors: Map<string, { readonly labels: LabelText; count: number }>;
  leasesLost: number;
  readonly waits: BucketHistogram;
  readonly runs: BucketHistogram;
}

/**
 * Counts a worker's events for Prometheus. Labels are names from the configuration and codes, never job ids: their number is
 * bounded.
 *
 * It sees every job: a done one costs two look-ups and some additions, and leaves no garbage.
 */
export class JobMetrics {
  /** By consumer, then by queue. */
  readonly #consumers = new Map<string, Map<string, QueueCounts>>();
  /** By consumer and action. */
  readonly #brokerErrors = new Map<string, { readonly labels: LabelText; count: number }>();
  /** By consumer. */
  readonly #pauses = new Map<string, number>();
  /** By queue. */
  readonly #recovered = new Map<string, { putBack: number; buried: number }>();

  /** By php-fpm pool with `concurrency = "auto"`: slots now, and changes by reason. */
  readonly #fits = new Map<string, { slots: number; readonly changes: Map<FitReason, number> }>();

  /** php-fpm pools without kept connections. */
  readonly #notKept = new Set<string>();

  readonly observe: Observer = (event) => {
    switch (event.type) {
      case "job_settled":
        return this.#settled(event);
      case "lease_lost":
        this.#countsOf(event.consumer, event.queue).leasesLost++;
        return;
      case "broker_failed": {
        const { consumer = "", during } = event;
        countIn(this.#brokerErrors, `${during} ${consumer}`, () => labelsOf({ consumer, during }));
        return;
      }
      case "consumer_started":
        for (const queue of event.queues) this.#countsOf(event.consumer, queue);
        this.#pauses.set(event.consumer, 0);
        return;
      case "slots_changed": {
        const { fpm, slots, reason } = event;
        const fit = this.#fits.get(fpm) ?? { slots, changes: new Map(FIT_REASONS.map((each) => [each, 0])) };
        fit.slots = slots;
        if (reason !== "start") fit.changes.set(reason, fit.changes.get(reason)! + 1);
        this.#fits.set(fpm, fit);
        return;
      }
      case "consumer_paused":
        this.#pauses.set(event.consumer, (this.#pauses.get(event.consumer) ?? 0) + 1);
        return;
      case "connections_not_kept":
        this.#notKept.add(event.fpm);
        return;
      case "jobs_recovered":
      case "strays_returned": {
        const before = this.#recovered.get(event.queue) ?? { putBack: 0, buried: 0 };
        this.#recovered.set(event.queue, {
          putBack: before.putBack + event.putBack,
          buried: before.buried + event.buried,
        });
        return;
      }
    }
  };

  /** Adds all metrics to `page`. */
  write(page: MetricsPage): void {
    const counts = [...this.#consumers.values()].flatMap((queues) => [...queues.values()]);
    const labelled = counts.map((each) => ({ ...each, text: labelsOf(each.labels) }));
    page.add(
      "fervo_jobs_total",
      labelled.flatMap(({ labels, outcomes }) =>
        Object.entries(outcomes).map(([outcome, count]) => [labelsOf({ ...labels, outcome }), count] as const)
      ),
    );
    page.add(
      "fervo_job_errors_total",
      labelled.flatMap(({ errors }) =>
        [...errors.values()].map(({ labels, count }) => [labels, count] as const)
      ),
    );
    page.addHistogram(
      "fervo_job_wait_seconds",
      labelled.map(({ text, waits }) => [text, waits]),
    );
    page.addHistogram(
      "fervo_job_run_seconds",
      labelled.map(({ text, runs }) => [text, runs]),
    );
    page.add(
      "fervo_leases_lost_total",
      labelled.map(({ text, leasesLost }) => [text, leasesLost]),
    );
    page.add(
      "fervo_jobs_recovered_total",
      [...this.#recovered].flatMap(([queue, { putBack, buried }]) => [
        [labelsOf({ queue, result: "put_back" }), putBack] as const,
        [labelsOf({ queue, result: "buried" }), buried] as const,
      ]),
    );
    page.add(
      "fervo_consumer_pauses_total",
      [...this.#pauses].map(([consumer, count]) => [labelsOf({ consumer }), count]),
    );
    page.add(
      "fervo_broker_errors_total",
      [...this.#brokerErrors.values()].map(({ labels, count }) => [labels, count]),
    );
    page.add(
      "fervo_fpm_connections_not_kept",
      [...this.#notKept].map((fpm) => [labelsOf({ fpm }), 1]),
    );
    if (this.#fits.size > 0) this.#writeFits(page);
  }

  #writeFits(page: MetricsPage): void {
    const fits = [...this.#fits];
    page.add(
      "fervo_fpm_slots",
      fits.map(([fpm, { slots }]) => [labelsOf({ fpm }), slots]),
    );
    page.add(
      "fervo_fpm_slots_changes_total",
      fits.flatMap(([fpm, { changes }]) =>
        [...changes].map(([reason, count]) => [labelsOf({ fpm, reason }), count] as const)
      ),
    );
  }

  #settled(event: Settled): void {
    const counts = this.#countsOf(event.consumer, event.queue);
    const { verdict, waitMs, runMs } = event;
    counts.outcomes[verdict.kind]++;
    if (verdict.kind !== "ack") {
      const { code } = verdict.error;
      countIn(
        counts.errors,
        `${verdict.kind} ${code}`,
        () => labelsOf({ ...counts.labels, outcome: verdict.kind, code }),
      );
      // It did not run, so its times mean nothing.
      if (verdict.kind === "release") return;
    }
    if (waitMs !== undefined) counts.waits.observe(waitMs / 1_000);
    counts.runs.observe(runMs / 1_000);
  }

  #countsOf(consumer: string, queue: string): QueueCounts {
    const queues = this.#consumers.get(consumer) ?? this.#addConsumer(consumer);
    return queues.get(queue) ?? addQueue(queues, consumer, queue);
  }

  #addConsumer(consumer: string): Map<string, QueueCounts> {
    const queues = new Map<string, QueueCounts>();
    this.#consumers.set(consumer, queues);
    return queues;
  }
}

function addQueue(queues: Map<string, QueueCounts>, consumer: string, queue: string): QueueCounts {
  const counts = {
    labels: { consumer, queue },
    outcomes: { ack: 0, retry: 0, bury: 0, release: 0, handled: 0, replace: 0 },
    errors: new Map(),
    leasesLost: 0,
    waits: new BucketHistogram(DURATION_BOUNDS_S),
    runs: new BucketHistogram(DURATION_BOUNDS_S),
  };
  queues.set(queue, counts);
  return counts;
}

function countIn(
  counters: Map<string, { readonly labels: LabelText; count: number }>,
  key: string,
  labels: () => LabelText,
): void {
  const counter = counters.get(key);
  if (counter === undefined) counters.set(key, { labels: labels(), count: 1 });
  else counter.count++;
}
