import assert from "node:assert/strict";
import fc from "fast-check";
import { FastCgiError } from "../../../src/fastcgi/errors.ts";
import {
  encodeRecord,
  HEADER_BYTES,
  MAX_CONTENT_BYTES,
  RecordParser,
  RecordType,
  writeHeader,
} from "../../../src/fastcgi/record.ts";
import { concat, record } from "../../support/scripted_server.ts";

interface ReadRecord {
  readonly type: number;
  readonly requestId: number;
  readonly contentBytes: number;
  readonly content: string;
}

/** What a parser makes of a stream that comes in these chunks; a record that has not ended is not in it. */
function parseAll(chunks: readonly Uint8Array[]): ReadRecord[] {
  const parser = new RecordParser();
  const records: ReadRecord[] = [];
  let content = new Uint8Array(0);
  for (const chunk of chunks) {
    parser.parse(chunk, {
      content(_type, _requestId, piece) {
        assert.ok(piece.length > 0, "an empty piece was passed on");
        content = new Uint8Array(concat(content, piece));
      },
      recordEnd(type, requestId, contentBytes) {
        records.push({ type, requestId, contentBytes, content: content.toHex() });
        content = new Uint8Array(0);
      },
    });
  }
  return records;
}

/** The stream in pieces; each cut is a position, those outside it or twice in it do no harm. */
function cutAt(stream: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  let from = 0;
  for (const cut of [...cuts].sort((a, b) => a - b)) {
    if (cut > stream.length) break;
    chunks.push(stream.slice(from, cut));
    from = cut;
  }
  return [...chunks, stream.slice(from)];
}

const anyRecord = fc.record({
  type: fc.integer({ min: 0, max: 255 }),
  requestId: fc.integer({ min: 0, max: 65_535 }),
  content: fc.uint8Array({ maxLength: 40 }),
  padding: fc.integer({ min: 0, max: 255 }),
});

Deno.test("RecordParser reads the same records however the stream is cut", () => {
  fc.assert(fc.property(
    fc.array(anyRecord, { maxLength: 6 }),
    fc.array(fc.nat(1_800), { maxLength: 30 }),
    (records, cuts) => {
      const stream = concat(...records.map((r) => record(r.type, r.content, r)));
      const expected = records.map(({ type, requestId, content }) => ({
        type,
        requestId,
        contentBytes: content.length,
        content: content.toHex(),
      }));
      assert.deepEqual(parseAll([stream]), expected);
      assert.deepEqual(parseAll(cutAt(stream, cuts)), expected);
      assert.deepEqual(parseAll([...stream].map((byte) => Uint8Array.of(byte))), expected);
    },
  ));
});

Deno.test("RecordParser passes on only what has come of a record, whatever length its header claims", () => {
  const chunk = concat(Uint8Array.of(1, 6, 0, 1, 255, 255, 255, 0), Uint8Array.of(1, 2, 3));
  const pieces: string[] = [];
  const sink = {
    content: (_type: number, _id: number, piece: Uint8Array) => void pieces.push(piece.toHex()),
    recordEnd: () => assert.fail("the record has not ended"),
  };
  new RecordParser().parse(chunk, sink);
  assert.deepEqual(pieces, ["010203"]);
});

Deno.test("RecordParser does not end a record before the last byte of its padding", () => {
  const whole = record(6, Uint8Array.of(7), { padding: 3 });
  assert.deepEqual(parseAll([whole.slice(0, -1)]), []);
  assert.equal(parseAll([whole]).length, 1);
});

Deno.test("RecordParser hands out views of the chunk, without copying", () => {
  const chunk = record(6, Uint8Array.of(1, 2, 3));
  let buffer: ArrayBufferLike | undefined;
  new RecordParser().parse(chunk, {
    content: (_type, _id, piece) => buffer = piece.buffer,
    recordEnd: () => {},
  });
  assert.equal(buffer, chunk.buffer);
});

Deno.test("RecordParser refuses another version at its first byte", () => {
  const sink = { content: () => assert.fail(), recordEnd: () => assert.fail() };
  for (const first of [0, 2, "H".charCodeAt(0)]) {
    assert.throws(
      () => new RecordParser().parse(Uint8Array.of(first), sink),
      (error: FastCgiError) => {
        assert.equal(error.code, "FASTCGI_PROTOCOL");
        assert.equal(
          error.message,
          `Cannot read the answer: it is not FastCGI, a record of version "${first}" came instead of 1`,
        );
        return true;
      },
    );
  }
});

Deno.test("RecordParser refuses another version in a later record", () => {
  const stream = concat(record(6, Uint8Array.of(1)), Uint8Array.of(0));
  assert.throws(() => parseAll([stream]), { code: "FASTCGI_PROTOCOL" });
});

Deno.test("writeHeader() lays the fields out as the specification draws them", () => {
  const target = new Uint8Array(10).fill(0xff);
  writeHeader(target, 1, RecordType.stdin, 0x1234, 0xabcd);
  assert.equal(target.toHex(), "ff" + "01" + "05" + "1234" + "abcd" + "00" + "00" + "ff");
});

Deno.test("encodeRecord() is header and content, and is read back by RecordParser", () => {
  fc.assert(fc.property(
    fc.integer({ min: 0, max: 255 }),
    fc.integer({ min: 0, max: 65_535 }),
    fc.uint8Array({ maxLength: 300 }),
    (type, requestId, content) => {
      const encoded = encodeRecord(type, requestId, content);
      assert.deepEqual(encoded, record(type, content, { requestId }));
      assert.deepEqual(parseAll([encoded]), [
        { type, requestId, contentBytes: content.length, content: content.toHex() },
      ]);
    },
  ));
});

Deno.test("encodeRecord() takes up to 65,535 bytes and refuses more", () => {
  const largest = encodeRecord(RecordType.stdout, 1, new Uint8Array(MAX_CONTENT_BYTES).fill(9));
  assert.equal(largest.length, HEADER_BYTES + 65_535);
  assert.equal(parseAll([largest])[0]?.contentBytes, 65_535);
  assert.throws(() => encodeRecord(RecordType.stdout, 1, new Uint8Array(MAX_CONTENT_BYTES + 1)), RangeError);
});
