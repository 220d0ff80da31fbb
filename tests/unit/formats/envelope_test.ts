import assert from "node:assert/strict";
import fc from "fast-check";
import { JobError } from "../../../src/core/errors.ts";
import type { JobHead } from "../../../src/core/format.ts";
import { envelope } from "../../../src/formats/envelope.ts";
import { bytesOf } from "../../support/scripted_server.ts";

function read(body: string | Uint8Array): JobHead {
  return envelope.read({ body: bytesOf(body), headers: {} });
}

/** The message with its payload as hexadecimal digits, for comparing. */
function shown(message: JobHead) {
  return { ...message, payload: message.payload.toHex() };
}

const anyMessage: fc.Arbitrary<JobHead> = fc.record({
  payload: fc.oneof(fc.uint8Array(), fc.string({ unit: "binary" }).map((text) => bytesOf(text))),
  id: fc.string({ unit: "binary" }).filter((id) => !/\p{Cc}/u.test(id)),
  maxAttempts: fc.integer({ min: 1 }),
  enqueuedAtMs: fc.maxSafeInteger(),
  traceparent: fc.string({ unit: "binary" }),
  tracestate: fc.string({ unit: "binary" }),
}, { requiredKeys: ["payload"] });

Deno.test("envelope leaves out a trace that is no text, and keeps the job", () => {
  const message = read(bytesOf(`{"fervo":1,"payload":"x","traceparent":[],"tracestate":7}`));
  assert.deepEqual(message, { payload: bytesOf("x") });
});

Deno.test("envelope round-trips any payload bytes and any fields", () => {
  fc.assert(fc.property(anyMessage, (message) => {
    assert.deepEqual(shown(read(envelope.write(message).body)), { ...shown(message) });
  }));
});

Deno.test("envelope.write() writes text as text and other bytes as base64", () => {
  const text =
    envelope.write({ payload: bytesOf('{"a":"é"}'), id: "7", maxAttempts: 3, enqueuedAtMs: 5 }).body;
  assert.equal(
    new TextDecoder().decode(text),
    '{"fervo":1,"id":"7","attempts":3,"enqueued_at":5,"payload":"{\\"a\\":\\"é\\"}"}',
  );
  const binary = envelope.write({ payload: Uint8Array.of(0xff, 0, 1) }).body;
  assert.equal(new TextDecoder().decode(binary), '{"fervo":1,"payload_base64":"/wAB"}');
});

Deno.test("envelope.read() keeps a payload's byte order mark, line ends and zero bytes", () => {
  for (const payload of ["\ufeffbom", "a\r\nb\n", "\0", "", "\u2028"]) {
    const message = read(envelope.write({ payload: bytesOf(payload) }).body);
    assert.equal(message.payload.toHex(), bytesOf(payload).toHex());
  }
});

Deno.test("envelope.read() reads what another producer writes: white space, escapes, unknown fields", () => {
  const message = read(
    ` { "payload" : "\\u0041\\ud83d\\ude00", "fervo" : 1.0, "x": {"fervo": 2}, "enqueued_at": 17.5 }\n`,
  );
  assert.deepEqual(shown(message), { payload: bytesOf("A😀").toHex(), enqueuedAtMs: 17.5 });
});

Deno.test("envelope.read() takes null for an absent field", () => {
  const message = read(
    `{"fervo":1,"payload":null,"payload_base64":"QQ==","id":null,"attempts":null,"traceparent":null}`,
  );
  assert.deepEqual(shown(message), { payload: "41" });
});

const MALFORMED: [what: string, raw: string | Uint8Array, reason: string | RegExp][] = [
  ["bytes that are not UTF-8", Uint8Array.of(0x22, 0xff, 0x22), "it is not JSON in UTF-8"],
  ["an empty message", "", "it is not JSON in UTF-8"],
  ["text that is not JSON, which may be secret", "password=hunter2", "it is not JSON in UTF-8"],
  ["a byte order mark", `\ufeff{"fervo":1,"payload":""}`, /JSON/],
  ["an array", "[1]", "it is an array, not an object"],
  ["null", "null", "it is null, not an object"],
  ["a string", `"x"`, "it is a string, not an object"],
  ["no version", `{"payload":""}`, `field "fervo" is absent, not 1, the format's version`],
  ["another version", `{"fervo":2,"payload":""}`, `field "fervo" is 2, not 1, the format's version`],
  [
    "a version as text",
    `{"fervo":"1","payload":""}`,
    `field "fervo" is a string, not 1, the format's version`,
  ],
  ["no payload", `{"fervo":1}`, `it needs one of the fields "payload" and "payload_base64"`],
  [
    "both payloads",
    `{"fervo":1,"payload":"a","payload_base64":"YQ=="}`,
    `it needs one of the fields "payload" and "payload_base64"`,
  ],
  [
    "a payload that is no text",
    `{"fervo":1,"payload":{"a":1}}`,
    `field "payload" is an object, not a string`,
  ],
  [
    "a lone surrogate",
    `{"fervo":1,"payload":"\\ud800"}`,
    `field "payload" has a lone surrogate; use "payload_base64"`,
  ],
  ["base64 that is none", `{"fervo":1,"payload_base64":"*"}`, `field "payload_base64" is not base64`],
  ["base64 that is no text", `{"fervo":1,"payload_base64":1}`, `field "payload_base64" is 1, not a string`],
  ["an id that is no text", `{"fervo":1,"payload":"","id":7}`, `field "id" is 7, not a string`],
  [
    "attempts of 0",
    `{"fervo":1,"payload":"","attempts":0}`,
    `field "attempts" is 0, not a whole number of at least 1`,
  ],
  [
    "attempts that are not whole",
    `{"fervo":1,"payload":"","attempts":1.5}`,
    `field "attempts" is 1.5, not a whole number of at least 1`,
  ],
  [
    "attempts that are no number",
    `{"fervo":1,"payload":"","attempts":"3"}`,
    `field "attempts" is a string, not a number`,
  ],
  [
    "a time that is no number",
    `{"fervo":1,"payload":"","enqueued_at":"now"}`,
    `field "enqueued_at" is a string, not a number`,
  ],
  [
    "a time without end",
    `{"fervo":1,"payload":"","enqueued_at":1e999}`,
    `field "enqueued_at" is too large a number`,
  ],
  [
    "an id with NUL",
    `{"fervo":1,"payload":"","id":"a\\u0000"}`,
    `field "id" has a control character or a lone surrogate`,
  ],
  [
    "an id that is too long for a param or an environment",
    `{"fervo":1,"payload":"","id":"${"a".repeat(256)}"}`,
    `field "id" has 256 characters, more than 255`,
  ],
  [
    "an id with a lone surrogate",
    `{"fervo":1,"payload":"","id":"\\ud800"}`,
    `field "id" has a control character or a lone surrogate`,
  ],
];

for (const [what, raw, reason] of MALFORMED) {
  Deno.test(`envelope.read() refuses ${what} with JOB_MALFORMED`, () => {
    assert.throws(() => read(raw), (error: unknown) => {
      assert.ok(error instanceof JobError);
      assert.equal(error.code, "JOB_MALFORMED");
      const start = "Cannot read the message as an envelope: ";
      assert.equal(error.message.slice(0, start.length), start);
      const actual = error.message.slice(start.length);
      if (typeof reason === "string") assert.equal(actual, reason);
      else assert.match(actual, reason);
      return true;
    });
  });
}

Deno.test("envelope.read() fails only with JOB_MALFORMED, whatever bytes come", () => {
  const anyField = fc.constantFrom("fervo", "payload", "payload_base64", "id", "attempts", "enqueued_at");
  const anyRaw = fc.oneof(
    fc.uint8Array(),
    fc.json().map(bytesOf),
    fc.dictionary(anyField, fc.jsonValue()).map((value) => bytesOf(JSON.stringify({ fervo: 1, ...value }))),
  );
  fc.assert(fc.property(anyRaw, (raw) => {
    try {
      read(raw);
    } catch (error) {
      assert.ok(error instanceof JobError, String(error));
      assert.equal(error.code, "JOB_MALFORMED");
    }
  }));
});
