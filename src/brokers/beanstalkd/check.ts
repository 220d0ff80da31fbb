import type { Finding } from "../../core/finding.ts";
import type { BeanstalkdConnection } from "./connection.ts";
import { readStats } from "./reply.ts";
import { numberIn } from "./mapping.ts";

/**
 * Findings about a beanstalkd.
 *
 * @throws {QueueError} QUEUE_UNAVAILABLE
 */
export async function checkBeanstalkd(
  connection: BeanstalkdConnection,
  maxPayloadBytes: number,
): Promise<Finding[]> {
  const reply = await connection.send("stats", ["OK"]);
  return connection.read(reply, ({ body }) => beanstalkdFindings(readStats(body!), maxPayloadBytes));
}

/**
 * Judges the answer to `stats`.
 *
 * @throws {SyntaxError} when it lacks what every beanstalkd reports
 */
export function beanstalkdFindings(stats: ReadonlyMap<string, string>, maxPayloadBytes: number): Finding[] {
  return [...draining(stats), persistence(stats), ...jobSize(stats, maxPayloadBytes)];
}

function draining(stats: ReadonlyMap<string, string>): Finding[] {
  if (stats.get("draining") !== "true") return [];
  return [{
    id: "beanstalkd.draining",
    severity: "warning",
    what: "it is in drain mode (it received SIGUSR1)",
    why: "it accepts no new jobs: pushes fail, and dead letters cannot be retried",
    fix: "restart beanstalkd; or push to another one",
  }];
}

/** The number of the current log; 0 without a log. */
function persistence(stats: ReadonlyMap<string, string>): Finding {
  const id = "beanstalkd.persistence";
  if (numberIn(stats, "binlog-current-index") > 0) {
    return { id, severity: "ok", what: "it writes its jobs to a log on disk" };
  }
  return {
    id,
    severity: "warning",
    what: "it writes nothing to disk",
    why: "all jobs are lost when it ends",
    fix: "start it with -b DIR; add -f 0 if no acknowledged push may be lost in a power failure",
  };
}

function jobSize(stats: ReadonlyMap<string, string>, maxPayloadBytes: number): Finding[] {
  const bytes = numberIn(stats, "max-job-size");
  if (bytes >= maxPayloadBytes) return [];
  return [{
    id: "beanstalkd.job_size",
    severity: "notice",
    what: `it accepts jobs of up to ${bytes} bytes, and max_payload_bytes is ${maxPayloadBytes}`,
    fix: `start it with -z ${maxPayloadBytes}; or in [brokers.NAME]: max_payload_bytes = ${bytes}`,
  }];
}
