import assert from "node:assert/strict";
import fc from "fast-check";
import { encodeParams, ParamsWriter } from "../../../src/fastcgi/params.ts";
import { FULL_CONTENT_BYTES, RecordParser, RecordType } from "../../../src/fastcgi/record.ts";
import { decodeParams } from "../../support/cgi.ts";

/** Contents of the records in a PARAMS stream; each must be whole, of type PARAMS and of request 1. */
function recordsOf(stream: Uint8Array): Uint8Array[] {
  const contents: Uint8Array[] = [];
  const pieces: number[] = [];
  new RecordParser().parse(stream, {
    content(_type, _id, piece) {
      for (const byte of piece) pieces.push(byte);
    },
    recordEnd(type, requestId, contentBytes) {
      assert.equal(type, RecordType.params);
      assert.equal(requestId, 1);
      assert.equal(contentBytes, pieces.length);
      contents.push(Uint8Array.from(pieces.splice(0)));
    },
  });
  assert.equal(pieces.length, 0, "the last record is not whole");
  return contents;
}

function encode(pairs: readonly (readonly [string, string])[], writer = new ParamsWriter(1)): Uint8Array {
  writer.reset();
  for (const [name, value] of pairs) writer.add(name, value);
  return writer.bytes();
}

const anyText = fc.oneof(
  fc.string({ unit: "binary", maxLength: 200 }),
  fc.string({ unit: "grapheme", maxLength: 200 }),
  fc.string({ unit: "grapheme-ascii", maxLength: 200 }),
  fc.string({
    unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
    maxLength: 70,
  }),
);
const anyPairs = fc.array(fc.tuple(anyText, anyText), { maxLength: 20 });

Deno.test("ParamsWriter and decodeParams() round-trip any unicode names and values", () => {
  fc.assert(fc.property(anyPairs, (pairs) => {
    const decoded = recordsOf(encode(pairs)).flatMap((content) => decodeParams(content));
    assert.deepEqual(decoded, pairs.map(([name, value]) => [name, value]));
  }));
});

Deno.test("ParamsWriter round-trips every length around those at which it changes its ways", () => {
  for (const character of ["a", "é", "€", "😀"]) {
    for (let length = 0; length <= 140; length++) {
      const text = character.repeat(length);
      const pairs: [string, string][] = [[text, "v"], ["n", text], [text, text]];
      assert.deepEqual(decodeParams(recordsOf(encode([["n", "v"], ...pairs]))[0]!), [["n", "v"], ...pairs]);
    }
  }
});

Deno.test("decodeParams() keeps a byte order mark at the beginning of a value", () => {
  assert.deepEqual(decodeParams(recordsOf(encode([["\ufeffN", "\ufeffv"]]))[0]!), [["\ufeffN", "\ufeffv"]]);
});

Deno.test("ParamsWriter gives a writer that was used before the same bytes as a new one", () => {
  const writer = new ParamsWriter(1);
  fc.assert(fc.property(anyPairs, (pairs) => {
    assert.deepEqual(encode(pairs, writer).slice(), encode(pairs));
  }));
});

Deno.test("ParamsWriter never splits a pair over two records", () => {
  const anyLength = fc.oneof(fc.nat(300), fc.integer({ min: 20_000, max: 65_000 }));
  fc.assert(
    fc.property(fc.array(anyLength, { maxLength: 12 }), (lengths) => {
      const pairs = lengths.map((length, i): [string, string] => [`N${i}`, "v".repeat(length)]);
      // decodeParams reads record by record, as php-fpm does: a split pair would throw.
      const contents = recordsOf(encode(pairs));
      assert.deepEqual(contents.flatMap((content) => decodeParams(content)), pairs);
      for (const content of contents) {
        assert.ok(content.length > 0, "an empty record would end the params");
        assert.ok(content.length <= FULL_CONTENT_BYTES);
      }
    }),
    { numRuns: 40 },
  );
});

Deno.test("ParamsWriter writes the byte layout of the specification", () => {
  const value = "x".repeat(200);
  assert.equal(
    encode([["A", "bc"], ["", ""], ["L", value]]).toHex(),
    "0104000100d50000" + // header: PARAMS, request 1, 213 bytes
      "0102" + "41" + "6263" + // lengths of one byte
      "0000" + // both empty
      "01" + "800000c8" + "4c" + "78".repeat(200), // a length of four bytes, its top bit set
  );
});

Deno.test("ParamsWriter.add() takes the largest pair that fits one record, and refuses one byte more by name", () => {
  const largest = "v".repeat(FULL_CONTENT_BYTES - 5 - "BIG".length);
  const contents = recordsOf(encode([["SMALL", "1"], ["BIG", largest], ["LAST", "2"]]));
  assert.deepEqual(contents.map((content) => content.length), [8, FULL_CONTENT_BYTES, 7]);

  assert.throws(() => encode([["BIG", `${largest}v`]]), {
    name: "FastCgiError",
    code: "FASTCGI_PARAM_TOO_LARGE",
    message:
      `Cannot send the param "BIG": it takes 65529 bytes with its name, and at most 65528 fit one record`,
    details: { param: "BIG", bytes: 65_529 },
  });
});

Deno.test("ParamsWriter.add() counts bytes, not characters, against the limit", () => {
  const euros = "€".repeat(Math.floor(FULL_CONTENT_BYTES / 3));
  assert.throws(() => encode([["E", euros]]), { code: "FASTCGI_PARAM_TOO_LARGE" });
  assert.deepEqual(decodeParams(recordsOf(encode([["E", euros.slice(3)]]))[0]!), [["E", euros.slice(3)]]);
});

Deno.test("ParamsWriter.bytes() is empty without pairs", () => {
  assert.equal(encode([]).length, 0);
});

Deno.test("ParamsWriter.addEncoded() sends shared pairs before the others in the same record", () => {
  const shared = encodeParams({ SCRIPT_FILENAME: "/app/job.php", EMPTY: "" });
  const writer = new ParamsWriter(1);
  writer.addEncoded(shared);
  writer.add("ID", "7");
  const contents = recordsOf(writer.bytes());
  assert.equal(contents.length, 1);
  assert.deepEqual(decodeParams(contents[0]!), [
    ["SCRIPT_FILENAME", "/app/job.php"],
    ["EMPTY", ""],
    ["ID", "7"],
  ]);
});

Deno.test("ParamsWriter.addEncoded() adds no record for no pairs, for an empty one would end the params", () => {
  const writer = new ParamsWriter(1);
  writer.addEncoded(encodeParams({}));
  assert.equal(writer.bytes().length, 0);
});

Deno.test("encodeParams() refuses pairs that do not fit one record together", () => {
  const half = "v".repeat(FULL_CONTENT_BYTES / 2);
  assert.throws(() => encodeParams({ A: half, B: half }), {
    code: "FASTCGI_PARAM_TOO_LARGE",
    message:
      `Cannot send the params up to "B": together they take more than 65528 bytes, the most that fit one ` +
      `record`,
  });
  assert.equal(encodeParams({ A: half, B: half.slice(12) }).bytes.length, FULL_CONTENT_BYTES);
});

Deno.test("decodeParams() refuses every content that ends inside a pair", () => {
  const [content] = recordsOf(encode([["NAME", "v".repeat(130)]]));
  for (let length = 1; length < content!.length; length++) {
    assert.throws(() => decodeParams(content!.slice(0, length)), { code: "FASTCGI_PROTOCOL" });
  }
});

Deno.test("decodeParams() never reads past the content and fails only with FASTCGI_PROTOCOL", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(20), (content, surplus) => {
    // A larger buffer behind the content would show a read past its end as another result.
    const padded = new Uint8Array(content.length + surplus).fill(0x41);
    padded.set(content);
    const read = (bytes: Uint8Array) => {
      try {
        return decodeParams(bytes);
      } catch (error) {
        assert.equal((error as { code?: string }).code, "FASTCGI_PROTOCOL");
        return "refused";
      }
    };
    assert.deepEqual(read(padded.subarray(0, content.length)), read(content));
  }));
});

Deno.test("decodeParams() reads a length of four bytes up to 2 ** 31 - 1 without taking it for negative", () => {
  assert.throws(() => decodeParams(Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0, 1, 2)), {
    code: "FASTCGI_PROTOCOL",
  });
});
