import assert from "node:assert/strict";
import { isJobId, priOf, secondsOf, whyTubeIsRefused } from "../../../../src/brokers/beanstalkd/mapping.ts";

Deno.test("priOf() puts higher priorities first, and keeps to 32 bits", { permissions: "none" }, () => {
  assert.deepEqual([0, 1, -1, 1_024].map(priOf), [1_024, 1_023, 1_025, 0]);
  assert.equal(priOf(Number.MAX_SAFE_INTEGER), 0);
  assert.equal(priOf(Number.MIN_SAFE_INTEGER), 4_294_967_295);
});

Deno.test("secondsOf() rounds up, and keeps to 32 bits", { permissions: "none" }, () => {
  assert.deepEqual([-5, 0, 1, 1_000, 1_001].map(secondsOf), [0, 0, 1, 1, 2]);
  assert.equal(secondsOf(Number.MAX_SAFE_INTEGER), 4_294_967_295);
});

Deno.test("whyTubeIsRefused() allows what beanstalkd does", { permissions: "none" }, () => {
  for (const name of ["a", "A-Z_0+/;.$()", "x".repeat(200)]) {
    assert.equal(whyTubeIsRefused(name), undefined, name);
  }
  for (const name of ["", "-a", "a:b", "a b", "a\r\ndelete 1", "ä", "x".repeat(201)]) {
    assert.ok(whyTubeIsRefused(name) !== undefined, name);
  }
});

Deno.test("isJobId() takes whole numbers of 64 bits and nothing else", { permissions: "none" }, () => {
  for (const id of ["1", "18446744073709551615"]) assert.equal(isJobId(id), true, id);
  for (const id of ["", "0", "01", "-1", "1.5", "1 ", "1\r\n", "18446744073709551616", "1e3"]) {
    assert.equal(isJobId(id), false, id);
  }
});
