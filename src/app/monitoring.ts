import deno from "../../deno.json" with { type: "json" };
import type { App } from "./app.ts";
import type { HttpConfig } from "../config/config.ts";
import { formatAddress } from "../net/address.ts";
import { systemClock } from "../core/time/clock.ts";
import { reasonOf } from "../core/errors.ts";
import type { Observer } from "../core/observer.ts";
import { endpointsOf, openEndpointsOf } from "../http/endpoints.ts";
import { HttpServer } from "../http/server.ts";
import { JobMetrics } from "../telemetry/metrics/job_metrics.ts";
import type { LineWriter } from "../telemetry/line_writer.ts";
import type { Log } from "../telemetry/log.ts";
import { keepTrying } from "./keep_trying.ts";
import { ProcessMetrics } from "../telemetry/metrics/process_metrics.ts";

/** The parts of `[http]`: metrics and health of a worker, and their server. */
export class Monitoring implements Disposable {
  readonly #config: HttpConfig;
  readonly #jobs = new JobMetrics();
  readonly #process: ProcessMetrics;

  constructor({ log }: { log: Pick<LineWriter, "dropped"> }, config: HttpConfig) {
    this.#config = config;
    this.#process = new ProcessMetrics({ clock: systemClock, log }, { version: deno.version });
  }

  get observe(): Observer {
    return this.#jobs.observe;
  }

  /** Serves them, possibly later: the obstacle may pass, and jobs matter more. Never rejects. */
  async serve({ view }: App, log: Log): Promise<AsyncDisposable> {
    const address = formatAddress(this.#config.listen);
    const start = () =>
      HttpServer.start({
        clock: systemClock,
        endpoints: endpointsOf(view, [this.#jobs, this.#process]),
        open: openEndpointsOf(view),
        onUnavailable: (error) =>
          log.warn({ address, error: reasonOf(error) }, "Cannot accept connections; trying again"),
      }, this.#config);
    const trying = await keepTrying({ clock: systemClock, log, random: Math.random }, {
      start,
      facts: { address },
      started: "Serving /metrics, /livez and /readyz",
      failed: "Cannot serve /metrics, /livez and /readyz; trying again",
    });
    return { [Symbol.asyncDispose]: async () => await (await trying.end())?.close() };
  }

  [Symbol.dispose](): void {
    this.#process[Symbol.dispose]();
  }
}
