import assert from "node:assert/strict";
import { beanstalkdFindings } from "../../../../src/brokers/beanstalkd/check.ts";

const GOOD = { draining: "false", "binlog-current-index": "2", "max-job-size": "65535" };

function found(changed: Partial<typeof GOOD>): string[] {
  return beanstalkdFindings(new Map(Object.entries({ ...GOOD, ...changed })), 65_535)
    .map(({ id, severity }) => `${severity} ${id}`);
}

Deno.test("beanstalkdFindings() tells of what takes no jobs, and of what keeps none", () => {
  assert.deepEqual(found({}), ["ok beanstalkd.persistence"]);
  assert.deepEqual(found({ draining: "true" }), ["warning beanstalkd.draining", "ok beanstalkd.persistence"]);
  assert.deepEqual(found({ "binlog-current-index": "0" }), ["warning beanstalkd.persistence"]);
  assert.deepEqual(found({ "max-job-size": "65534" }), [
    "ok beanstalkd.persistence",
    "notice beanstalkd.job_size",
  ]);
});
