import { shownPause } from "../core/admin.ts";
import type { FervoError } from "../core/errors.ts";
import { isoDate } from "../core/time/iso_date.ts";
import type { Clock } from "../core/time/clock.ts";
import type { StuckJobs } from "../core/stuck_jobs.ts";
import type { Observer } from "../core/observer.ts";
import { isMisconfigured } from "../core/outcome.ts";
import { endFacts, RepeatedStates, repetitionFacts, seconds } from "./repeated.ts";
import type { Log } from "./log.ts";

/** The job whose process is ended. */
const CUT_OFF = { timeout: "job that timed out", shutdown: "job that was cut off" } as const;

/** Logs the events of a worker. Each successful job is a debug line; important events stand out. */
export function logObserver(log: Log, clock: Pick<Clock, "monotonicMs">): Observer {
  const repeated = new RepeatedStates({ clock });
  return (event) => {
    switch (event.type) {
      case "consumer_started":
        return log.info({ consumer: event.consumer, queues: event.queues }, "Consumer started");
      case "consumer_paused": {
        const { consumer, error, forMs } = event;
        const level = isMisconfigured(error) ? "error" : "warn";
        const again = repeated.met(`${consumer} runs jobs`, error);
        const facts = { consumer, for_ms: forMs, ...errorFacts(error), ...repetitionFacts(again) };
        return log[again === undefined ? "debug" : level](facts, "Consumer backs off");
      }
      case "consumer_resumed": {
        const { consumer, failures, afterMs } = event;
        // A consumer that backs off and on all the time is reported now and then.
        const level = repeated.ended(`${consumer} runs jobs`) === undefined ? "debug" : "info";
        repeated.ended(`${consumer} has faults`);
        return log[level]({ consumer, failures, after_s: seconds(afterMs) }, "Consumer runs jobs again");
      }
      case "queues_paused": {
        const { consumer, queues } = event;
        const pauses = queues.filter(({ untilMs, reason }) => (untilMs ?? reason) !== undefined)
          .map((paused) => ({ queue: paused.queue, ...shownPause(paused) }));
        const facts = { consumer, queues: queues.map(({ queue }) => queue), ...(pauses[0] && { pauses }) };
        return log.info(facts, queues.length > 0 ? "Queues are paused" : "Queues are resumed");
      }
      case "delay_cut": {
        const { consumer, delayMs, maxMs } = event;
        const facts = { consumer, delay_ms: delayMs, max_ms: maxMs };
        return log.warn(facts, "The broker allows no longer delay: such jobs run again earlier; logged once");
      }
      case "queue_held_back": {
        const { broker, queue, forMs, error } = event;
        const facts = { broker, queue, for_ms: forMs, ...(error !== undefined && errorFacts(error)) };
        return log.info(facts, "The application holds back a queue");
      }
      case "queue_let_go":
        return log.info(
          { broker: event.broker, queue: event.queue },
          "The application takes jobs of the queue again",
        );
      case "post_mortem_died": {
        const { consumer, queue, id, attempt, deaths, error } = event;
        const facts = { consumer, queue, job: id, attempt, deaths, ...errorFacts(error) };
        return log.warn(facts, "The application died while it handled the post-mortem of a job");
      }
      case "consumer_stopped":
        repeated.ended(`${event.consumer} runs jobs`);
        repeated.ended(`${event.consumer} has faults`);
        return log.info({ consumer: event.consumer }, "Consumer stopped");
      case "broker_failed": {
        const again = repeated.met(brokerKey(event), event.error);
        const facts = { ...brokerFacts(event), ...errorFacts(event.error), ...repetitionFacts(again) };
        return log[again === undefined ? "debug" : "error"](facts, "The broker failed; trying again");
      }
      case "broker_recovered": {
        const ended = repeated.ended(brokerKey(event));
        return log[ended === undefined ? "debug" : "info"](
          { ...brokerFacts(event), ...endFacts(ended) },
          "The broker works again",
        );
      }
      case "lease_lost":
        return log.warn(jobFacts(event), "The lease was lost; another worker has the job");
      case "jobs_recovered": {
        const { process, queue, putBack, buried } = event;
        return log.warn(
          { process, queue, put_back: putBack, buried },
          "Took jobs back from a worker that died",
        );
      }
      case "strays_returned": {
        const { queue, putBack, buried } = event;
        return log.warn(
          { queue, put_back: putBack, buried },
          "The broker had jobs in flight that this worker does not have: an answer was lost, or the messages were altered; " +
            "the jobs run again",
        );
      }
      case "clock_stepped":
        return log.warn(
          { by_ms: Math.round(event.byMs) },
          "The time of day was set; the worker renewed all leases, and delayed jobs run earlier or later by this much",
        );
      case "queue_replaced":
        return log.warn(
          { path: event.path, in_flight: event.inFlight },
          "The queue's file was replaced; the worker uses the new file, and the jobs of the old file are no longer ours",
        );
      case "job_scheduled": {
        const { schedule, queue, id, dueMs } = event;
        return log.info({ schedule, queue, job: id, due: isoDate(dueMs) }, "The schedule pushed a job");
      }
      case "schedule_missed": {
        const { schedule, fromMs, toMs } = event;
        return log.warn(
          { schedule, from: isoDate(fromMs), to: isoDate(toMs) },
          "The schedule was due while no worker ran; no jobs are pushed for these times",
        );
      }
      case "schedule_ahead": {
        const { schedule, ahead } = event;
        if (ahead === undefined) return log.info({ schedule }, "The clocks agree about the schedule again");
        const claimedTo = isoDate(ahead.untilMs);
        return log.warn({ schedule, state: ahead.state, claimed_to: claimedTo }, AHEAD[ahead.state]);
      }
      case "job_started":
        return log.debug({ ...jobFacts(event), ...ignoredFact(event) }, "Job started");
      case "job_settled":
        return logSettled(log, repeated, event);
      case "connections_not_kept": {
        const { fpm, uri } = event;
        return log.warn(
          { fpm, uri },
          "A script goes on after its answer, as with fastcgi_finish_request(): its child is not free for the next job, so " +
            "the worker keeps no more connections to the pool; do such work before the answer, or in a job of its own",
        );
      }
      case "job_resent": {
        const facts = { ...jobFacts(event), ...errorFacts(event.error) };
        return log.info(
          facts,
          "Sent the job again, marked as a repeat: its PHP process may have ended before it ran the job",
        );
      }
      case "job_stderr":
        return log[event.level](stderrFacts(event), stderrText(event));
      case "child_ended": {
        const which = CUT_OFF[event.after];
        if (event.pid === undefined) return log.warn(jobFacts(event), `No PHP process runs the ${which}`);
        return log.warn({ ...jobFacts(event), pid: event.pid }, `Ended the PHP process of the ${which}`);
      }
      case "child_not_ended": {
        const facts = { ...jobFacts(event), ...errorFacts(event.error) };
        return log.error(facts, `Cannot end the PHP process of the ${CUT_OFF[event.after]}; it runs on`);
      }
      case "slots_changed": {
        const { fpm, slots, before, reason } = event;
        const isStep = Math.abs(slots - before) === 1;
        return log[isStep ? "debug" : "info"]({ fpm, slots, before, reason }, "Concurrency changed");
      }
      case "jobs_stuck":
        return log.warn(stuckFacts(event.stuck), STUCK[event.stuck.kind]);
      case "jobs_moving":
        return log.info(stuckFacts(event.stuck), MOVING[event.stuck.kind]);
      case "draining":
        return log.info({ in_flight: event.inFlight }, "Stopping; running jobs may finish");
      case "stopped":
        if (event.orphaned === 0) return log.info({}, "Stopped");
        return log.error(
          { orphaned: event.orphaned },
          "Stopped; some jobs will run again when their lease ends",
        );
    }
  };
}

const AHEAD = {
  watched:
    "Future times of the schedule are claimed: a clock was ahead, or this one is behind; the schedule pushes no jobs " +
    "until it is known whether another worker uses this claim",
  set_aside:
    "Future times of the schedule are claimed, and no other worker uses this claim: the schedule pushes jobs until " +
    "the claimed times begin",
  claimed:
    "All times of the schedule up to a time in the future are claimed: a clock was ahead, or this one is " +
    "behind; the schedule pushes no jobs before then",
} as const;

const STUCK = {
  starved: "Jobs are ready and slots are free, but the consumer takes no jobs",
  orphaned: "The broker counts jobs in flight that this worker does not have; a restart puts them back",
};
const MOVING = {
  starved: "The consumer takes jobs again, or no job is ready any more",
  orphaned: "The broker no longer counts jobs in flight that this worker does not have",
};

function stuckFacts({ forMs, kind: _, ...stuck }: StuckJobs): Record<string, unknown> {
  return { ...stuck, for_s: Math.round(forMs / 1_000) };
}

type Event<T> = Extract<Parameters<Observer>[0], { type: T }>;

function logSettled(log: Log, repeated: RepeatedStates, event: Event<"job_settled">): void {
  const { verdict } = event;
  const facts = {
    ...jobFacts(event),
    ...(event.waitMs !== undefined && { wait_ms: Math.round(event.waitMs) }),
    run_ms: Math.round(event.runMs * 10) / 10,
  };
  switch (verdict.kind) {
    case "ack":
      return log.debug(facts, "Job done");
    case "retry":
      return log.warn({ ...facts, retry_in_ms: verdict.delayMs, ...errorFacts(verdict.error) }, "Job failed");
    case "handled":
      return log.warn(
        { ...facts, ...errorFacts(verdict.error) },
        "Job failed; the application handled it",
      );
    case "replace": {
      const shown = { ...facts, retry_in_ms: verdict.delayMs, ...errorFacts(verdict.error) };
      return log.warn(shown, "Job failed; the application replaced it");
    }
    case "bury":
      return log.error({ ...facts, ...errorFacts(verdict.error) }, "Job is dead");
    case "release": {
      const shown = { ...facts, ...errorFacts(verdict.error) };
      if (verdict.error.code === "WORKER_FAULT") {
        const again = repeated.met(`${event.consumer} has faults`, verdict.error);
        const level = again === undefined ? "debug" : "error";
        return log[level](
          { ...shown, ...repetitionFacts(again) },
          "Job put back after a fault in fervo-worker",
        );
      }
      if (verdict.mayRunOn) {
        return log.warn(
          shown,
          "Job put back; its process may still run, and the next run may overlap with it",
        );
      }
      // An obstacle for all jobs is reported once, when the consumer backs off.
      const isTold = verdict.reason === "shutdown" && event.runMs > 0;
      return log[isTold ? "info" : "debug"](shown, "Job put back");
    }
  }
}

/** At most this many jobs of a batch are named. */
const MAX_NAMED = 20;

function stderrFacts(event: Event<"job_stderr">): Record<string, unknown> {
  const { jobs, stderr, fatal } = event;
  const [{ queue, id, attempt }] = jobs as [typeof jobs[number]];
  const whose = jobs.length === 1 ? { queue, job: id, attempt } : {
    batch: jobs.length,
    jobs: jobs.slice(0, MAX_NAMED).map(({ queue, id }) => `${queue}/${id}`),
  };
  return {
    ...consumerFact(event),
    ...whose,
    ...(fatal !== undefined && { error: fatal }),
    ...(stderr !== "" && { stderr }),
  };
}

function stderrText({ jobs, fatal }: Event<"job_stderr">): string {
  if (jobs.length === 1) {
    return fatal === undefined
      ? "The job is done and wrote to STDERR"
      : "The job reported success, and something failed after that";
  }
  return fatal === undefined
    ? "A batch has ended, and one of its jobs wrote to STDERR at the end"
    : "A batch has ended, and something that one of its jobs had left for the end failed; it is unknown which job";
}

type BrokerEvent = Event<"broker_failed" | "broker_recovered">;

function brokerKey({ consumer = "", schedule = "", broker = "", during }: BrokerEvent): string {
  return JSON.stringify([consumer, schedule, broker, during]);
}

function brokerFacts({ consumer, schedule, broker, during }: BrokerEvent): Record<string, unknown> {
  return {
    ...(consumer !== undefined && { consumer }),
    ...(schedule !== undefined && { schedule }),
    ...(broker !== undefined && { broker }),
    during,
  };
}

type JobEvent = Event<
  "job_started" | "job_settled" | "lease_lost" | "job_resent" | "child_ended" | "child_not_ended"
>;

function jobFacts(event: JobEvent): Record<string, unknown> {
  const facts = { ...consumerFact(event), queue: event.queue, job: event.id, attempt: event.attempt };
  return "trace" in event && event.trace !== undefined ? { ...facts, trace_id: event.trace.traceId } : facts;
}

function ignoredFact({ ignored }: Event<"job_started">): Record<string, unknown> {
  return ignored === undefined ? {} : { ignored };
}

function consumerFact(event: Parameters<Observer>[0]): Record<string, unknown> {
  return "consumer" in event && event.consumer !== undefined ? { consumer: event.consumer } : {};
}

function errorFacts({ code, message, details }: FervoError): Record<string, unknown> {
  return {
    code,
    error: message,
    ...(details.pid !== undefined && { pid: details.pid }),
    ...(details.stderr !== undefined && { stderr: details.stderr }),
    ...(details.stack !== undefined && { stack: details.stack }),
  };
}
