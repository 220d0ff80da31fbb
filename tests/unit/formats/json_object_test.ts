import assert from "node:assert/strict";
import fc from "fast-check";
import { JsonObject } from "../../../src/formats/json_object.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const edit = (text: string, changes: Record<string, string | undefined>) =>
  new TextDecoder().decode(JsonObject.parse(encode(text)).with(changes));

Deno.test("JsonObject.with() replaces, adds and removes fields and leaves all other bytes alone", {
  permissions: "none",
}, () => {
  const cases: [text: string, changes: Record<string, string | undefined>, expected: string][] = [
    ['{"a":1,"b":2}', {}, '{"a":1,"b":2}'],
    ['{"a":1,"b":2}', { a: "10" }, '{"a":10,"b":2}'],
    ['{"a":1,"b":2}', { b: undefined }, '{"a":1}'],
    ['{"a":1,"b":2}', { a: undefined }, '{"b":2}'],
    ['{"a":1,"b":2,"c":3}', { a: undefined, b: undefined }, '{"c":3}'],
    ['{"a":1,"b":2}', { a: undefined, b: undefined }, "{}"],
    ['{"a":1,"b":2}', { a: undefined, b: undefined, c: "3" }, '{"c":3}'],
    ['{"a":1,"b":2,"c":3}', { b: undefined, d: "4" }, '{"a":1,"c":3,"d":4}'],
    ["{}", { a: '"x"' }, '{"a":"x"}'],
    ["{ }", { a: "1" }, '{"a":1 }'],
    ['{"a":1}', { b: undefined }, '{"a":1}'],
    [' {\n "a" : 1.0 ,\t"b":[1, {"a":2}] }\n', { a: "2" }, ' {\n "a" : 2 ,\t"b":[1, {"a":2}] }\n'],
    [
      '{"big":12345678901234567890,"f":1700000000.0,"e":1E5}',
      { n: "1" },
      '{"big":12345678901234567890,"f":1700000000.0,"e":1E5,"n":1}',
    ],
    ['{"a":"\\"}{,\\\\","b":1}', { b: "2" }, '{"a":"\\"}{,\\\\","b":2}'],
    ['{"a":1,"a":2}', { a: "3" }, '{"a":1,"a":3}'],
    ['{"a":1,"b":0,"a":2}', { a: undefined }, '{"b":0}'],
    ['{"\\u0061":1}', { a: "2" }, '{"\\u0061":2}'],
    ['{"a":null,"b":true}', { a: "false", b: undefined }, '{"a":false}'],
  ];
  for (const [text, changes, expected] of cases) assert.equal(edit(text, changes), expected, text);
});

Deno.test("JsonObject.parse() refuses what is no JSON object in UTF-8", { permissions: "none" }, () => {
  const texts = [
    "",
    " ",
    "null",
    "[]",
    '"{}"',
    "1",
    "{",
    '{"a"}',
    '{"a":1,}',
    "{'a':1}",
    '{"a":1}x',
    "\ufeff{}",
    '{"a":01}',
  ];
  for (const text of texts) assert.throws(() => JsonObject.parse(encode(text)), SyntaxError, text);
  assert.throws(() => JsonObject.parse(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d)), SyntaxError);
});

Deno.test("JsonObject reads its own fields only", { permissions: "none" }, () => {
  const job = JsonObject.parse(encode('{"a":"x","n":1,"huge":1e999,"b":[],"__proto__":{"z":1}}'));
  assert.equal(job.string("a"), "x");
  assert.equal(job.string("n"), undefined);
  assert.equal(job.number("n"), 1);
  assert.equal(job.number("huge"), undefined);
  assert.equal(job.get("toString"), undefined);
  assert.equal(job.get("z"), undefined);
  assert.equal(job.has("constructor"), false);
});

/** JSON text in any spelling: values with spaces, escapes and numbers that JavaScript would write otherwise. */
const spacing = fc.constantFrom("", " ", "\n", "\t \r\n");
const text = fc.string({ unit: "binary" }).map((value) => JSON.stringify(value.toWellFormed()));
const spelled = fc.letrec<{ value: string; array: string; object: string }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.constantFrom(
      "0",
      "-0.0",
      "1700000000.0",
      "1E+2",
      "12345678901234567890",
      "true",
      "false",
      "null",
      '"\\u00e4\\/"',
    ),
    text,
    tie("array"),
    tie("object"),
  ),
  array: fc.tuple(spacing, fc.array(tie("value"), { maxLength: 3 })).map(([space, values]) =>
    `[${space}${values.join(`${space},`)}]`
  ),
  object: fc.tuple(spacing, fc.array(fc.tuple(text, tie("value")), { maxLength: 3 })).map(([space, fields]) =>
    `{${space}${fields.map(([name, value]) => `${name}${space}:${value}`).join(`,${space}`)}${space}}`
  ),
}));
const fields = fc.uniqueArray(
  fc.tuple(fc.string({ unit: "binary" }).map((name) => name.toWellFormed()), spelled.value, spacing),
  {
    selector: ([name]) => name,
    maxLength: 6,
  },
);
const write = (list: readonly (readonly [string, string, string])[]) =>
  `{${
    list.map(([name, value, space]) => `${space}${JSON.stringify(name)}${space}:${space}${value}${space}`)
      .join(",")
  }}`;

Deno.test("JsonObject.with() changes the one field and no other byte, whatever the spelling", {
  permissions: "none",
}, () => {
  fc.assert(fc.property(fields, fc.nat(), spelled.value, (list, pick, value) => {
    fc.pre(list.length > 0);
    const at = pick % list.length;
    const [name] = list[at]!;
    const before = write(list.slice(0, at));
    const [, old, space] = list[at]!;
    const start = (at === 0 ? 1 : before.length) + space.length + JSON.stringify(name).length + 1 +
      2 * space.length;
    const whole = write(list);
    assert.equal(whole.slice(start, start + old.length), old);
    assert.equal(
      edit(whole, { [name]: value }),
      whole.slice(0, start) + value + whole.slice(start + old.length),
    );
  }));
});

Deno.test("JsonObject.with() gives what the same change of the values gives", { permissions: "none" }, () => {
  const changes = fc.dictionary(
    fc.constantFrom("a", "b", "c", "d"),
    fc.option(spelled.value, { nil: undefined }),
  );
  const named = fc.uniqueArray(fc.tuple(fc.constantFrom("a", "b", "c", "e", "f"), spelled.value, spacing), {
    selector: ([name]) => name,
  });
  fc.assert(
    fc.property(named, changes, (list, change) => {
      const expected = new Map(list.map(([name, value]) => [name as string, JSON.parse(value)]));
      for (const [name, value] of Object.entries(change)) {
        if (value === undefined) expected.delete(name);
        else expected.set(name, JSON.parse(value));
      }
      assert.deepEqual(JSON.parse(edit(write(list), change)), Object.fromEntries(expected));
    }),
    { numRuns: 1_000 },
  );
});
