import { visibleLines } from "../core/text/visible.ts";
import type { JobMetrics } from "../telemetry/metrics/job_metrics.ts";
import type { ProcessMetrics } from "../telemetry/metrics/process_metrics.ts";
import { MetricsPage } from "../telemetry/metrics/prometheus.ts";
import { type Health, liveness, readiness } from "../monitor/health.ts";
import type { Endpoint } from "./server.ts";
import { writeWorkerMetrics } from "../monitor/worker_metrics.ts";
import type { WorkerView } from "../monitor/worker_view.ts";

/** Whoever writes metrics that are at hand. */
export type MetricsWriter = Pick<JobMetrics | ProcessMetrics, "write">;

/**
 * All that can be asked for.
 *
 * @param writers Of metrics, beside those of the worker's own parts.
 */
export function endpointsOf(view: WorkerView, writers: readonly MetricsWriter[]): Record<string, Endpoint> {
  const readMetrics = shared(() => metricsText(view, writers));
  return {
    "/metrics": async () =>
      new Response(await readMetrics(), { headers: { "content-type": MetricsPage.CONTENT_TYPE } }),
    "/livez": () => healthResponse(liveness(view)),
    "/readyz": async () => healthResponse(await readiness(view)),
  };
}

/**
 * What can be asked for without a token: whether the worker is alive, and no more. What asks is a container's or a load
 * balancer's probe, whose own configuration is no place for a secret.
 */
export function openEndpointsOf(view: WorkerView): Record<string, Endpoint> {
  return { "/livez": () => healthResponse({ isWell: liveness(view).isWell, problems: [] }) };
}

async function metricsText(view: WorkerView, writers: readonly MetricsWriter[]): Promise<string> {
  const page = new MetricsPage();
  await writeWorkerMetrics(page, view);
  for (const writer of writers) writer.write(page);
  return page.toString();
}

function healthResponse({ isWell, problems }: Health): Response {
  // Problems have words of others, and people look at them with curl.
  const body = visibleLines(JSON.stringify({ ok: isWell, problems }));
  return new Response(body, {
    status: isWell ? 200 : 503,
    headers: { "content-type": "application/json" },
  });
}

/** The same, but whoever asks while an answer is being made gets that one: those who ask often do not pile up. */
function shared<T>(make: () => Promise<T>): () => Promise<T> {
  let current: Promise<T> | undefined;
  return () => current ??= make().finally(() => current = undefined);
}
