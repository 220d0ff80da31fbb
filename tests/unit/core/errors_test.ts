import assert from "node:assert/strict";
import { FervoError, JobError, QueueError, reasonOf } from "../../../src/core/errors.ts";

Deno.test("FervoError carries code, text, details and cause, under the name of its class", () => {
  const cause = new Error("disk full");
  const error = new QueueError("QUEUE_UNAVAILABLE", "Cannot write", { details: { path: "/a" }, cause });
  assert.equal(error.name, "QueueError");
  assert.equal(error.code, "QUEUE_UNAVAILABLE");
  assert.equal(error.message, "Cannot write");
  assert.deepEqual(error.details, { path: "/a" });
  assert.equal(error.cause, cause);
  assert.ok(error instanceof FervoError && error instanceof Error);
});

Deno.test("FervoError has empty details and no cause property when none are given", () => {
  const error = new JobError("JOB_FAILED", "It failed");
  assert.deepEqual(error.details, {});
  assert.equal("cause" in error, false);
});

Deno.test("reasonOf() is an error's message, or the text of whatever else was thrown", () => {
  assert.equal(reasonOf(new TypeError("no")), "no");
  assert.equal(reasonOf("plain"), "plain");
  assert.equal(reasonOf(undefined), "undefined");
  assert.equal(reasonOf(42), "42");
});
