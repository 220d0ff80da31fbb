import { visibleLines } from "../core/text/visible.ts";
import type { JobMetrics } from "../telemetry/metrics/job_metrics.ts";
import type { ProcessMetrics } from "../telemetry/metrics/process_metrics.ts";
import { MetricsPage } from "../telemetry/metrics/prometheus.ts";
import { type Health, liveness, readiness } from "../monitor/health.ts";
import type { Endpoint } from "./server.ts";
import { writeWorkerMetrics } from "../monitor/worker_metrics.ts";
import type { WorkerView } from "../monitor/worker_view.ts";

/** A source of metrics. */
export type MetricsWriter = Pick<JobMetrics | ProcessMetrics, "write">;

/**
 * All endpoints.
 *
 * @param writers Of metrics beside the worker's own.
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
 * The endpoints without a token: only whether the worker is alive. Probes of containers and load balancers use it, and their
 * configuration is no place for a secret.
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
  // Problems have foreign text, and people read them with curl.
  const body = visibleLines(JSON.stringify({ ok: isWell, problems }));
  return new Response(body, {
    status: isWell ? 200 : 503,
    headers: { "content-type": "application/json" },
  });
}

/** The same, but requests during an answer share it, so that frequent requests do not pile up. */
function shared<T>(make: () => Promise<T>): () => Promise<T> {
  let current: Promise<T> | undefined;
  return () => current ??= make().finally(() => current = undefined);
}
