/** docs/reference/metrics.md: every metric of /metrics. */
import { type Metric, METRIC_TEXTS } from "../../src/telemetry/metrics/catalog.ts";
import { GENERATED, page, table } from "./markdown.ts";

const HEAD = `# Metrics

${GENERATED}

For whoever reads, alerts on or draws the worker's metrics: every metric of \`/metrics\`. How to have them, and which of them to
alert on: [monitoring.md](../monitoring.md).`;

const RULES =
  `- Labels are names of the configuration (\`consumer\`, \`queue\`, \`broker\`, \`fpm\`) and fixed words. None is made of a job, so the
  number of series is bounded.
- A metric without series is left out of the page: \`fervo_broker_errors_total\`, for instance, until the first error.
- A histogram has the series \`_bucket\`, \`_sum\` and \`_count\`.`;

function code(text: string): string {
  return `\`${text}\``;
}

function row([name, { type, labels, help, note }]: [string, Metric]): string[] {
  return [code(name), type, labels.map(code).join(", "), note === undefined ? help : `${help} ${note}`];
}

export function metricsPage(): string {
  return page(
    HEAD,
    RULES,
    table(["metric", "type", "labels", "what it counts"], Object.entries(METRIC_TEXTS).map(row)),
  );
}
