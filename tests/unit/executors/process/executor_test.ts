import assert from "node:assert/strict";
import { JobError } from "../../../../src/core/errors.ts";
import { outcomeOfFailedStart } from "../../../../src/executors/process/executor.ts";

const OPTIONS = { command: ["php", "job.php"], directory: undefined } as const;

function failure(code: string): Error {
  return Object.assign(new Error(`Failed to spawn 'php': ${code} (os error 1)`), { code });
}

for (const code of ["EAGAIN", "ENOMEM", "EMFILE", "ENFILE", "ETXTBSY"]) {
  Deno.test(`outcomeOfFailedStart(${code}) puts the job back until the machine can run it`, {
    permissions: "none",
  }, () => {
    const outcome = outcomeOfFailedStart(failure(code), OPTIONS);
    assert.ok(outcome.kind === "release");
    assert.deepEqual([outcome.reason, outcome.error.code], ["unavailable", "PROCESS_FAILED"]);
    assert.match(outcome.error.message, /^Cannot start the program "php": [^E]/);
  });
}

Deno.test("outcomeOfFailedStart() takes a failure that it does not know for the configuration's", {
  permissions: "none",
}, () => {
  const outcome = outcomeOfFailedStart(failure("ENOEXEC"), OPTIONS);
  assert.ok(outcome.kind === "release");
  assert.deepEqual([outcome.reason, outcome.error.code, outcome.error.message], [
    "misconfigured",
    "PROCESS_MISCONFIGURED",
    `Cannot start the program "php": failed to spawn 'php': ENOEXEC; correct "command"`,
  ]);
});

Deno.test("outcomeOfFailedStart() buries a job whose data cannot be passed", { permissions: "none" }, () => {
  const malformed = new JobError("JOB_MALFORMED", "The payload is not UTF-8");
  assert.deepEqual(outcomeOfFailedStart(malformed, OPTIONS), { kind: "bury", error: malformed });
});

Deno.test("outcomeOfFailedStart() takes what is no word of the system for a fault of ours", {
  permissions: "none",
}, () => {
  const outcome = outcomeOfFailedStart(new TypeError("broken"), OPTIONS);
  assert.equal(outcome.kind === "release" && outcome.reason, "unavailable");
  assert.equal(outcome.kind === "release" && outcome.error.code, "WORKER_FAULT");
});
