import assert from "node:assert/strict";
import fc from "fast-check";
import type { Job } from "../../../../src/core/job.ts";
import { ACK, type Outcome } from "../../../../src/core/outcome.ts";
import {
  BatchAnswer,
  encodeBatch,
  encodePostMortem,
  JsonSequenceReader,
} from "../../../../src/executors/fastcgi/batch.ts";
import type { AnswerSoFar } from "../../../../src/fastcgi/response.ts";
import { bytesOf, concat } from "../../../support/scripted_server.ts";

const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

const jobOf = (id: string, fields: Partial<Job> = {}): Job => ({
  id,
  queue: "mail",
  payload: bytesOf("hi"),
  attempt: 1,
  maxAttempts: 5,
  enqueuedAtMs: 1_700_000_000_000,
  deadlineMs: 1_700_000_060_000,
  ...fields,
});

// --- STDIN

Deno.test("encodeBatch() writes for each job a line of facts, the payload and an end of line", () => {
  const jobs = [
    jobOf("7", { traceparent: "00-1" }),
    jobOf("8", { queue: "a", attempt: 2, maxAttempts: 9, enqueuedAtMs: 5, payload: Uint8Array.of() }),
  ];
  assert.equal(
    textOf(encodeBatch({ jobs, timeoutMs: 60_000 })),
    `{"id":"7","queue":"mail","attempt":1,"max_attempts":5,"enqueued_at":1700000000000,"timeout_ms":60000,` +
      `"traceparent":"00-1","bytes":2}\nhi\n` +
      `{"id":"8","queue":"a","attempt":2,"max_attempts":9,"enqueued_at":5,"timeout_ms":60000,"bytes":0}\n\n`,
  );
});

/** STDIN read as a front controller does, by lines and lengths. */
function decodeBatch(body: Uint8Array): { facts: Record<string, unknown>; payload: Uint8Array }[] {
  const jobs = [];
  for (let at = 0; at < body.length;) {
    const lineEnd = body.indexOf(10, at);
    const facts = JSON.parse(textOf(body.subarray(at, lineEnd)));
    const end = lineEnd + 1 + facts.bytes;
    assert.equal(body[end], 10, "an end of line stands behind the payload");
    jobs.push({ facts, payload: body.subarray(lineEnd + 1, end) });
    at = end + 1;
  }
  return jobs;
}

const anyText = fc.string({ unit: "binary", maxLength: 20 });
const anyJob = fc.record({
  id: anyText,
  queue: anyText,
  payload: fc.uint8Array({ maxLength: 40 }),
  attempt: fc.nat(),
  maxAttempts: fc.nat(),
  enqueuedAtMs: fc.maxSafeInteger(),
  deadlineMs: fc.nat(),
});

Deno.test("encodeBatch() keeps any text and any bytes as they are", () => {
  fc.assert(fc.property(fc.array(anyJob, { minLength: 1, maxLength: 5 }), fc.nat(), (jobs, timeoutMs) => {
    const read = decodeBatch(encodeBatch({ jobs, timeoutMs }));
    assert.deepEqual(
      read.map(({ facts, payload }) => [facts, payload.toHex()]),
      jobs.map(({ id, queue, attempt, maxAttempts, enqueuedAtMs, payload }) => [
        {
          id,
          queue,
          attempt,
          max_attempts: maxAttempts,
          enqueued_at: enqueuedAtMs,
          timeout_ms: timeoutMs,
          bytes: payload.length,
        },
        payload.toHex(),
      ]),
    );
  }));
});

// --- records in a stream

const record = (value: unknown) => `\x1e${JSON.stringify(value)}\n`;

/** The values that are read when the stream comes in these pieces. */
function readAll(...pieces: (string | Uint8Array)[]): unknown[] {
  const reader = new JsonSequenceReader();
  const values: unknown[] = [];
  for (const piece of pieces) {
    const bytes = bytesOf(piece).slice();
    reader.read(bytes, (value) => {
      values.push(value);
      return undefined;
    });
    // The connection reads into the same buffer again.
    bytes.fill(0x1e);
  }
  return values;
}

Deno.test("JsonSequenceReader reads the same wherever the stream is cut, and byte by byte", () => {
  const stream = bytesOf(
    `noise\n${record({ id: "é€𝄞" })}${record(5)}more { noise\x1e\n${
      record("\x1e\n")
    }\x1e{"cut":\x1e{"a":1}\nend`,
  );
  const values = [{ id: "é€𝄞" }, 5, "\x1e\n", { a: 1 }];
  assert.deepEqual(readAll(stream), values);
  for (let cut = 0; cut <= stream.length; cut++) {
    assert.deepEqual(readAll(stream.subarray(0, cut), stream.subarray(cut)), values, `cut at ${cut}`);
  }
  assert.deepEqual(readAll(...Array.from(stream, (byte) => Uint8Array.of(byte))), values);
});

Deno.test("JsonSequenceReader passes over what is no JSON, not ended, or too long, and goes on behind it", () => {
  const good = record({ ok: true });
  const long = JSON.stringify("x".repeat(65_534));
  for (
    const noise of [
      "\x1e\n",
      "\x1e{\n",
      "\x1e\x1e\x1e",
      "\x1eabc",
      "\x1e\xff\n",
      `\x1e${long} \n`,
      "\r\n",
      "{}\n",
    ]
  ) {
    assert.deepEqual(readAll(`${noise}${good}`), [{ ok: true }], JSON.stringify(noise.slice(0, 20)));
    assert.deepEqual(readAll(noise, good), [{ ok: true }], JSON.stringify(noise.slice(0, 20)));
  }
  assert.equal(readAll(`\x1e${long}\n`).length, 1, "the longest that counts");
  const endless = Array.from({ length: 100 }, () => "x".repeat(10_000));
  assert.deepEqual(readAll("\x1e", ...endless, "\n", good), [{ ok: true }]);
});

Deno.test("JsonSequenceReader keeps no endless text in memory", () => {
  const reader = new JsonSequenceReader();
  const piece = new Uint8Array(1_000_000).fill(0x78);
  reader.read(Uint8Array.of(0x1e), () => assert.fail());
  const before = Deno.memoryUsage().external;
  for (let i = 0; i < 100; i++) reader.read(piece, () => assert.fail());
  assert.ok(Deno.memoryUsage().external - before < 50_000_000);
});

Deno.test("JsonSequenceReader gives back any values, among any output, in any pieces", () => {
  // Output that itself has a separator could look like anything.
  const anyNoise = fc.string({ unit: "binary", maxLength: 20 }).map((text) => text.replaceAll("\x1e", ""));
  const anyStream = fc.array(fc.tuple(anyNoise, fc.jsonValue()), { maxLength: 6 });
  fc.assert(fc.property(anyStream, fc.array(fc.nat(60), { maxLength: 20 }), (items, lengths) => {
    const stream = concat(...items.map(([noise, value]) => bytesOf(`${noise}${record(value)}`)));
    const pieces: Uint8Array[] = [];
    let at = 0;
    for (const length of lengths) pieces.push(stream.subarray(at, at += length));
    const values = items.map(([, value]) => JSON.parse(JSON.stringify(value)));
    assert.deepEqual(readAll(...pieces, stream.subarray(at)), values);
  }));
});

Deno.test("JsonSequenceReader survives any bytes", () => {
  const anyBytes = fc.uint8Array({ maxLength: 200 })
    .map((bytes) => bytes.map((byte) => byte % 7 === 0 ? 0x1e : byte % 7 === 1 ? 10 : byte));
  fc.assert(fc.property(fc.array(anyBytes, { maxLength: 5 }), (pieces) => void readAll(...pieces)));
});

// --- what records mean

/** What is told when this body comes in answer to jobs 1, 2 and 3. */
function answered(
  body: string | Uint8Array,
  word: string | null = "batch",
  piecesOf = (bytes: Uint8Array): Uint8Array[] => [bytes],
) {
  const told: [string, Outcome][] = [];
  const answer = new BatchAnswer(["1", "2", "3"].map((id) => jobOf(id)), {
    onBegun: ({ id }) => assert.fail(`${id} has begun`),
    onOutcome: (outcome, { id }) => void told.push([id, outcome]),
  });
  let stderrs = 0;
  const soFar: AnswerSoFar = {
    headers: new Map(word === null ? [] : [["x-fervo-outcome", word]]),
    takeStderr: () => `stderr ${++stderrs}`,
  };
  for (const piece of piecesOf(bytesOf(body))) answer.onBody(piece, soFar);
  return { told, running: answer.running[0]?.id };
}

Deno.test("BatchAnswer tells each job's outcome in order, and which job runs", () => {
  assert.deepEqual(answered(""), { told: [], running: "1" });
  const two = record({ id: "1", outcome: "ack" }) + record({ id: "2", outcome: "ack" });
  assert.deepEqual(answered(two), { told: [["1", ACK], ["2", ACK]], running: "3" });
  const three = two + record({ id: "3", outcome: "ack" });
  assert.deepEqual(answered(`${three}${three}`).told.length, 3);
  assert.equal(answered(three).running, undefined);
});

Deno.test("BatchAnswer counts a record only for the first job without one", () => {
  for (const id of ["2", "3", "4", 1, null, undefined, ["1"]]) {
    assert.deepEqual(answered(record({ id, outcome: "ack" })), { told: [], running: "1" }, String(id));
  }
  const { told } = answered(
    record({ id: "2", outcome: "ack" }) + record({ id: "1", outcome: "ack" }) +
      record({ id: "1", outcome: "bury" }),
  );
  assert.deepEqual(told, [["1", ACK]]);
  for (const other of [5, "1", null, [], true]) assert.deepEqual(answered(record(other)).told, []);
});

Deno.test("BatchAnswer counts no record without the header that says batch", () => {
  for (const word of [null, "ack", "Batch", ""]) {
    assert.deepEqual(answered(record({ id: "1", outcome: "ack" }), word).told, [], String(word));
  }
});

Deno.test("BatchAnswer reads why a job failed, what to wait, and what it wrote to STDERR", () => {
  const { told } = answered(
    record({ id: "1", outcome: "ack", error: "ignored" }) +
      record({ id: "2", outcome: "retry", error: "no route\nto \x1b[1mhost", delay_ms: 60_000 }) +
      record({ id: "3", outcome: "bury", error: "x".repeat(2_000), delay_ms: 5 }),
  );
  const [[, first], [, second], [, third]] = told as [
    [string, Outcome],
    [string, Outcome],
    [string, Outcome],
  ];
  assert.equal(first, ACK);
  assert.ok(second.kind === "retry" && third.kind === "bury");
  assert.deepEqual([second.error.code, second.error.message, second.error.details, second.delayMs], [
    "JOB_FAILED",
    "The job failed: no route to  [1mhost",
    { stderr: "stderr 2" },
    60_000,
  ]);
  assert.deepEqual([third.error.message, "delayMs" in third], [
    `The job failed: ${"x".repeat(1_000)}`,
    false,
  ]);
});

Deno.test("BatchAnswer leaves a retry's delay to the policy unless it is a whole number of milliseconds", () => {
  const delayOf = (delay_ms: unknown) => {
    const [, outcome] = answered(record({ id: "1", outcome: "retry", delay_ms })).told[0]!;
    return outcome.kind === "retry" ? outcome.delayMs : assert.fail(outcome.kind);
  };
  assert.deepEqual([0, 1_500, 999_999_999_999].map(delayOf), [0, 1_500, 999_999_999_999]);
  for (const delay of [undefined, null, -1, 1.5, "5", 1e12, [5]]) assert.equal(delayOf(delay), undefined);
});

Deno.test("BatchAnswer takes a record with a word it does not know for a failed attempt of that job alone", () => {
  for (const outcome of ["done", "begun ", "batch", "", undefined, 5, { ack: 1 }]) {
    const { told, running } = answered(record({ id: "1", outcome }));
    const [, first] = told[0]!;
    assert.equal(first.kind === "retry" && first.error.code, "JOB_NO_OUTCOME");
    assert.equal(running, "2");
  }
});

// --- a message that takes a job's place

/** A record of job 1 and the message behind it, as php/runner writes them. */
function replacement(body: Uint8Array, headers: string, facts: Record<string, unknown> = {}): Uint8Array {
  const [headers_bytes, bytes] = [bytesOf(headers).length, body.length];
  const line = record({
    id: "1",
    outcome: "replace",
    error: "busy",
    delay_ms: 7,
    headers_bytes,
    bytes,
    ...facts,
  });
  return concat(bytesOf(line), bytesOf(headers), body);
}

const ACK_OF_2 = bytesOf(record({ id: "2", outcome: "ack" }));

Deno.test("BatchAnswer reads a message of any bytes, wherever the stream is cut, and goes on behind it", () => {
  const body = bytesOf(`\x1e\n\0${record({ id: "1", outcome: "ack" })}é`);
  const stream = concat(replacement(body, '{"X-Message-Stamp":"é"}'), ACK_OF_2);
  for (let cut = 0; cut <= stream.length; cut++) {
    const { told, running } = answered(stream, "batch", (bytes) => [bytes.slice(0, cut), bytes.slice(cut)]);
    assert.equal(running, "3", `cut at ${cut}`);
    const [[, first], second] = told as [[string, Outcome], [string, Outcome]];
    assert.ok(first.kind === "replace");
    assert.equal(first.message.body.toHex(), body.toHex());
    assert.deepEqual(first.message.headers, { "X-Message-Stamp": "é" });
    assert.deepEqual([first.delayMs, first.error.code, first.error.message, first.error.details], [
      7,
      "JOB_FAILED",
      "The job failed: busy",
      { stderr: "stderr 1" },
    ]);
    assert.deepEqual(second, ["2", ACK]);
  }
  fc.assert(fc.property(fc.uint8Array(), (any) => {
    const { told } = answered(concat(replacement(any, ""), ACK_OF_2));
    const [[, first], second] = told as [[string, Outcome], [string, Outcome]];
    assert.ok(first.kind === "replace");
    assert.deepEqual([first.message.body.toHex(), first.message.headers], [any.toHex(), {}]);
    assert.deepEqual(second, ["2", ACK]);
  }));
});

Deno.test("BatchAnswer takes a message that lacks one byte for no word at all", () => {
  const whole = replacement(bytesOf("its successor"), '{"a":"b"}');
  for (let length = 0; length < whole.length; length++) {
    assert.deepEqual(answered(whole.subarray(0, length)), { told: [], running: "1" }, `${length} bytes`);
  }
  assert.equal(answered(whole).running, "2");
});

Deno.test("BatchAnswer reads a message of 20 MiB that comes in pieces", () => {
  const body = new Uint8Array(20 * 1024 * 1024).map((_, i) => i % 251);
  const { told } = answered(replacement(body, "{}"), "batch", (bytes) => {
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += 65_536) pieces.push(bytes.subarray(at, at + 65_536));
    return pieces;
  });
  const [[, first]] = told as [[string, Outcome]];
  assert.ok(first.kind === "replace" && first.delayMs === 7);
  assert.ok(first.message.body.every((byte, i) => byte === i % 251));
});

Deno.test("BatchAnswer takes lengths that are none, too many bytes, and headers that are none for a failed attempt", () => {
  const facts = [
    { bytes: -1 },
    { bytes: 1.5 },
    { bytes: "3" },
    { bytes: undefined },
    { headers_bytes: -1 },
    { headers_bytes: null },
    { bytes: 64 * 1024 * 1024, headers_bytes: 1 },
    { bytes: Number.MAX_SAFE_INTEGER },
  ];
  for (const lengths of facts) {
    const { told, running } = answered(
      record({ id: "1", outcome: "replace", headers_bytes: 0, bytes: 0, ...lengths }),
    );
    const [, first] = told[0]!;
    assert.equal(first.kind === "retry" && first.error.code, "JOB_NO_OUTCOME", JSON.stringify(lengths));
    assert.equal(running, "2");
  }
  for (const headers of ["{", "[]", "5", "null", '{"a":1}', '{"a":["b"]}', "\0"]) {
    const { told } = answered(concat(replacement(bytesOf("x"), headers), ACK_OF_2));
    const [[, first], second] = told as [[string, Outcome], [string, Outcome]];
    assert.equal(first.kind === "retry" && first.error.code, "JOB_NO_OUTCOME", headers);
    assert.deepEqual(second, ["2", ACK]);
  }
});

Deno.test("BatchAnswer reads that the application has dealt with a job, and why it failed", () => {
  const [[, first]] = answered(record({ id: "1", outcome: "handled", error: "kept by the application" }))
    .told as [
      [string, Outcome],
    ];
  assert.ok(first.kind === "handled");
  assert.equal(first.error.message, "The job failed: kept by the application");
});

Deno.test("BatchAnswer reads that a job wants to come later, no sooner than in a second", () => {
  const delayOf = (delay_ms: unknown) => {
    const [, outcome] = answered(record({ id: "1", outcome: "release", delay_ms })).told[0]!;
    assert.ok(outcome.kind === "release" && outcome.reason === "asked");
    return outcome.delayMs;
  };
  assert.deepEqual([60_000, 1_000, 999, 0, undefined, -5, "7"].map(delayOf), [
    60_000,
    1_000,
    1_000,
    1_000,
    1_000,
    1_000,
    1_000,
  ]);
});

Deno.test("BatchAnswer reads beside any outcome that the queue is to rest, for a minute at most", () => {
  const pauseOf = (fields: Record<string, unknown>) =>
    answered(record({ id: "1", outcome: "ack", ...fields })).told[0]![1].queuePauseMs;
  assert.equal(pauseOf({ queue_pause_ms: 5_000 }), 5_000);
  assert.equal(pauseOf({ queue_pause_ms: 60_001 }), 60_000);
  for (const outcome of ["retry", "bury", "handled", "release"]) {
    assert.equal(pauseOf({ outcome, queue_pause_ms: 1 }), 1, outcome);
  }
  for (const odd of [0, -1, 1.5, "5", null, undefined]) {
    assert.equal(pauseOf({ queue_pause_ms: odd }), undefined);
  }
  const replace = replacement(bytesOf("x"), "{}", { queue_pause_ms: 7 });
  assert.equal(answered(concat(replace, ACK_OF_2)).told[0]![1].queuePauseMs, 7);
});

// --- the jobs of a framework

/** The same of jobs of a framework, in what is told: begun, and outcomes by their kinds. */
function messagesAnswered(body: string | Uint8Array, word: "batch" | "post-mortem" = "batch", header = word) {
  const told: string[] = [];
  const framework = { format: "messenger", headers: { type: "Mail" } };
  const jobs = ["1", "2", "3"].map((id) => jobOf(id, { framework }));
  const answer = new BatchAnswer(jobs, {
    onBegun: ({ id }) => void told.push(`${id} begun`),
    onOutcome: ({ kind }, { id }) => void told.push(`${id} ${kind}`),
  }, word);
  answer.onBody(bytesOf(body), { headers: new Map([["x-fervo-outcome", header]]), takeStderr: () => "" });
  return {
    told,
    running: answer.running.map(({ id }) => id),
    ended: answer.ended.map(({ id }) => id),
    hasRecord: answer.hasRecord,
  };
}

const say = (id: string, outcome: string) => record({ id, outcome });

Deno.test("encodeBatch() keeps the case and the order of a framework's headers", () => {
  const headers = { type: "Mail", "X-Message-Stamp-B": "[]", "X-Message-Stamp-A": "[]", "content-type": "x" };
  const job = jobOf("7", { framework: { format: "messenger", headers } });
  const { facts } = decodeBatch(encodeBatch({ jobs: [job], timeoutMs: 1 }))[0]!;
  assert.equal(JSON.stringify(facts["headers"]), JSON.stringify(headers));
});

Deno.test("encodeBatch() writes a framework's headers and format beside its message", () => {
  const job = jobOf("7", { framework: { format: "messenger", headers: { type: "Mail\n\u{1e}" } } });
  const { facts } = decodeBatch(encodeBatch({ jobs: [job], timeoutMs: 1 }))[0]!;
  assert.deepEqual([facts["format"], facts["headers"]], ["messenger", { type: "Mail\n\u{1e}" }]);
});

Deno.test("encodePostMortem() writes how a job died beside it", () => {
  const failure = { id: "f", code: "JOB_CRASHED", message: "killed" } as const;
  const { facts, payload } = decodeBatch(encodePostMortem(jobOf("7"), failure))[0]!;
  assert.deepEqual([facts["failure"], textOf(payload)], [failure, "hi"]);
});

Deno.test("BatchAnswer takes a framework's job for running from its record on, and settles those that have begun in any order", () => {
  const nothing = { told: [], running: [], ended: [], hasRecord: false };
  assert.deepEqual(messagesAnswered("\n"), nothing);
  assert.deepEqual(messagesAnswered(say("1", "ack")), nothing);
  assert.deepEqual(messagesAnswered(say("4", "begun")), nothing);
  assert.deepEqual(messagesAnswered(say("1", "begun") + say("2", "begun")).running, ["1", "2"]);
  assert.deepEqual(
    messagesAnswered(
      say("1", "begun") + say("2", "begun") + say("2", "handled") + say("2", "ack") + say("1", "ack"),
    ),
    {
      told: ["1 begun", "2 begun", "2 handled", "1 ack"],
      running: [],
      ended: ["1", "2"],
      hasRecord: true,
    },
  );
});

Deno.test("BatchAnswer lets a framework's job go on that has had no word which is understood", () => {
  const odd = [
    say("1", "done"),
    record({ id: "1", outcome: "replace", bytes: -1 }),
    replacement(bytesOf("x"), "[]"),
  ];
  for (const record of odd) {
    const body = concat(bytesOf(say("1", "begun")), bytesOf(record), bytesOf(say("1", "ack")));
    assert.deepEqual(messagesAnswered(body).told, ["1 begun", "1 ack"]);
  }
});

Deno.test("BatchAnswer counts records only below the word for their kind of request", () => {
  const body = say("1", "begun") + say("1", "handled");
  assert.deepEqual(messagesAnswered(body, "post-mortem").told, ["1 begun", "1 handled"]);
  assert.equal(messagesAnswered(body, "post-mortem", "batch").hasRecord, false);
  assert.equal(messagesAnswered(body, "batch", "post-mortem").hasRecord, false);
});

Deno.test("BatchAnswer reads a begin as nothing where jobs are no framework's", () => {
  assert.deepEqual(answered(say("1", "begun") + say("1", "ack")).running, "2");
});

Deno.test("encodeBatch() writes what PHP can read where a text has half of a surrogate pair, and BatchAnswer knows its job", () => {
  const job = jobOf("7\ud800", {
    framework: { format: "messenger", headers: { "\udfff": "a\udead\\ud800 \\\ud800", "😀": "😀" } },
  });
  const line = textOf(encodeBatch({ jobs: [job], timeoutMs: 1 })).split("\n")[0]!;
  assert.doesNotMatch(line, /(^|[^\\])(\\\\)*\\ud/);
  const { id, headers } = JSON.parse(line);
  assert.deepEqual([id, headers], ["7\ufffd", { "\ufffd": "a\ufffd\\ud800 \\\ufffd", "😀": "😀" }]);

  const told: string[] = [];
  const answer = new BatchAnswer([job], {
    onBegun: () => told.push("begun"),
    onOutcome: ({ kind }) => told.push(kind),
  });
  const sofar = { headers: new Map([["x-fervo-outcome", "batch"]]), takeStderr: () => "" };
  for (const outcome of ["begun", "ack"]) {
    answer.onBody(bytesOf(`\x1e${JSON.stringify({ id, outcome })}\n`), sofar);
  }
  assert.deepEqual(told, ["begun", "ack"]);
});
