import assert from "node:assert/strict";
import { FervoError, JobError } from "../../../../src/core/errors.ts";
import type { Job } from "../../../../src/core/job.ts";
import { ACK } from "../../../../src/core/outcome.ts";
import {
  AckedStderr,
  DEFAULT_STDERR_OPTIONS,
  fatalErrorIn,
  type StderrOptions,
} from "../../../../src/executors/fastcgi/acked_stderr.ts";
import { EventLog } from "../../../support/event_log.ts";

/** STDERR as php-fpm 8.2 sends it, and as the command line writes it; and what of it tells of a fatal error. */
const FATAL: [stderr: string, line: string][] = [
  [
    "PHP message: PHP Fatal error:  Uncaught Exception: two\nlines in /a.php:1\nStack trace:\n#0 {main}\n  thrown in /a.php on line 1",
    "PHP Fatal error:  Uncaught Exception: two",
  ],
  [
    "PHP message: a note; PHP message: PHP Fatal error:  oh in /a.php on line 1",
    "PHP Fatal error:  oh in /a.php on line 1",
  ],
  [
    "PHP message: PHP Parse error:  syntax error in /a.php on line 2",
    "PHP Parse error:  syntax error in /a.php on line 2",
  ],
  ["; PHP message: PHP Fatal error:  oh in /a.php on line 1", "PHP Fatal error:  oh in /a.php on line 1"],
  [
    "PHP Recoverable fatal error:  oh in /a.php on line 1",
    "PHP Recoverable fatal error:  oh in /a.php on line 1",
  ],
  ["a note\nPHP Fatal error:  Uncaught Error: x in -:1", "PHP Fatal error:  Uncaught Error: x in -:1"],
  ["[30-Nov-2026 06:21:44 UTC] PHP Fatal error:  x", "PHP Fatal error:  x"],
  ["\nFatal error: Uncaught Exception: two\nlines in -:1", "Fatal error: Uncaught Exception: two"],
  ["Fatal error: x in /a.php on line 12", "Fatal error: x in /a.php on line 12"],
  [
    "PHP message: x\n… 99 bytes left out …\n; PHP message: PHP Fatal error:  x",
    "PHP Fatal error:  x",
  ],
];

const NOT_FATAL = [
  "",
  "PHP message: PHP Warning:  Undefined variable $a in /a.php on line 1",
  "PHP message: PHP Deprecated:  Fatal error: in /a.php on line 1",
  "PHP message: Error: Call to undefined function nofn() in /a.php:1\nStack trace:\n#0 {main}",
  "PHP message: the log said PHP Fatal error: x",
  "PHP message: told the user of a PHP Fatal error:  x",
  "fatal: not a git repository",
  "Fatal error: of another program",
  "Uncaught",
];

function setUp(options: Partial<StderrOptions> = {}) {
  const log = new EventLog();
  return { log, acked: new AckedStderr(log, { ...DEFAULT_STDERR_OPTIONS, ...options }) };
}

function jobOf(id: string): Job {
  const times = { enqueuedAtMs: 0, deadlineMs: 0 };
  return { id, queue: "mail", attempt: 2, payload: new Uint8Array(), maxAttempts: 3, ...times };
}

const [FATAL_STDERR, FATAL_LINE] = FATAL[1]!;
const jobs = [{ queue: "mail", id: "7", attempt: 2 }];

Deno.test("fatalErrorIn() knows a fatal error as PHP writes it, and nothing else", () => {
  for (const [stderr, line] of FATAL) assert.equal(fatalErrorIn(stderr), line, stderr);
  for (const stderr of NOT_FATAL) assert.equal(fatalErrorIn(stderr), undefined, stderr);
  assert.equal(fatalErrorIn(`PHP Fatal error:  ${"x".repeat(5_000)}`)!.length, 1_000);
});

Deno.test("fatalErrorIn() takes no time for texts that nearly match again and again", () => {
  // In the square of its length, a megabyte of this would take many minutes.
  for (const nearly of ["; [", "; PHP message: ", "PHP Fatal error", "Fatal error: x in \r"]) {
    assert.equal(fatalErrorIn(nearly.repeat(1_000_000 / nearly.length)), undefined);
  }
});

Deno.test("AckedStderr says nothing of a job that wrote nothing, and allocates no outcome", () => {
  const { log, acked } = setUp({ fatalAfterAck: "fail" });
  assert.equal(acked.outcomeOf(jobOf("7"), ""), ACK);
  acked.afterBatch([jobOf("7")], "");
  assert.deepEqual(log.events, []);
});

Deno.test("AckedStderr tells what a job wrote that is done, at the level that is set, or not at all", () => {
  for (const level of ["debug", "info", "warn", "error"] as const) {
    const { log, acked } = setUp({ stderrLevel: level });
    assert.equal(acked.outcomeOf(jobOf("7"), "a note"), ACK);
    assert.deepEqual(log.events, [{ type: "job_stderr", jobs, stderr: "a note", level }]);
  }
  const { log, acked } = setUp({ stderrLevel: "off" });
  assert.equal(acked.outcomeOf(jobOf("7"), "a note"), ACK);
  assert.deepEqual(log.events, []);
});

Deno.test("AckedStderr warns of a fatal error, whatever the level of the rest", () => {
  for (const [stderrLevel, level] of [["off", "warn"], ["debug", "warn"], ["error", "error"]] as const) {
    const { log, acked } = setUp({ stderrLevel });
    assert.equal(acked.outcomeOf(jobOf("7"), FATAL_STDERR), ACK);
    assert.deepEqual(log.events, [
      { type: "job_stderr", jobs, stderr: FATAL_STDERR, level, fatal: FATAL_LINE },
    ]);
  }
});

Deno.test("AckedStderr takes a job with a fatal error for failed where that is set, and tells it once", () => {
  const { log, acked } = setUp({ fatalAfterAck: "fail" });
  assert.equal(acked.outcomeOf(jobOf("7"), "a note"), ACK);
  assert.deepEqual(log.types, ["job_stderr"]);
  const outcome = acked.outcomeOf(jobOf("7"), FATAL_STDERR, 4711);
  assert.ok(outcome.kind === "retry" && outcome.error instanceof JobError);
  const { code, message, details } = outcome.error;
  assert.deepEqual([code, message, details], [
    "JOB_FAILED",
    `The job reported success, and failed after that: ${FATAL_LINE}`,
    { stderr: FATAL_STDERR, pid: 4711 },
  ]);
  assert.equal("delayMs" in outcome, false);
  assert.deepEqual(log.types, ["job_stderr"]);
});

Deno.test("AckedStderr tells what comes behind a batch of all its jobs, for it is not known whose it is", () => {
  const { log, acked } = setUp({ fatalAfterAck: "fail" });
  const batch = ["7", "8"].map(jobOf);
  const named = ["7", "8"].map((id) => ({ queue: "mail", id, attempt: 2 }));
  acked.afterBatch(batch, "a note");
  acked.afterBatch(batch, FATAL_STDERR);
  const lost = new FervoError("FASTCGI_CONNECTION_LOST", "Lost the connection", {
    details: { stderr: "a note" },
  });
  acked.afterBatch(batch, "", lost);
  acked.afterBatch(batch, "", new FervoError("JOB_TIMEOUT", "The time was up"));
  acked.afterBatch(batch, "", new FervoError("SHUTDOWN", "The worker shuts down"));
  const told = { type: "job_stderr", jobs: named };
  assert.deepEqual(log.events, [
    { ...told, stderr: "a note", level: "info" },
    { ...told, stderr: FATAL_STDERR, level: "warn", fatal: FATAL_LINE },
    { ...told, stderr: "a note", level: "warn", fatal: "Lost the connection" },
    { ...told, stderr: "", level: "warn", fatal: "The time was up" },
  ]);
});
