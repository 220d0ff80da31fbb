import deno from "../../deno.json" with { type: "json" };
import type { Config, TracingConfig } from "../config/config.ts";
import { systemClock } from "../core/time/clock.ts";
import type { Log } from "../telemetry/log.ts";
import { SpanQueue } from "../telemetry/tracing/span_queue.ts";
import { Tracing } from "../telemetry/tracing/tracing.ts";

/**
 * The parts of `[tracing]`: spans of jobs, and their export to a collector, which ends with it.
 *
 * @param configNow The configuration when a job ends, which may differ from the first one.
 */
export function openTracing(options: TracingConfig, configNow: () => Config, log: Log) {
  const { endpoint, headers, serviceName, sampleRatio } = options;
  const spans = new SpanQueue({ clock: systemClock, log }, {
    endpoint,
    headers,
    resource: {
      "service.name": serviceName,
      "service.version": deno.version,
      "host.name": Deno.hostname(),
      "process.pid": Deno.pid,
    },
    version: deno.version,
  });
  const systemOf = (name: string) => {
    const { consumers, brokers } = configNow();
    const consumer = consumers.find((one) => one.name === name);
    return consumer && brokers.get(consumer.broker)?.type.driver;
  };
  const { tracer, observe } = new Tracing({ add: (span) => spans.add(span), random: Math.random }, {
    sampleRatio,
    systemOf,
  });
  log.info({ endpoint, sample_ratio: sampleRatio }, "Exporting traces");
  return { tracer, observe, [Symbol.asyncDispose]: () => spans[Symbol.asyncDispose]() };
}
