import assert from "node:assert/strict";
import { ExitCode, exitCodeOf } from "../../../src/cli/exit_code.ts";
import type { ErrorCode } from "../../../src/core/errors.ts";
import { runMain } from "./fake_io.ts";

const EXPECTED: Readonly<Record<ErrorCode, ExitCode>> = {
  CONFIG_INVALID: 3,
  WORKER_FAULT: 1,
  FPM_MISCONFIGURED: 3,
  PROCESS_MISCONFIGURED: 3,
  QUEUE_UNAVAILABLE: 4,
  FASTCGI_CONNECT_FAILED: 4,
  FASTCGI_OVERLOADED: 4,
  FASTCGI_FIRST_BYTE_TIMEOUT: 4,
  APPLICATION_NOT_STARTED: 4,
  PROCESS_FAILED: 4,
  LISTEN_FAILED: 4,
  WORKER_UNAVAILABLE: 4,
  CONTROL_REFUSED: 1,
  LEASE_LOST: 1,
  JOB_MALFORMED: 1,
  JOB_FAILED: 1,
  JOB_NO_OUTCOME: 1,
  JOB_POSTPONED: 1,
  JOB_CRASHED: 1,
  JOB_ABANDONED: 1,
  JOB_TIMEOUT: 1,
  FASTCGI_CONNECTION_LOST: 1,
  FASTCGI_PROTOCOL: 1,
  FASTCGI_PARAM_TOO_LARGE: 1,
  FPM_KILL_FAILED: 1,
  SHUTDOWN: 1,
};

for (const [code, exitCode] of Object.entries(EXPECTED)) {
  Deno.test(`exitCodeOf(${code}) is ${exitCode}`, () => {
    assert.equal(exitCodeOf(code as ErrorCode), exitCode);
  });
}

Deno.test("The help documents every exit code", async () => {
  const { stdout } = await runMain(["--help"]);
  const documented = [...stdout.slice(stdout.indexOf("Exit codes:")).matchAll(/^ {2}(\d+) {2}\S/gm)];
  assert.deepEqual(documented.map((match) => Number(match[1])), Object.values(ExitCode));
});
