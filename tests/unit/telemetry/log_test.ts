import assert from "node:assert/strict";
import { FervoError, JobError } from "../../../src/core/errors.ts";
import type { BrokerWork, WorkerEvent } from "../../../src/core/observer.ts";
import { ACK } from "../../../src/core/outcome.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import type { Log } from "../../../src/telemetry/log.ts";
import { logObserver } from "../../../src/telemetry/log_observer.ts";

/** What the observer writes for the events: the level, the message as `msg`, and the facts. */
function linesOf(events: readonly WorkerEvent[], clock = new FakeClock()): Record<string, unknown>[] {
  const lines: Record<string, unknown>[] = [];
  const writeAs = (level: string) => (facts: Record<string, unknown>, msg: string) =>
    void lines.push({ level, ...facts, msg });
  const log: Log = {
    debug: writeAs("debug"),
    info: writeAs("info"),
    warn: writeAs("warn"),
    error: writeAs("error"),
  };
  events.forEach(logObserver(log, clock));
  return lines;
}

const SECRET = "hunter2";
/** All that an error could carry: only code, text and STDERR belong into a log. */
const error = new JobError("JOB_FAILED", "The job failed: because", {
  details: { stderr: "PHP message: x", param: SECRET, bytes: 7 },
  cause: new Error(SECRET),
});
const errorFacts = { code: "JOB_FAILED", error: "The job failed: because", stderr: "PHP message: x" };
const quietError = new FervoError("QUEUE_UNAVAILABLE", `Cannot use the queue "q"`);
const quietFacts = { code: "QUEUE_UNAVAILABLE", error: `Cannot use the queue "q"` };

const job = { consumer: "main", queue: "mail", id: "17", attempt: 2 };
const jobFacts = { consumer: "main", queue: "mail", job: "17", attempt: 2 };
const FAILED = "The broker failed; trying again";
const child = { queue: "mail", id: "17", attempt: 2 };
const childFacts = { queue: "mail", job: "17", attempt: 2 };
const settled = { type: "job_settled", ...job, waitMs: 12.4, runMs: 3.456789 } as const;
const settledFacts = { ...jobFacts, wait_ms: 12, run_ms: 3.5 };

const CASES: readonly [claim: string, event: WorkerEvent, facts: Record<string, unknown>][] = [
  ["a consumer's start", { type: "consumer_started", consumer: "main", queues: ["a", "b"] }, {
    level: "info",
    consumer: "main",
    queues: ["a", "b"],
    msg: "Consumer started",
  }],
  ["what people have paused", {
    type: "queues_paused",
    consumer: "main",
    queues: [{ queue: "a" }, { queue: "b", untilMs: Date.UTC(2026, 0, 31), reason: "moved" }],
  }, {
    level: "info",
    consumer: "main",
    queues: ["a", "b"],
    pauses: [{ queue: "b", until: "2026-01-31T00:00:00.000Z", reason: "moved" }],
    msg: "Queues are paused",
  }],
  ["that all is resumed", { type: "queues_paused", consumer: "main", queues: [] }, {
    level: "info",
    consumer: "main",
    queues: [],
    msg: "Queues are resumed",
  }],
  ["that a delay was cut", { type: "delay_cut", consumer: "main", delayMs: 5_000, maxMs: 1_000 }, {
    level: "warn",
    consumer: "main",
    delay_ms: 5_000,
    max_ms: 1_000,
    msg: "The broker allows no longer delay: such jobs run again earlier; logged once",
  }],
  ["a pause", { type: "consumer_paused", consumer: "main", error, forMs: 50 }, {
    level: "warn",
    consumer: "main",
    for_ms: 50,
    ...errorFacts,
    msg: "Consumer backs off",
  }],
  ["that other jobs fit the pool", {
    type: "slots_changed",
    fpm: "default",
    slots: 8,
    before: 4,
    reason: "idle",
  }, { level: "info", fpm: "default", slots: 8, before: 4, reason: "idle", msg: "Concurrency changed" }],
  ["a small step of that", { type: "slots_changed", fpm: "default", slots: 7, before: 8, reason: "others" }, {
    level: "debug",
    fpm: "default",
    slots: 7,
    before: 8,
    reason: "others",
    msg: "Concurrency changed",
  }],
  ["a pause that a person may have to end", {
    type: "consumer_paused",
    consumer: "main",
    error: new FervoError("FPM_MISCONFIGURED", "no script"),
    forMs: 50,
  }, {
    level: "error",
    consumer: "main",
    for_ms: 50,
    code: "FPM_MISCONFIGURED",
    error: "no script",
    msg: "Consumer backs off",
  }],
  ["a consumer's end", { type: "consumer_stopped", consumer: "main" }, {
    level: "info",
    consumer: "main",
    msg: "Consumer stopped",
  }],
  ["a job's start", { type: "job_started", ...job }, { level: "debug", ...jobFacts, msg: "Job started" }],
  ["a job that was done", { ...settled, verdict: ACK }, { level: "debug", ...settledFacts, msg: "Job done" }],
  ["what a job wrote that is done", {
    type: "job_stderr",
    consumer: "main",
    jobs: [child],
    stderr: "a note",
    level: "info",
  }, {
    level: "info",
    ...jobFacts,
    stderr: "a note",
    msg: "The job is done and wrote to STDERR",
  }],
  ["an error behind a job's word", {
    type: "job_stderr",
    jobs: [child],
    stderr: "PHP Fatal error:  x\n#0",
    level: "warn",
    fatal: "PHP Fatal error:  x",
  }, {
    level: "warn",
    ...childFacts,
    error: "PHP Fatal error:  x",
    stderr: "PHP Fatal error:  x\n#0",
    msg: "The job reported success, and something failed after that",
  }],
  ["what one of a batch wrote", {
    type: "job_stderr",
    jobs: Array.from({ length: 50 }, (_, n) => ({ queue: "mail", id: `${n}`, attempt: 1 })),
    stderr: "a note",
    level: "debug",
  }, {
    level: "debug",
    batch: 50,
    jobs: Array.from({ length: 20 }, (_, n) => `mail/${n}`),
    stderr: "a note",
    msg: "A batch has ended, and one of its jobs wrote to STDERR at the end",
  }],
  ["that the end of a batch failed", {
    type: "job_stderr",
    jobs: [child, { ...child, id: "18" }],
    stderr: "",
    level: "warn",
    fatal: "Lost the connection",
  }, {
    level: "warn",
    batch: 2,
    jobs: ["mail/17", "mail/18"],
    error: "Lost the connection",
    msg:
      "A batch has ended, and something that one of its jobs had left for the end failed; it is unknown which job",
  }],
  ["a job without a known wait", { ...settled, waitMs: undefined, verdict: ACK }, {
    level: "debug",
    ...jobFacts,
    run_ms: 3.5,
    msg: "Job done",
  }],
  ["a job that failed", { ...settled, verdict: { kind: "retry", error, delayMs: 500 } }, {
    level: "warn",
    ...settledFacts,
    retry_in_ms: 500,
    ...errorFacts,
    msg: "Job failed",
  }],
  ["a job that died", { ...settled, verdict: { kind: "bury", error } }, {
    level: "error",
    ...settledFacts,
    ...errorFacts,
    msg: "Job is dead",
  }],
  ["a job that was put back", {
    ...settled,
    verdict: { kind: "release", reason: "shutdown", error: quietError },
  }, {
    level: "info",
    ...settledFacts,
    ...quietFacts,
    msg: "Job put back",
  }],
  ["a job that was put back while PHP may run on", {
    ...settled,
    verdict: { kind: "release", reason: "shutdown", error: quietError, mayRunOn: true },
  }, {
    level: "warn",
    ...settledFacts,
    ...quietFacts,
    msg: "Job put back; its process may still run, and the next run may overlap with it",
  }],
  ["the end of a process of a job that was cut off", {
    type: "child_ended",
    after: "shutdown",
    ...child,
    pid: 4711,
  }, {
    level: "warn",
    ...childFacts,
    pid: 4711,
    msg: "Ended the PHP process of the job that was cut off",
  }],
  ["that no process was found for it", { type: "child_ended", after: "shutdown", ...child, pid: undefined }, {
    level: "warn",
    ...childFacts,
    msg: "No PHP process runs the job that was cut off",
  }],
  ["that the process of a late job could not be ended", {
    type: "child_not_ended",
    after: "timeout",
    ...child,
    error: quietError,
  }, {
    level: "error",
    ...childFacts,
    ...quietFacts,
    msg: "Cannot end the PHP process of the job that timed out; it runs on",
  }],
  ["a job that could not be run, of which the pause tells", {
    ...settled,
    verdict: { kind: "release", reason: "unavailable", error: quietError },
  }, {
    level: "debug",
    ...settledFacts,
    ...quietFacts,
    msg: "Job put back",
  }],
  ["a lost lease", { type: "lease_lost", ...job, waitMs: undefined, runMs: 1 }, {
    level: "warn",
    ...jobFacts,
    msg: "The lease was lost; another worker has the job",
  }],
  ["a broker that fails", { type: "broker_failed", consumer: "main", during: "settle", error: quietError }, {
    level: "error",
    consumer: "main",
    during: "settle",
    ...quietFacts,
    msg: "The broker failed; trying again",
  }],
  ["a driver's own work that fails", { type: "broker_failed", during: "schedule", error: quietError }, {
    level: "error",
    during: "schedule",
    ...quietFacts,
    msg: "The broker failed; trying again",
  }],
  ["that a queue's file was replaced", { type: "queue_replaced", path: "/q", inFlight: 2 }, {
    level: "warn",
    path: "/q",
    in_flight: 2,
    msg:
      "The queue's file was replaced; the worker uses the new file, and the jobs of the old file are no longer ours",
  }],
  ["that the time of day was set", { type: "clock_stepped", byMs: -1_500.4 }, {
    level: "warn",
    by_ms: -1_500,
    msg:
      "The time of day was set; the worker renewed all leases, and delayed jobs run earlier or later by this much",
  }],
  ["times of a schedule that are claimed ahead", {
    type: "schedule_ahead",
    schedule: "nightly",
    ahead: { state: "set_aside", untilMs: 1_800_000_000_000 },
  }, {
    level: "warn",
    schedule: "nightly",
    state: "set_aside",
    claimed_to: "2027-01-15T08:00:00.000Z",
    msg:
      "Future times of the schedule are claimed, and no other worker uses this claim: the schedule pushes jobs until the " +
      "claimed times begin",
  }],
  ["that clocks agree about a schedule again", {
    type: "schedule_ahead",
    schedule: "nightly",
    ahead: undefined,
  }, { level: "info", schedule: "nightly", msg: "The clocks agree about the schedule again" }],
  ["jobs that were taken back", {
    type: "jobs_recovered",
    queue: "mail",
    process: "host:12:ab",
    putBack: 3,
    buried: 1,
  }, {
    level: "warn",
    process: "host:12:ab",
    queue: "mail",
    put_back: 3,
    buried: 1,
    msg: "Took jobs back from a worker that died",
  }],
  ["jobs that are not taken", {
    type: "jobs_stuck",
    stuck: { kind: "starved", broker: "redis", consumer: "main", queues: ["mail"], jobs: 3, forMs: 30_100 },
  }, {
    level: "warn",
    broker: "redis",
    consumer: "main",
    queues: ["mail"],
    jobs: 3,
    for_s: 30,
    msg: "Jobs are ready and slots are free, but the consumer takes no jobs",
  }],
  ["jobs that the broker takes for ours", {
    type: "jobs_stuck",
    stuck: { kind: "orphaned", broker: "redis", jobs: 2, forMs: 90_000 },
  }, {
    level: "warn",
    broker: "redis",
    jobs: 2,
    for_s: 90,
    msg: "The broker counts jobs in flight that this worker does not have; a restart puts them back",
  }],
  ["jobs that move again", {
    type: "jobs_moving",
    stuck: { kind: "orphaned", broker: "redis", jobs: 2, forMs: 90_000 },
  }, {
    level: "info",
    broker: "redis",
    jobs: 2,
    for_s: 90,
    msg: "The broker no longer counts jobs in flight that this worker does not have",
  }],
  ["a stop", { type: "draining", inFlight: 3 }, {
    level: "info",
    in_flight: 3,
    msg: "Stopping; running jobs may finish",
  }],
  ["the end", { type: "stopped", orphaned: 0 }, { level: "info", msg: "Stopped" }],
  ["an end that left jobs behind", { type: "stopped", orphaned: 2 }, {
    level: "error",
    orphaned: 2,
    msg: "Stopped; some jobs will run again when their lease ends",
  }],
];

for (const [claim, event, facts] of CASES) {
  Deno.test(`logObserver() writes ${claim} with its level and exactly its facts`, () => {
    assert.deepEqual(linesOf([event]), [facts]);
  });
}

Deno.test("logObserver() tells a consumer's pauses once while they last, a job's in detail, and the end", () => {
  const clock = new FakeClock();
  const paused = { type: "consumer_paused", consumer: "main", error: quietError, forMs: 1_000 } as const;
  const released = {
    ...settled,
    verdict: { kind: "release", reason: "unavailable", error: quietError },
  } as const;
  const events: WorkerEvent[] = Array.from({ length: 60 }, () => [released, paused]).flat();
  const resumed = { type: "consumer_resumed", consumer: "main", error: quietError } as const;
  const lines = linesOf([...events, { ...resumed, failures: 60, afterMs: 60_000 }], clock);
  assert.deepEqual(lines.filter(({ level }) => level !== "debug"), [
    { level: "warn", consumer: "main", for_ms: 1_000, ...quietFacts, msg: "Consumer backs off" },
    { level: "info", consumer: "main", failures: 60, after_s: 60, msg: "Consumer runs jobs again" },
  ]);
});

Deno.test("logObserver() tells a broker's failures by their work, once while they last, and their ends", () => {
  const clock = new FakeClock();
  const failed = (work: BrokerWork) => ({ type: "broker_failed", ...work, error: quietError }) as const;
  const works: BrokerWork[] = [
    { consumer: "main", during: "receive" },
    { consumer: "main", during: "settle" },
    { consumer: "other", during: "settle" },
    { broker: "redis", during: "heartbeat" },
    { schedule: "nightly", during: "schedule" },
  ];
  const events = Array.from({ length: 20 }, () => works.map(failed)).flat();
  const ended = works.map((work) => ({ type: "broker_recovered", ...work }) as const);
  const lines = linesOf([...events, ...ended], clock).filter(({ level }) => level !== "debug");
  assert.deepEqual(
    lines.slice(0, 5),
    works.map((work) => ({ level: "error", ...work, ...quietFacts, msg: FAILED })),
  );
  const end = { level: "info", failures: 20, after_s: 0, msg: "The broker works again" };
  assert.deepEqual(lines.slice(5), works.map((work) => ({ ...end, ...work })));
});

Deno.test("logObserver() does not tell each job that is put back since nothing can run it, nor one that was not begun", () => {
  const put = (reason: "unavailable" | "misconfigured" | "shutdown", runMs: number) =>
    ({ ...settled, runMs, verdict: { kind: "release", reason, error: quietError } }) as const;
  const lines = linesOf([
    put("unavailable", 5),
    put("misconfigured", 5),
    put("shutdown", 0),
    put("shutdown", 5),
  ]);
  assert.deepEqual(lines.map(({ level }) => level), ["debug", "debug", "debug", "info"]);
});

Deno.test("logObserver() tells a fault of ours in every job once while it lasts", () => {
  const fault = new FervoError("WORKER_FAULT", "This is a fault in fervo-worker itself");
  const put = { ...settled, verdict: { kind: "release", reason: "unavailable", error: fault } } as const;
  const lines = linesOf(Array.from({ length: 50 }, () => put));
  assert.equal(lines.filter(({ level }) => level === "error").length, 1);
});

Deno.test("logObserver() writes nothing of an error but its code, its text and STDERR", () => {
  const lines = JSON.stringify(linesOf(CASES.map(([, event]) => event)));
  assert.ok(lines.includes("PHP message: x"));
  assert.equal(lines.includes(SECRET), false);
});
