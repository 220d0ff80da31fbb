import assert from "node:assert/strict";
import fc from "fast-check";
import { lastRecord, outcomeOfLast, outcomeOfRecord } from "../../../../src/executors/fastcgi/record.ts";
import { bytesOf, concat } from "../../../support/scripted_server.ts";

const RECORD = '\x1e{"id":"7","outcome":"ack"}\n';

Deno.test("lastRecord() reads the record of the job that the body ends with, behind any output", () => {
  const ack = { id: "7", outcome: "ack" };
  const others = [
    "",
    "output",
    "output\n",
    "\x1e\n",
    "\x1e{\n",
    '\x1e{"id":"7","outcome":"retry"}\n',
    "\x1e",
  ];
  for (const output of others) {
    assert.deepEqual(lastRecord(bytesOf(`${output}${RECORD}`), "7"), { record: ack }, JSON.stringify(output));
  }
  fc.assert(fc.property(fc.uint8Array(), (output) => {
    assert.deepEqual(lastRecord(concat(output, bytesOf(RECORD)), "7"), { record: ack });
  }));
  // The name of a job may have any characters.
  fc.assert(fc.property(fc.string({ unit: "grapheme" }), (id) => {
    const record = `\x1e${JSON.stringify({ id, outcome: "bury" })}\n`;
    assert.deepEqual(lastRecord(bytesOf(record), id), { record: { id, outcome: "bury" } });
  }));
});

Deno.test("lastRecord() takes for output what is not the last thing, another job's, or no record", () => {
  const cases = [
    "",
    "\n",
    "ack\n",
    `${RECORD} `,
    `${RECORD}\n`,
    `${RECORD}<br />\n<b>Fatal error</b>: Uncaught Exception\n`,
    `${RECORD}\x1e\n`,
    RECORD.trimEnd(),
    RECORD.slice(1),
    '\x1e{"id":"8","outcome":"ack"}\n',
    '\x1e{"id":7,"outcome":"ack"}\n',
    '\x1e{"outcome":"ack"}\n',
    "\x1enull\n",
    '\x1e"7"\n',
    '\x1e{"id":"7",\n"outcome":"ack"}\n',
    `\x1e${JSON.stringify({ id: "7", outcome: "ack", error: "x".repeat(65_536) })}\n`,
  ];
  for (const body of cases) assert.equal(lastRecord(bytesOf(body), "7"), undefined, JSON.stringify(body));
  assert.equal(lastRecord(bytesOf(RECORD), ""), undefined);
});

Deno.test("lastRecord() survives any bytes", () => {
  const anyBytes = fc.uint8Array({ maxLength: 200 })
    .map((bytes) => bytes.map((byte) => byte % 7 === 0 ? 0x1e : byte % 7 === 1 ? 10 : byte));
  fc.assert(fc.property(anyBytes, (bytes) => void lastRecord(concat(bytes, bytesOf("\n")), "7")));
});

/** A record that a message follows. */
const replacing = (headers: Uint8Array, body: Uint8Array, id = "7") =>
  concat(
    bytesOf(
      `\x1e{"id":"${id}","outcome":"replace","error":"busy","delay_ms":5,"headers_bytes":${headers.length},"bytes":${body.length}}\n`,
    ),
    headers,
    body,
  );

Deno.test("lastRecord() reads the message behind a record, whatever its bytes are and whatever output came before", () => {
  const anyBytes = fc.uint8Array({ maxLength: 200 })
    .map((bytes) => bytes.map((byte) => byte % 7 === 0 ? 0x1e : byte % 7 === 1 ? 10 : byte));
  fc.assert(fc.property(anyBytes, anyBytes, anyBytes, (output, headers, body) => {
    const last = lastRecord(concat(output, replacing(headers, body)), "7");
    assert.deepEqual(last?.message, { headers, body });
    assert.equal(last?.record["outcome"], "replace");
  }));
  // A message that has itself such records, also one that would end with the body.
  const nested = concat(bytesOf(RECORD), replacing(bytesOf("{}"), bytesOf(`x${RECORD}`)));
  assert.deepEqual(lastRecord(replacing(bytesOf("{}"), nested), "7")?.message?.body, nested);
});

Deno.test("lastRecord() takes a record for output when its message is cut off, or is not the last thing", () => {
  const whole = replacing(bytesOf("{}"), bytesOf("message"));
  assert.equal(lastRecord(whole.subarray(0, -1), "7"), undefined);
  assert.equal(lastRecord(concat(whole, bytesOf("\n")), "7"), undefined);
  assert.equal(lastRecord(whole, "8"), undefined);
  assert.deepEqual(lastRecord(concat(whole, bytesOf(`\n${RECORD}`)), "7"), {
    record: { id: "7", outcome: "ack" },
  });
});

Deno.test("A replacement's headers keep their case and their order", () => {
  const text = '{"type":"App\\\\Mail","X-Message-Stamp-B":"[]","X-Message-Stamp-A":"é","content-type":"x"}';
  const outcome = outcomeOfLast(lastRecord(replacing(bytesOf(text), bytesOf("")), "7")!, "");
  assert.ok(outcome.kind === "replace");
  assert.equal(JSON.stringify(outcome.message.headers), text);
});

Deno.test("outcomeOfLast() puts a message into the place of a job that came alone", () => {
  const outcome = outcomeOfLast(
    lastRecord(replacing(bytesOf('{"a":"b"}'), bytesOf("new")), "7")!,
    "its STDERR",
  );
  assert.ok(outcome.kind === "replace");
  assert.deepEqual(outcome.message, { headers: { a: "b" }, body: bytesOf("new") });
  assert.deepEqual([outcome.delayMs, outcome.error.message, outcome.error.details.stderr], [
    5,
    "The job failed: busy",
    "its STDERR",
  ]);
});

Deno.test("outcomeOfRecord() does not take a replacement without a message for a success", () => {
  const outcome = outcomeOfRecord({ id: "7", outcome: "replace", headers_bytes: 0 }, "its STDERR");
  assert.ok(outcome.kind === "retry");
  assert.equal(outcome.error.code, "JOB_NO_OUTCOME");
  assert.match(outcome.error.message, /announces a replacement message.*max_response_bytes/);
  assert.deepEqual(outcome.error.details, { stderr: "its STDERR" });
});

Deno.test("outcomeOfRecord() keeps why a job did not run", () => {
  const outcome = outcomeOfRecord({
    id: "7",
    outcome: "release",
    error: "no such\ntransport",
    delay_ms: 5_000,
  }, "");
  assert.deepEqual([outcome.kind, "error" in outcome && outcome.error.message], [
    "release",
    "The job did not run, and asked to run later: no such transport",
  ]);
});

Deno.test("outcomeOfRecord() reads that the application has dealt with a job", () => {
  const outcome = outcomeOfRecord({ id: "7", outcome: "handled", error: "kept\nthere" }, "");
  assert.deepEqual([outcome.kind, "error" in outcome && outcome.error.message], [
    "handled",
    "The job failed: kept there",
  ]);
});
