import type { Observer, WorkerEvent } from "../../core/observer.ts";
import { formatTraceparent, parseTraceparent, type RunTrace, type Tracer } from "../../core/trace.ts";
import type { JobSpan } from "./otlp.ts";

export interface TracingOptions {
  /** The share, from 0 to 1, of exported traces among those that begin here; else the message decides. */
  readonly sampleRatio: number;
  /** The driver of the consumer's broker. */
  readonly systemOf: (consumer: string) => string | undefined;
}

/**
 * Makes a span of each attempt of a job, by OpenTelemetry's conventions for messaging.
 *
 * 1. Names the span before PHP runs, so that PHP's own spans can be its children.
 * 2. Makes it when the attempt has ended, from the worker's event: an unsampled attempt costs only its ids.
 */
export class Tracing {
  readonly #add: (span: JobSpan) => void;
  readonly #random: () => number;
  readonly #options: TracingOptions;

  constructor(
    deps: { add: (span: JobSpan) => void; random: () => number },
    options: TracingOptions,
  ) {
    this.#add = deps.add;
    this.#random = deps.random;
    this.#options = options;
  }

  readonly tracer: Tracer = (traceparent) => {
    const parent = traceparent === undefined ? undefined : parseTraceparent(traceparent);
    const traceId = parent?.traceId ?? newId(16);
    const spanId = newId(8);
    const isSampled = parent?.isSampled ?? this.#random() < this.#options.sampleRatio;
    const text = formatTraceparent({ traceId, spanId, isSampled });
    return { traceId, spanId, parentSpanId: parent?.spanId, isSampled, traceparent: text };
  };

  readonly observe: Observer = (event) => {
    if (event.type !== "job_settled" && event.type !== "lease_lost") return;
    if (event.trace?.isSampled) this.#add(this.#spanOf(event, event.trace));
  };

  #spanOf(event: WorkerEvent & { type: "job_settled" | "lease_lost" }, trace: RunTrace): JobSpan {
    const { queue, consumer, id, attempt, runMs } = event;
    const { outcome, error } = resultOf(event);
    return {
      ...trace,
      name: `process ${queue}`,
      startMs: trace.startedAtMs,
      endMs: trace.startedAtMs + runMs,
      attributes: {
        "messaging.system": this.#options.systemOf(consumer),
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": queue,
        "messaging.message.id": id,
        "messaging.consumer.group.name": consumer,
        "error.type": error?.code,
        "fervo.attempt": attempt,
        "fervo.outcome": outcome,
        "fervo.wait_ms": event.waitMs,
        "fervo.run_ms": runMs,
      },
      failure: error?.message,
    };
  }
}

function resultOf(event: WorkerEvent & { type: "job_settled" | "lease_lost" }) {
  if (event.type === "lease_lost") {
    return {
      outcome: "lease_lost",
      error: { code: "LEASE_LOST", message: "The lease was lost; another worker has the job" },
    };
  }
  const { verdict } = event;
  return { outcome: verdict.kind, error: verdict.kind === "ack" ? undefined : verdict.error };
}

/** Random, as hexadecimal digits; not all zero, which the specification forbids. */
function newId(bytes: number): string {
  const id = crypto.getRandomValues(new Uint8Array(bytes)).toHex();
  return /[^0]/.test(id) ? id : newId(bytes);
}
