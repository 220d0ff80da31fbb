import assert from "node:assert/strict";
import { systemClock } from "../../../src/core/time/clock.ts";
import { JobError } from "../../../src/core/errors.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { logObserver } from "../../../src/telemetry/log_observer.ts";

// Not among the unit tests, for pino asks the system for its name when it is loaded.

Deno.test("createLog() writes one line of JSON an entry, with level, UTC time, message and facts", async () => {
  const written: string[] = [];
  const log = await createLog((text) => written.push(text), { level: "debug", isPretty: false });
  log.warn({ code: "JOB_FAILED", attempt: 2 }, "Job failed");
  log.debug({}, "Job done");
  assert.equal(written.length, 2);
  const { time, ...facts } = JSON.parse(written[0]!);
  assert.deepEqual(facts, { level: "warn", code: "JOB_FAILED", attempt: 2, msg: "Job failed" });
  assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.ok(written.every((text) => /^\{.*\}\n$/.test(text)));
});

Deno.test("createLog() keeps a text with line ends on one line", async () => {
  const written: string[] = [];
  const log = await createLog((text) => written.push(text), { level: "debug", isPretty: false });
  const error = new JobError("JOB_FAILED", 'a\n{"level":"info"}\r', { details: { stderr: "b\nc" } });
  const job = { consumer: "main", queue: "mail", id: "1\n2", attempt: 1, waitMs: undefined, runMs: 1 };
  logObserver(log, systemClock)({ type: "job_settled", ...job, verdict: { kind: "bury", error } });
  assert.equal(written.join("").trimEnd().split(/[\r\n]/).length, 1);
  const line = JSON.parse(written[0]!);
  assert.deepEqual([line.error, line.stderr, line.job], ['a\n{"level":"info"}\r', "b\nc", "1\n2"]);
});

Deno.test("createLog() leaves out what is below its level", async () => {
  const expected = { debug: 4, info: 3, warn: 2, error: 1 };
  for (const [level, count] of Object.entries(expected)) {
    const written: string[] = [];
    const log = await createLog((text) => written.push(text), {
      level: level as keyof typeof expected,
      isPretty: false,
    });
    log.debug({}, "1");
    log.info({}, "2");
    log.warn({}, "3");
    log.error({}, "4");
    assert.equal(written.length, count, level);
  }
});

Deno.test("createLog() writes one line for a person an entry when it is pretty", async () => {
  const written: string[] = [];
  const log = await createLog((text) => written.push(text), { level: "info", isPretty: true });
  log.error({ code: "JOB_FAILED" }, "Job is dead");
  assert.equal(written.length, 1);
  for (const part of [/ERROR/, /Job is dead/, /JOB_FAILED/]) assert.match(written[0]!, part);
  assert.throws(() => JSON.parse(written[0]!), SyntaxError);
  assert.equal(written[0]!.trimEnd().split("\n").length, 1);
});

for (const isPretty of [true, false]) {
  Deno.test(`createLog() lets no text command the terminal or begin a line (${isPretty ? "pretty" : "JSON"})`, async () => {
    const written: string[] = [];
    const log = await createLog((text) => written.push(text), { level: "info", isPretty });
    const evil = "a\x1b[2J\u009b31m\x7f\u2028\u202e\r\nERROR: b\x07";
    const error = new JobError("JOB_FAILED", evil, { details: { stderr: evil } });
    const job = { consumer: "main", queue: "mail", id: evil, attempt: 1, waitMs: undefined, runMs: 1 };
    logObserver(log, systemClock)({ type: "job_settled", ...job, verdict: { kind: "bury", error } });
    assert.equal(written.length, 1);
    // The colors are ours.
    // deno-lint-ignore no-control-regex
    const text = written[0]!.replace(/\n$/, "").replaceAll(/\x1b\[\d+m/g, "");
    assert.doesNotMatch(text, /[\p{Cc}\u2028-\u202e\u2066-\u2069]/u);
    if (!isPretty) assert.equal(JSON.parse(text).stderr, evil);
  });
}
