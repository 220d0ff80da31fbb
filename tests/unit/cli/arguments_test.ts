import assert from "node:assert/strict";
import { InvalidArgumentError } from "commander";
import { durationMs, nameAndValue, queueName, wholeNumber } from "../../../src/cli/arguments.ts";

Deno.test("durationMs() reads each unit, and fractions", () => {
  assert.equal(durationMs("500ms"), 500);
  assert.equal(durationMs("10s"), 10_000);
  assert.equal(durationMs("5m"), 300_000);
  assert.equal(durationMs("2h"), 7_200_000);
  assert.equal(durationMs("1d"), 86_400_000);
  assert.equal(durationMs("1.5s"), 1_500);
  assert.equal(durationMs("0s"), 0);
  assert.equal(durationMs("0.0004s"), 0);
});

for (
  const text of [
    "",
    "5",
    "s",
    "-1s",
    "+1s",
    "1e3s",
    "1 s",
    " 1s",
    "1s ",
    "1w",
    "1S",
    ".5s",
    "1.s",
    "1s5",
    "Infinity",
  ]
) {
  Deno.test(`durationMs() refuses "${text}" and shows how to write one`, () => {
    assert.throws(
      () => durationMs(text),
      new InvalidArgumentError("Expected a number with a unit, such as 500ms, 10s, 5m, 2h or 1d."),
    );
  });
}

Deno.test("wholeNumber() reads whole numbers from its minimum on", () => {
  assert.equal(wholeNumber(1)("1"), 1);
  assert.equal(wholeNumber(1)("1000000"), 1_000_000);
  assert.equal(wholeNumber(Number.MIN_SAFE_INTEGER)("-7"), -7);
  assert.equal(wholeNumber(0)("0"), 0);
});

for (const text of ["", " ", "0", "-1", "1.5", "one", "1x", "9007199254740992", "NaN", "Infinity"]) {
  Deno.test(`wholeNumber(1) refuses "${text}" and tells the minimum`, () => {
    assert.throws(
      () => wholeNumber(1)(text),
      new InvalidArgumentError("Expected a whole number of at least 1."),
    );
  });
}

Deno.test("wholeNumber() without a minimum does not speak of one", () => {
  assert.throws(
    () => wholeNumber(Number.MIN_SAFE_INTEGER)("x"),
    new InvalidArgumentError("Expected a whole number."),
  );
});

Deno.test("queueName() takes what a configuration can name", () => {
  for (const name of ["mail", "a", "A-Z_0.9:x", "q".repeat(128)]) assert.equal(queueName(name), name);
});

for (const name of ["", " ", "two words", "mail\n", "ümlaut", "a/b", "q".repeat(129)]) {
  Deno.test(`queueName() refuses ${JSON.stringify(name.slice(0, 20))}`, () => {
    assert.throws(() => queueName(name), InvalidArgumentError);
  });
}

Deno.test("nameAndValue() collects pairs in order; only the first = separates", () => {
  const first = nameAndValue("A=1");
  assert.deepEqual(nameAndValue("B=x=y", first), [["A", "1"], ["B", "x=y"]]);
  assert.deepEqual(nameAndValue("EMPTY="), [["EMPTY", ""]]);
});

for (const text of ["", "A", "=1"]) {
  Deno.test(`nameAndValue() refuses "${text}"`, () => {
    assert.throws(() => nameAndValue(text), new InvalidArgumentError("Expected NAME=VALUE."));
  });
}
