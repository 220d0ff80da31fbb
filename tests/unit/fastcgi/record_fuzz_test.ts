/**
 * Broken streams by the thousand, the same in every run. A failure prints the iteration and the input, cut as it was
 * fed: `replay("0106…,0103…")` in a test of its own runs just that.
 */
import assert from "node:assert/strict";
import { FastCgiError } from "../../../src/fastcgi/errors.ts";
import { ParamsWriter } from "../../../src/fastcgi/params.ts";
import { encodeRecord, RecordParser, RecordType } from "../../../src/fastcgi/record.ts";
import { ResponseCollector, type ResponseLimits } from "../../../src/fastcgi/response.ts";
import { cutAnywhere, mutated } from "../../support/record_mutator.ts";
import { bytesOf, concat, record } from "../../support/scripted_server.ts";
import { SeededRandom } from "../../support/seeded_random.ts";
import { decodeParams, parseCgi } from "../../support/cgi.ts";

const SEED = 0x5eed_2026;
const LIMITS: ResponseLimits = { maxResponseBytes: 200, maxStderrBytes: 50, maxHeaderBytes: 120 };

const END = new Uint8Array(8);
const CORPUS: readonly Uint8Array[] = [
  // A job's usual answer, and one with all that an answer can have.
  concat(
    encodeRecord(RecordType.stdout, 1, bytesOf("X-Fervo-Outcome: ack\r\nContent-type: text/html\r\n\r\n")),
    encodeRecord(RecordType.stdout, 1),
    encodeRecord(RecordType.endRequest, 1, END),
  ),
  concat(
    record(RecordType.stderr, bytesOf("PHP Warning:  x; "), { padding: 7 }),
    record(RecordType.stdout, bytesOf("Status: 500\nA: 1\n\nbo"), { padding: 255 }),
    encodeRecord(RecordType.getValuesResult, 0, bytesOf("\x0f\x01FCGI_MPXS_CONNS0")),
    encodeRecord(RecordType.stderr, 1, bytesOf("PHP Fatal error:  y")),
    record(RecordType.stdout, bytesOf("dy ".repeat(100)), { padding: 1 }),
    encodeRecord(RecordType.unknownType, 0, END),
    encodeRecord(RecordType.endRequest, 1, Uint8Array.of(1, 2, 3, 4, 0, 0, 0, 0)),
  ),
  // Two answers on one connection.
  concat(
    ...[1, 2].flatMap((requestId) => [
      encodeRecord(RecordType.stdout, requestId, bytesOf("A: 1\n\n")),
      encodeRecord(RecordType.endRequest, requestId, END),
    ]),
  ),
  // A request.
  concat(encodeRecord(RecordType.beginRequest, 1, END), paramsOf(), encodeRecord(RecordType.params, 1)),
  encodeRecord(RecordType.stdout, 65_535, new Uint8Array(600).fill(0x41)),
];

function paramsOf(): Uint8Array {
  const writer = new ParamsWriter(1);
  for (const pair of [["A", "1"], ["EMPTY", ""], ["LONG", "v".repeat(200)], ["Ä", "😀"]]) {
    writer.add(pair[0]!, pair[1]!);
  }
  return writer.bytes().slice();
}

/** One record as the parser told of it, or the reason why it read no further. */
type Told = { type: number; requestId: number; content: string } | "refused" | "unfinished";

/** What a parser has to tell of the stream, read here without one. */
function expectedOf(stream: Uint8Array): Told[] {
  const told: Told[] = [];
  for (let at = 0; at < stream.length;) {
    if (stream[at] !== 1) return [...told, "refused"];
    if (at + 8 > stream.length) return told;
    const [, type, idHigh, idLow, lengthHigh, lengthLow, padding] = stream.subarray(
      at,
    ) as unknown as number[];
    const contentEnd = at + 8 + (lengthHigh! << 8) + lengthLow!;
    const content = stream.subarray(at + 8, contentEnd).toHex();
    at = contentEnd + padding!;
    if (at > stream.length) return content === "" ? told : [...told, "unfinished"];
    told.push({ type: type!, requestId: (idHigh! << 8) | idLow!, content });
  }
  return told;
}

/** The bytes between others, as in a buffer that a socket reads into; these would be read as a record's header. */
function inBuffer(bytes: Uint8Array): Uint8Array {
  const buffer = new Uint8Array(bytes.length + 32).fill(1);
  buffer.set(bytes, 16);
  return buffer.subarray(16, 16 + bytes.length);
}

/**
 * Feeds the chunks to a parser and to a collector, and checks on every call what must hold for any input at all.
 * Returns what was told.
 */
function feed(chunks: readonly Uint8Array[]): Told[] {
  const parser = new RecordParser();
  const collector = new ResponseCollector(LIMITS);
  const told: Told[] = [];
  let pieces: Uint8Array[] = [];
  let fedBytes = 0;
  let handedOutBytes = 0;
  let isAnswerRefused = false;
  let chunk: Uint8Array = new Uint8Array(0);
  const sink = {
    content(type: number, _requestId: number, piece: Uint8Array) {
      assert.ok(piece.length > 0, "an empty piece");
      assert.equal(piece.buffer, chunk.buffer, "a piece of another buffer");
      assert.ok(piece.byteOffset >= chunk.byteOffset, "a piece from before the chunk");
      assert.ok(
        piece.byteOffset + piece.length <= chunk.byteOffset + chunk.length,
        "a piece from behind the chunk",
      );
      handedOutBytes += piece.length;
      assert.ok(handedOutBytes <= fedBytes, "more content than bytes");
      pieces.push(piece.slice());
      if (type === RecordType.stdout && !isAnswerRefused) {
        isAnswerRefused = isRefused(() => collector.addStdout(piece));
      }
      if (type === RecordType.stderr) collector.addStderr(piece);
    },
    recordEnd(type: number, requestId: number, contentBytes: number) {
      const content = concat(...pieces);
      pieces = [];
      assert.equal(content.length, contentBytes, "the end does not match the content");
      told.push({ type, requestId, content: content.toHex() });
      if (type === RecordType.params) decodeParamsOf(content);
    },
  };
  const isStreamRefused = isRefused(() => {
    for (const bytes of chunks) {
      chunk = inBuffer(bytes);
      fedBytes += chunk.length;
      parser.parse(chunk, sink);
    }
  });
  if (isStreamRefused) told.push("refused");
  else if (pieces.length > 0) told.push("unfinished");
  const { body, stderr } = collector.finish(0);
  assert.ok(body.length <= LIMITS.maxResponseBytes, "more of the answer than the limit");
  const leftOut = /\n… \d+ bytes left out …(?:\n|$)/;
  assert.ok(stderr.replace(leftOut, "").length <= LIMITS.maxStderrBytes, "more STDERR than the limit");
  assert.ok(body.buffer.byteLength <= 4 * LIMITS.maxResponseBytes, "the body holds a larger buffer");
  return told;
}

/** Whether it throws FASTCGI_PROTOCOL, the only error that bytes may lead to. */
function isRefused(read: () => void): boolean {
  try {
    read();
    return false;
  } catch (error) {
    if (error instanceof FastCgiError && error.code === "FASTCGI_PROTOCOL") return true;
    throw error;
  }
}

/** Params are refused or read; what was read takes no more bytes than there were. */
function decodeParamsOf(content: Uint8Array): void {
  let pairs: [string, string][] = [];
  isRefused(() => pairs = decodeParams(content));
  // Bytes that are no UTF-8 become one character each, or fewer.
  const characters = pairs.reduce((sum, [name, value]) => sum + 2 + name.length + value.length, 0);
  assert.ok(characters <= content.length, "more params than bytes");
}

/** Runs one input again, as a failure prints it. */
function replay(input: string): Told[] {
  return feed(input.split(",").map((hex) => Uint8Array.fromHex(hex)));
}

function hexOf(chunks: readonly Uint8Array[]): string {
  return chunks.map((chunk) => chunk.toHex()).join(",");
}

/** All that the iterations have told, as one number: the same for the same seed. */
function fuzz(seed: number, iterations: number): number {
  const random = new SeededRandom(seed);
  let digest = 0;
  for (let i = 0; i < iterations; i++) {
    const stream = mutated(CORPUS, random);
    const chunks = [new Uint8Array(0), ...cutAnywhere(stream, random)];
    try {
      const told = feed(chunks);
      assert.deepEqual(told, expectedOf(stream));
      const text = JSON.stringify(told);
      for (let at = 0; at < text.length; at++) digest = (Math.imul(digest, 31) + text.charCodeAt(at)) | 0;
    } catch (error) {
      throw new Error(`Iteration ${i} of seed ${seed} failed; input: ${hexOf(chunks)}`, { cause: error });
    }
  }
  return digest;
}

Deno.test(`RecordParser, ResponseCollector and decodeParams() hold what they promise for broken streams (seed ${SEED})`, () => {
  fuzz(SEED, 5_000);
});

Deno.test(`RecordParser tells the same of the same broken streams each time (seed ${SEED})`, () => {
  assert.equal(fuzz(SEED, 200), fuzz(SEED, 200));
  assert.notEqual(fuzz(SEED, 200), fuzz(SEED + 1, 200));
});

Deno.test("RecordParser reads a stream that a failure printed as it was fed", () => {
  const chunks = cutAnywhere(CORPUS[0]!, new SeededRandom(SEED));
  assert.deepEqual(replay(hexOf(chunks)), feed([CORPUS[0]!]));
});

Deno.test(`parseCgi() loses no byte of broken output and throws nothing (seed ${SEED})`, () => {
  const random = new SeededRandom(SEED);
  const corpus = [
    "Status: 500 Internal Server Error\r\nX-Fervo-Outcome: ack\r\n\r\nbody\r\n\r\n",
    "A: 1\nB:\n\n\n\n",
    "\xff\xfe: \x00\r\n\r\n",
    "plain",
  ].map((text) => Uint8Array.from(text, (character) => character.charCodeAt(0)));
  for (let i = 0; i < 5_000; i++) {
    const stdout = mutated(corpus, random);
    try {
      const { status, headers, body } = parseCgi(stdout);
      assert.ok(Number.isInteger(status));
      assert.deepEqual(body, stdout.subarray(stdout.length - body.length));
      assert.ok(headers.size > 0 || body.length === stdout.length, "bytes were lost");
    } catch (error) {
      throw new Error(`Iteration ${i} of seed ${SEED} failed; input: ${stdout.toHex()}`, { cause: error });
    }
  }
});
