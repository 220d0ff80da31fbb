import { openBroker } from "../app.ts";
import type { Config } from "../config/config.ts";
import { systemClock } from "../core/clock.ts";
import type { Finding } from "../core/finding.ts";
import { failure } from "./check_context.ts";
import { counted } from "./plural.ts";

/** Whether a broker can be used, and what it says of itself. */
export async function checkBroker(config: Config, name: string): Promise<Finding[]> {
  const id = "broker.reachable";
  try {
    await using broker = openBroker(config, name, systemClock);
    const queues = await broker.driver.queues();
    const findings = await broker.driver.findings?.() ?? [];
    return [
      { id, severity: "ok", what: `reached; ${counted(queues.length, "queue")} with jobs` },
      ...findings,
    ];
  } catch (error) {
    return [failure(id, error)];
  }
}
