import assert from "node:assert/strict";
import fc from "fast-check";
import { HeadAndTail } from "../../../src/core/text/head_and_tail.ts";
import {
  type BodyListener,
  DEFAULT_RESPONSE_LIMITS,
  ResponseCollector,
} from "../../../src/fastcgi/response.ts";
import { bytesOf, concat } from "../../support/scripted_server.ts";
import { parseCgi } from "../../support/cgi.ts";

function read(stdout: string | Uint8Array) {
  const { status, headers, body } = parseCgi(bytesOf(stdout));
  return { status, headers: Object.fromEntries(headers), body: new TextDecoder().decode(body) };
}

Deno.test("parseCgi() reads header lines that end in CRLF, as php-fpm writes them", () => {
  assert.deepEqual(
    read("Status: 404 Not Found\r\nX-Powered-By: PHP/8.2\r\nContent-type: text/html\r\n\r\nFile\r\n\r\n"),
    {
      status: 404,
      headers: { "status": "404 Not Found", "x-powered-by": "PHP/8.2", "content-type": "text/html" },
      body: "File\r\n\r\n",
    },
  );
});

Deno.test("parseCgi() reads header lines that end in LF, or in both by turns", () => {
  const expected = { status: 200, headers: { a: "1", b: "2" }, body: "body" };
  assert.deepEqual(read("A: 1\nB: 2\n\nbody"), expected);
  assert.deepEqual(read("A: 1\r\nB: 2\n\r\nbody"), expected);
  assert.deepEqual(read("A: 1\nB: 2\r\n\nbody"), expected);
});

Deno.test("parseCgi() takes status 200 without a Status header, and with one that is no number", () => {
  assert.equal(read("A: 1\n\n").status, 200);
  assert.equal(read("Status: fine\n\n").status, 200);
  assert.equal(read("STATUS: 503\n\n").status, 503);
});

Deno.test("parseCgi() joins a repeated header's values", () => {
  assert.equal(read("Warning: a\nOther: x\nwarning: b\n\n").headers["warning"], "a, b");
});

Deno.test("parseCgi() keeps colons in a value and an empty value", () => {
  assert.deepEqual(read("Location: http://a/b:c\nEmpty:\n\n").headers, {
    location: "http://a/b:c",
    empty: "",
  });
});

Deno.test("parseCgi() takes output that is no header block for body, whole, with no status", () => {
  const outputs = [
    "",
    "\n",
    "\r\n\r\nbody",
    "plain text without an end",
    "A: 1\nB: 2\n",
    "first line\nA: 1\n\nbody",
    ": no name\n\nbody",
  ];
  for (const stdout of outputs) assert.deepEqual(read(stdout), { status: 0, headers: {}, body: stdout });
});

Deno.test("parseCgi() leaves every byte of the body as it is", () => {
  fc.assert(fc.property(fc.uint8Array(), fc.constantFrom("\n", "\r\n"), (body, lineEnd) => {
    const stdout = concat(bytesOf(`A: 1${lineEnd}${lineEnd}`), body);
    assert.deepEqual(new Uint8Array(parseCgi(stdout).body), body);
  }));
});

Deno.test("parseCgi() loses no byte of anything, however malformed", () => {
  const anyOutput = fc.array(fc.constantFrom("\r", "\n", ":", "a", "é", " ", "Status:"), { maxLength: 30 });
  fc.assert(fc.property(anyOutput, (tokens) => {
    const stdout = bytesOf(tokens.join(""));
    const { headers, body } = parseCgi(stdout);
    assert.deepEqual(body, stdout.subarray(stdout.length - body.length));
    if (headers.size === 0) assert.equal(body.length, stdout.length);
  }));
});

Deno.test("ResponseCollector keeps STDOUT and STDERR up to their limits, and says that it cut", () => {
  fc.assert(fc.property(
    fc.array(fc.uint8Array({ max: 127, maxLength: 20 }), { maxLength: 10 }),
    fc.array(fc.uint8Array({ min: 33, max: 127, maxLength: 20 }), { maxLength: 10 }),
    fc.nat(100),
    fc.nat(100),
    (stdout, stderr, maxResponseBytes, maxStderrBytes) => {
      const collector = new ResponseCollector({
        ...DEFAULT_RESPONSE_LIMITS,
        maxResponseBytes,
        maxStderrBytes,
      });
      for (const piece of stdout) collector.addStdout(piece);
      for (const piece of stderr) collector.addStderr(piece);
      const response = collector.finish(0);
      const allStdout = concat(...stdout);
      const allStderr = concat(...stderr);
      assert.deepEqual(response.body, parseCgi(allStdout.subarray(0, maxResponseBytes)).body);
      const kept = new HeadAndTail(maxStderrBytes);
      kept.append(allStderr);
      assert.equal(response.stderr, kept.text());
      assert.equal(
        response.isTruncated,
        allStdout.length > maxResponseBytes || allStderr.length > maxStderrBytes,
      );
    },
  ));
});

Deno.test("ResponseCollector keeps the end of an answer that is too long, also of one after another", () => {
  const collector = new ResponseCollector({ ...DEFAULT_RESPONSE_LIMITS, maxResponseBytes: 100_000 });
  for (const length of [100_000, 100_001, 100_010, 165_000, 230_000, 1_000_000]) {
    for (const pieceBytes of [1_000, 16_384, 70_000, length]) {
      const stdout = concat(bytesOf("A: 1\n\n"), new Uint8Array(length - 6).map((_, at) => at % 251));
      collector.reset();
      for (let at = 0; at < length; at += pieceBytes) collector.addStdout(stdout.slice(at, at + pieceBytes));
      const { body, end } = collector.finish(0);
      assert.deepEqual(body, stdout.slice(6, 100_000));
      if (length === 100_000) assert.equal(end, undefined);
      else {
        assert.ok(end!.length > 65_537 && end!.length <= 2 * 65_538, `${end!.length} bytes`);
        assert.deepEqual(end, stdout.slice(-end!.length), `${length} in pieces of ${pieceBytes}`);
      }
    }
  }
});

Deno.test("ResponseCollector does not call an answer cut that fits its limits exactly", () => {
  const collector = new ResponseCollector({
    ...DEFAULT_RESPONSE_LIMITS,
    maxResponseBytes: 10,
    maxStderrBytes: 3,
  });
  collector.addStdout(bytesOf("A: 1\n\nbody"));
  collector.addStderr(bytesOf("abc"));
  const { isTruncated, body, stderr } = collector.finish(0);
  assert.deepEqual([isTruncated, new TextDecoder().decode(body), stderr], [false, "body", "abc"]);
});

Deno.test("ResponseCollector copies what it keeps, for the reader's buffer is written over", () => {
  const buffer = bytesOf("A: 1\n\nbody");
  const collector = new ResponseCollector(DEFAULT_RESPONSE_LIMITS);
  collector.addStdout(buffer);
  buffer.fill(0);
  assert.equal(new TextDecoder().decode(collector.finish(0).body), "body");
});

Deno.test("ResponseCollector reads STDERR that is cut inside a character, and drops its last line ends", () => {
  const collector = new ResponseCollector({ ...DEFAULT_RESPONSE_LIMITS, maxStderrBytes: 3 });
  collector.addStderr(bytesOf("éé"));
  assert.equal(collector.stderr, "é\n… 2 bytes left out …");
  const another = new ResponseCollector(DEFAULT_RESPONSE_LIMITS);
  another.addStderr(bytesOf("PHP Warning: x\r\n\n"));
  assert.equal(another.stderr, "PHP Warning: x");
});

Deno.test("ResponseCollector.finish() passes the application's status on", () => {
  assert.equal(new ResponseCollector(DEFAULT_RESPONSE_LIMITS).finish(-7).appStatus, -7);
});

// --- a body that is handed on while it comes

/** What is handed on of an answer in these pieces, and the headers that were there at the first. */
function handedOn(pieces: readonly (string | Uint8Array)[], limits = {}, head: readonly string[] = []) {
  const collector = new ResponseCollector({ ...DEFAULT_RESPONSE_LIMITS, ...limits });
  // An answer before it, with headers of its own.
  collector.reset();
  for (const text of head) collector.addStdout(bytesOf(text));
  collector.finish(0);
  let body = "";
  let headers: Record<string, string> | undefined;
  collector.reset((piece, answer) => {
    headers ??= Object.fromEntries(answer.headers);
    body += new TextDecoder("latin1").decode(piece);
  });
  for (const piece of pieces) collector.addStdout(bytesOf(piece).slice());
  return { body, headers, response: collector.finish(0) };
}

Deno.test("ResponseCollector hands the body on as it comes, wherever the answer is cut, and keeps it too", () => {
  const stdout = bytesOf("A: 1\r\nB: 2\r\n\r\nfirst\n\nlast");
  for (const earlier of [[], ["A: 1\r\nB: 2\r\n\r\n"], ["A: 1\r\n\r\nB: 2"]]) {
    for (let cut = 0; cut <= stdout.length; cut++) {
      const { body, headers, response } = handedOn(
        [stdout.subarray(0, cut), stdout.subarray(cut)],
        {},
        earlier,
      );
      assert.deepEqual([body, headers], ["first\n\nlast", { a: "1", b: "2" }], `cut at ${cut}`);
      assert.equal(new TextDecoder().decode(response.body), "first\n\nlast");
    }
    const bytes = Array.from(stdout, (byte) => Uint8Array.of(byte));
    assert.equal(handedOn(bytes, {}, earlier).body, "first\n\nlast");
  }
});

Deno.test("ResponseCollector hands on also what is too long to be kept", () => {
  const pieces = ["A: 1\n\nabc", "def", "ghi"];
  const { body, response } = handedOn(pieces, { maxResponseBytes: 9, maxHeaderBytes: 8 });
  assert.equal(body, "abcdefghi");
  assert.deepEqual([new TextDecoder().decode(response.body), response.isTruncated], ["abc", true]);
});

Deno.test("ResponseCollector hands nothing on of an answer without headers, before or behind the limit of headers", () => {
  for (const first of ["", "no headers\n\n", "no end\n"]) {
    const { body, headers } = handedOn([first, "A: 1\n\nbody", "x".repeat(100), "A: 1\n\nbody"], {
      maxHeaderBytes: 40,
    }, ["A: 1\n\n"]);
    assert.deepEqual([body.slice(0, 4), headers], first === "" ? ["body", { a: "1" }] : ["", undefined]);
  }
  assert.deepEqual(handedOn(["A: 1\n\n"]).headers, undefined, "no empty pieces");
});

Deno.test("ResponseCollector hands nothing of the next answer to the one who listened to the last", () => {
  let pieces = 0;
  const collector = new ResponseCollector(DEFAULT_RESPONSE_LIMITS);
  for (const listener of [() => void pieces++, undefined]) {
    collector.reset(listener);
    collector.addStdout(bytesOf("A: 1\n\nbody"));
    collector.finish(0);
  }
  assert.equal(pieces, 1);
});

Deno.test("ResponseCollector.takeStderr() leaves out what php-fpm writes between two lines, and nothing else", () => {
  const taken: string[] = [];
  const collector = new ResponseCollector(DEFAULT_RESPONSE_LIMITS);
  const onBody: BodyListener = (_piece, answer) => taken.push(answer.takeStderr());
  for (
    const texts of [["PHP message: a", "; PHP message: b", "", "; PHP message: c; PHP message: d"], [
      "; a",
      "b",
    ]]
  ) {
    collector.reset(onBody);
    collector.addStdout(bytesOf("A: 1\n\n"));
    for (const text of texts) {
      collector.addStderr(bytesOf(text));
      collector.addStdout(bytesOf("."));
    }
  }
  assert.deepEqual(taken, [
    "PHP message: a",
    "PHP message: b",
    "",
    "PHP message: c; PHP message: d",
    "; a",
    "b",
  ]);
});

Deno.test("ResponseCollector.takeStderr() gives what has come since the last call, each time up to the limit", () => {
  const taken: string[] = [];
  const collector = new ResponseCollector({ ...DEFAULT_RESPONSE_LIMITS, maxStderrBytes: 5 });
  collector.reset((_piece, answer) => taken.push(answer.takeStderr()));
  collector.addStdout(bytesOf("A: 1\n\n"));
  for (const text of ["one", "", "too long"]) {
    collector.addStderr(bytesOf(text));
    collector.addStdout(bytesOf("."));
  }
  collector.addStderr(bytesOf("rest"));
  assert.deepEqual([taken, collector.finish(0).stderr], [
    ["one", "", "too\n… 3 bytes left out …\nng"],
    "rest",
  ]);
});
