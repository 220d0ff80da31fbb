/** Properties of the codecs that hold across their files: no byte from outside of a view, no difference by a cut. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { FastCgiError } from "../../../src/fastcgi/errors.ts";
import { encodeParams, ParamsWriter } from "../../../src/fastcgi/params.ts";
import { FULL_CONTENT_BYTES, HEADER_BYTES, RecordParser, writeHeader } from "../../../src/fastcgi/record.ts";
import { ResponseCollector, type ResponseLimits } from "../../../src/fastcgi/response.ts";
import { bytesOf, concat, record } from "../../support/scripted_server.ts";
import { decodeParams, parseCgi } from "../../support/cgi.ts";

/** The bytes as a view into a larger buffer, surrounded by what would be read as FastCGI and as headers. */
function poisoned(bytes: Uint8Array, before: number, behind: number): Uint8Array {
  const poison = bytesOf("\x01\x03\x00\x01\x00\x08\x00\x00POISON: 1\n\n");
  const buffer = new Uint8Array(before + bytes.length + behind);
  for (let at = 0; at < buffer.length; at++) buffer[at] = poison[at % poison.length]!;
  buffer.set(bytes, before);
  return buffer.subarray(before, before + bytes.length);
}

const anyMargin = fc.nat(40);
const anyRecords = fc.array(
  fc.record({
    type: fc.integer({ min: 0, max: 255 }),
    requestId: fc.integer({ min: 0, max: 65_535 }),
    content: fc.uint8Array({ maxLength: 30 }),
    padding: fc.integer({ min: 0, max: 20 }),
  }),
  { minLength: 1, maxLength: 5 },
);

Deno.test("RecordParser hands out nothing from outside of a view, wherever the view ends", () => {
  fc.assert(fc.property(anyRecords, fc.nat(300), anyMargin, anyMargin, (records, length, before, behind) => {
    const stream = concat(...records.map((r) => record(r.type, r.content, r))).subarray(0, length);
    const chunk = poisoned(stream, before, behind);
    const read = (bytes: Uint8Array) => {
      const told: string[] = [];
      new RecordParser().parse(bytes, {
        content(type, requestId, piece) {
          assert.equal(piece.buffer, bytes.buffer);
          assert.ok(piece.byteOffset >= bytes.byteOffset);
          assert.ok(piece.byteOffset + piece.length <= bytes.byteOffset + bytes.length);
          told.push(`${type} ${requestId} ${piece.toHex()}`);
        },
        recordEnd: (type, requestId, contentBytes) =>
          void told.push(`${type} ${requestId} end ${contentBytes}`),
      });
      return told;
    };
    assert.deepEqual(read(chunk), read(stream.slice()));
  }));
});

Deno.test("RecordParser goes on in a view of another buffer, as after the next read", () => {
  const whole = record(6, bytesOf("content"), { padding: 5 });
  for (let cut = 0; cut <= whole.length; cut++) {
    const chunks = [poisoned(whole.subarray(0, cut), 9, 9), poisoned(whole.subarray(cut), 3, 30)];
    let content = "";
    let ends = 0;
    const parser = new RecordParser();
    for (const chunk of chunks) {
      parser.parse(chunk, {
        content: (_type, _id, piece) => content += new TextDecoder().decode(piece),
        recordEnd: () => void ends++,
      });
      // The parser must not come back to a chunk that it has read.
      chunk.fill(0xff);
    }
    assert.deepEqual([content, ends], ["content", 1], `cut at ${cut}`);
  }
});

Deno.test("decodeParams() and parseCgi() read nothing from outside of a view", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), anyMargin, anyMargin, (bytes, before, behind) => {
    const read = <T>(decode: () => T) => {
      try {
        return decode();
      } catch (error) {
        assert.ok(error instanceof FastCgiError);
        return error.code;
      }
    };
    const view = poisoned(bytes, before, behind);
    assert.deepEqual(read(() => decodeParams(view)), read(() => decodeParams(bytes.slice())));
  }));
  const anyOutput = fc.array(fc.constantFrom("\r", "\n", ":", "a", " ", "Status: 404"), { maxLength: 12 });
  fc.assert(fc.property(anyOutput, anyMargin, anyMargin, (tokens, before, behind) => {
    const stdout = bytesOf(tokens.join(""));
    const read = (bytes: Uint8Array) => {
      const { status, headers, body } = parseCgi(bytes);
      return { status, headers: [...headers], body: body.toHex() };
    };
    assert.deepEqual(read(poisoned(stdout, before, behind)), read(stdout));
  }));
});

Deno.test("writeHeader() writes its 8 bytes and no other, also at the end of a buffer", () => {
  fc.assert(fc.property(
    fc.integer({ min: 0, max: 65_535 }),
    fc.integer({ min: 0, max: 65_535 }),
    anyMargin,
    anyMargin,
    (requestId, contentBytes, before, behind) => {
      const target = new Uint8Array(before + HEADER_BYTES + behind).fill(0xee);
      writeHeader(target, before, 6, requestId, contentBytes);
      assert.ok(target.subarray(0, before).every((byte) => byte === 0xee));
      assert.ok(target.subarray(before + HEADER_BYTES).every((byte) => byte === 0xee));
      assert.equal(
        target.subarray(before, before + HEADER_BYTES).toHex(),
        "0106" + hex16(requestId) + hex16(contentBytes) + "0000",
      );
    },
  ));
});

function hex16(value: number): string {
  return value.toString(16).padStart(4, "0");
}

/** The pairs in a stream of PARAMS records, and the length of each record. */
function pairsOf(stream: Uint8Array): { pairs: [string, string][]; recordBytes: number[] } {
  const pairs: [string, string][] = [];
  const recordBytes: number[] = [];
  let content: Uint8Array = new Uint8Array(0);
  new RecordParser().parse(stream, {
    content: (_type, _id, piece) => content = concat(content, piece),
    recordEnd(_type, _id, contentBytes) {
      pairs.push(...decodeParams(content));
      recordBytes.push(contentBytes);
      content = new Uint8Array(0);
    },
  });
  return { pairs, recordBytes };
}

// The writer begins with 1,024 bytes and doubles them; a record ends at 65,528.
for (const capacity of [1_024, 2_048, 4_096, FULL_CONTENT_BYTES, 2 * FULL_CONTENT_BYTES]) {
  Deno.test(`ParamsWriter writes the same whether ${capacity} bytes are just enough or just not`, () => {
    for (let total = capacity - 40; total <= capacity + 40; total++) {
      // A filler, in pieces that fit a record, and short pairs of all kinds behind it.
      const filler: [string, string][] = [];
      for (let left = total; left > 0; left -= 30_000) filler.push(["F", "f".repeat(Math.min(left, 30_000))]);
      const pairs: [string, string][] = [...filler, ["", ""], ["Ä", "😀"], ["N", "v".repeat(127)], [
        "N",
        "€".repeat(43),
      ]];
      const writer = new ParamsWriter(1);
      // The second time, the memory is there already.
      for (let i = 0; i < 2; i++) {
        writer.reset();
        for (const [name, value] of pairs) writer.add(name, value);
        const read = pairsOf(writer.bytes());
        assert.deepEqual(read.pairs, pairs, `${total}`);
        for (const bytes of read.recordBytes) assert.ok(bytes > 0 && bytes <= FULL_CONTENT_BYTES, `${bytes}`);
      }
    }
  });
}

Deno.test("ParamsWriter fills a record to its last byte with an encoded block and a pair, and no further", () => {
  for (let blockBytes = 30_000; blockBytes < 30_010; blockBytes++) {
    const block = encodeParams({ BLOCK: "b".repeat(blockBytes - "BLOCK".length - 5) });
    assert.equal(block.bytes.length, blockBytes);
    for (const surplus of [-1, 0, 1]) {
      const writer = new ParamsWriter(1);
      writer.addEncoded(block);
      writer.add("P", "p".repeat(FULL_CONTENT_BYTES - blockBytes - "P".length - 5 + surplus));
      const { recordBytes } = pairsOf(writer.bytes());
      const pairBytes = FULL_CONTENT_BYTES - blockBytes + surplus;
      assert.deepEqual(recordBytes, surplus > 0 ? [blockBytes, pairBytes] : [FULL_CONTENT_BYTES + surplus]);
    }
  }
});

// --- the collector

/** Output that has headers often, and often almost. */
const anyStdout = fc.array(
  fc.constantFrom(
    "A: 1\n",
    "Status: 404\r\n",
    "\n",
    "\r\n",
    "body",
    "é",
    ":",
    "X-Long: ".padEnd(30, "x"),
    "\x00",
  ),
  { maxLength: 12 },
).map((tokens) => bytesOf(tokens.join("")));
const anyStderr = fc.string({ unit: "grapheme", maxLength: 30 }).map(bytesOf);
const anyLimits: fc.Arbitrary<ResponseLimits> = fc.record({
  maxResponseBytes: fc.nat(120),
  maxStderrBytes: fc.nat(40),
  maxHeaderBytes: fc.nat(60),
});
const anyAnswer = fc.record({ stdout: anyStdout, stderr: anyStderr, cuts: fc.infiniteStream(fc.nat(9)) });

/** Feeds both streams whole, or in the pieces and the order that `cuts` says, and tells all of the answer. */
function collect(
  collector: ResponseCollector,
  { stdout, stderr }: { stdout: Uint8Array; stderr: Uint8Array },
  cuts?: Iterator<number>,
): unknown {
  const left = [stdout, stderr];
  const take = (stream: 0 | 1, bytes: number) => {
    const piece = left[stream]!.slice(0, bytes);
    left[stream] = left[stream]!.subarray(bytes);
    if (stream === 0) collector.addStdout(piece);
    else collector.addStderr(piece);
    // The reader's buffer is written over by the next read.
    piece.fill(0x21);
  };
  try {
    while (cuts !== undefined && left[0]!.length + left[1]!.length > 0) {
      const cut = cuts.next().value!;
      take((cut % 2) as 0 | 1, cut);
    }
    take(0, left[0]!.length);
    take(1, left[1]!.length);
    const { headers, body, ...rest } = collector.finish(7);
    return { ...rest, headers: [...headers], body: body.toHex() };
  } catch (error) {
    assert.ok(error instanceof FastCgiError && error.code === "FASTCGI_PROTOCOL", `${error}`);
    return error.message;
  }
}

Deno.test("ResponseCollector makes the same of an answer however its streams are cut and interleaved", () => {
  fc.assert(fc.property(anyAnswer, anyLimits, (answer, limits) => {
    const whole = collect(new ResponseCollector(limits), answer);
    assert.deepEqual(collect(new ResponseCollector(limits), answer, answer.cuts), whole);
  }));
});

Deno.test("ResponseCollector makes the same of an answer whatever answers came before it", () => {
  fc.assert(fc.property(fc.array(anyAnswer, { minLength: 2, maxLength: 5 }), anyLimits, (answers, limits) => {
    const used = new ResponseCollector(limits);
    for (const answer of answers) {
      used.reset();
      const expected = collect(new ResponseCollector(limits), answer);
      assert.deepEqual(collect(used, answer, answer.cuts), expected);
    }
  }));
});

Deno.test("ResponseCollector leaves an answer as it was while it collects the next one", () => {
  fc.assert(fc.property(anyStdout, anyStdout, (first, second) => {
    const limits = { maxResponseBytes: 1_000, maxStderrBytes: 1_000, maxHeaderBytes: 1_000 };
    const collector = new ResponseCollector(limits);
    collector.addStdout(first);
    const response = collector.finish(0);
    const before = [response.status, [...response.headers], response.body.toHex()];
    collector.reset();
    collector.addStdout(second);
    collector.finish(0);
    assert.deepEqual([response.status, [...response.headers], response.body.toHex()], before);
  }));
});
