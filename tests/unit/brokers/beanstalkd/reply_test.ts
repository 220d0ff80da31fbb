import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type BeanstalkdReply,
  BeanstalkdReplyParser,
  readList,
  readStats,
} from "../../../../src/brokers/beanstalkd/reply.ts";
import { SeededRandom } from "../../../support/seeded_random.ts";

const MAX_JOB_BYTES = 1_000;

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function parse(...chunks: readonly Uint8Array[]): BeanstalkdReply[] {
  const parser = new BeanstalkdReplyParser(MAX_JOB_BYTES);
  return chunks.flatMap((chunk) => {
    // Readers use their buffer again: a reply must not be a view of it.
    const buffer = chunk.slice();
    const replies = parser.push(buffer);
    buffer.fill(0xff);
    return replies;
  });
}

/** A reply as beanstalkd writes it. */
function written({ word, args, body }: BeanstalkdReply): Uint8Array {
  const line = [word, ...args, ...(body === undefined ? [] : [body.length])].join(" ");
  if (body === undefined) return bytes(`${line}\r\n`);
  return Uint8Array.of(...bytes(`${line}\r\n`), ...body, 13, 10);
}

const WITHOUT_BODY = [
  ["INSERTED", "18446744073709551615"],
  ["BURIED"],
  ["BURIED", "7"],
  ["KICKED"],
  ["KICKED", "3"],
  ["USING", "a-tube"],
  ["WATCHING", "2"],
  ["DELETED"],
  ["RELEASED"],
  ["TOUCHED"],
  ["PAUSED"],
  ["TIMED_OUT"],
  ["DEADLINE_SOON"],
  ["NOT_FOUND"],
  ["NOT_IGNORED"],
  ["JOB_TOO_BIG"],
  ["OUT_OF_MEMORY"],
  ["INTERNAL_ERROR"],
  ["DRAINING"],
  ["BAD_FORMAT"],
  ["UNKNOWN_COMMAND"],
  ["EXPECTED_CRLF"],
];

const anyBody = fc.oneof(
  fc.uint8Array({ maxLength: 60 }),
  fc.constantFrom("\r\n", "a\r\nOK 3\r\nabc\r\n", "RESERVED 1 5\r\n", "\n\r\n\r").map(bytes),
);
const anyReply: fc.Arbitrary<BeanstalkdReply> = fc.oneof(
  fc.constantFrom(...WITHOUT_BODY).map(([word, ...args]) => ({
    word: word!,
    args,
    bytes: 0,
    body: undefined,
  })),
  fc.tuple(fc.constantFrom(["RESERVED", "42"], ["FOUND", "1"], ["OK"]), anyBody)
    .map(([[word, ...args], body]) => ({ word: word!, args, bytes: body.length, body })),
);

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(pieces.flatMap((piece) => [...piece]));
}

Deno.test("BeanstalkdReplyParser.push() reads what was written, wherever the stream is cut", {
  permissions: "none",
}, () => {
  fc.assert(fc.property(fc.array(anyReply), fc.array(fc.nat(400)), (replies, cuts) => {
    const stream = joined(replies.map(written));
    const places = [0, ...cuts.map((cut) => cut % (stream.length + 1)).sort((a, b) => a - b), stream.length];
    const chunks = places.slice(1).map((place, i) => stream.subarray(places[i]!, place));
    assert.deepEqual(parse(...chunks), replies);
  }));
});

Deno.test("BeanstalkdReplyParser.push() gives a reply with its last byte, not before", {
  permissions: "none",
}, () => {
  fc.assert(fc.property(anyReply, (reply) => {
    const stream = written(reply);
    const parser = new BeanstalkdReplyParser(MAX_JOB_BYTES);
    for (let i = 0; i < stream.length - 1; i++) assert.deepEqual(parser.push(stream.slice(i, i + 1)), []);
    assert.deepEqual(parser.push(stream.slice(-1)), [reply]);
  }));
});

Deno.test("BeanstalkdReplyParser.push() skips a job above its limit, and goes on behind it", {
  permissions: "none",
}, () => {
  const stream = joined([
    bytes("RESERVED 1 1001\r\n"),
    new Uint8Array(1_001).fill(10),
    bytes("\r\nRESERVED 2 1000\r\n"),
    new Uint8Array(1_000),
    bytes("\r\nFOUND 3 1001\r\n"),
    new Uint8Array(1_001),
    bytes("\r\n"),
  ]);
  const replies = parse(stream);
  assert.deepEqual(replies.map((reply) => [reply.bytes, reply.body?.length]), [
    [1_001, undefined],
    [1_000, 1_000],
    [1_001, 1_001],
  ]);
});

Deno.test("BeanstalkdReplyParser.push() tells a job whose end is zeros, and goes on behind it", {
  permissions: "none",
}, () => {
  const stream = bytes(
    "RESERVED 1 3\r\n\0\0\0\0\0FOUND 2 3\r\nab\0\r\0RESERVED 3 3\r\n\0\0\0\r\nTIMED_OUT\r\n",
  );
  const replies = [
    { word: "RESERVED", args: ["1"], bytes: 3, body: bytes("\0\0\0"), isDamaged: true },
    { word: "FOUND", args: ["2"], bytes: 3, body: bytes("ab\0"), isDamaged: true },
    { word: "RESERVED", args: ["3"], bytes: 3, body: bytes("\0\0\0") },
    { word: "TIMED_OUT", args: [], bytes: 0, body: undefined },
  ];
  assert.deepEqual(parse(stream), replies);
  assert.deepEqual(parse(...[...stream].map((byte) => Uint8Array.of(byte))), replies);
});

const LIES: Readonly<Record<string, string>> = {
  "another server": "-ERR unknown command\r\n",
  "a web server": "HTTP/1.1 400 Bad Request\r\n",
  "an unknown word": "HELLO\r\n",
  "a word in small letters": "deleted\r\n",
  "too many words": "DELETED 1\r\n",
  "too few words": "INSERTED\r\n",
  "a line that ends without CR": "DELETED\n",
  "an empty line": "\r\n",
  "a line without end": "x".repeat(300),
  "a length that is no number": "RESERVED 1 x\r\n",
  "a negative length": "RESERVED 1 -1\r\n",
  "a length in another notation": "RESERVED 1 1e3\r\n",
  "a length beyond what jobs can have": "RESERVED 1 1073741825\r\n",
  "a length of many digits": `OK ${"9".repeat(30)}\r\n`,
  "a body longer than its length": "RESERVED 1 2\r\nabc\r\n",
  "a body whose end is not where its length says": "RESERVED 1 1\r\nabcDELETED\r\n",
  "statistics that end with zeros": "OK 1\r\na\0\0",
  "a body shorter than its length": "RESERVED 1 4\r\nabc\r\nDELETED\r\n",
};
for (const [what, stream] of Object.entries(LIES)) {
  Deno.test(`BeanstalkdReplyParser.push() refuses ${what}, wherever the stream is cut`, {
    permissions: "none",
  }, () => {
    assert.throws(() => parse(bytes(stream)), SyntaxError);
    assert.throws(() => parse(...[...bytes(stream)].map((byte) => Uint8Array.of(byte))), SyntaxError);
  });
}

Deno.test("BeanstalkdReplyParser.push() quotes what a stranger says, without its control characters", {
  permissions: "none",
}, () => {
  assert.throws(() => parse(bytes("-ERR unknown\u001b[31m\r\n")), { message: 'it says "-ERR unknown"' });
});

Deno.test("BeanstalkdReplyParser.push() holds no more memory than has come, whatever length is claimed", {
  permissions: "none",
}, () => {
  const before = Deno.memoryUsage().external;
  const parsers = Array.from({ length: 50 }, () => {
    const parser = new BeanstalkdReplyParser(2 ** 31);
    parser.push(bytes("RESERVED 1 1000000000\r\nabc"));
    return parser;
  });
  assert.ok(Deno.memoryUsage().external - before < 10_000_000);
  assert.equal(parsers.length, 50);
});

Deno.test(
  "BeanstalkdReplyParser.push() gives replies or a SyntaxError for any bytes, and nothing else (seed 7)",
  { permissions: "none" },
  () => {
    const random = new SeededRandom(7);
    const corpus = joined([
      ...WITHOUT_BODY.map((words) => bytes(`${words.join(" ")}\r\n`)),
      bytes("RESERVED 5 11\r\nhello\r\nthere\r\nOK 5\r\n---\r\n\r\n"),
    ]);
    let refused = 0;
    for (let round = 0; round < 20_000; round++) {
      const stream = corpus.slice(random.below(corpus.length));
      for (let i = random.below(3); i > 0; i--) {
        stream[random.below(stream.length)] = random.pick([0, 10, 13, 32, 48, 57, random.below(256)]);
      }
      const cut = random.below(stream.length);
      try {
        for (const reply of parse(stream.subarray(0, cut), stream.subarray(cut))) {
          if (reply.body !== undefined) assert.equal(reply.body.length, reply.bytes);
        }
      } catch (error) {
        assert.ok(error instanceof SyntaxError, String(error));
        refused++;
      }
    }
    assert.ok(refused > 1_000 && refused < 20_000, `${refused}`);
  },
);

Deno.test("readStats() and readList() read both versions' notations, and leave out what is neither", {
  permissions: "none",
}, () => {
  // 1.12, then 1.13, which has quotes around texts.
  assert.equal(readStats(bytes("---\nid: 1\ntube: q\n")).get("tube"), "q");
  assert.equal(readStats(bytes('---\nid: 1\ntube: "q"\n')).get("tube"), "q");
  assert.deepEqual(readList(bytes("---\n- default\n- q\n")), ["default", "q"]);
  assert.deepEqual(readList(bytes('---\n- "default"\n- "q"\n')), ["default", "q"]);
  // What a version to come may add must not keep anybody from reading the rest.
  assert.deepEqual([...readStats(bytes("---\n- q\nId_2: x: y\n  more\nage: -5\n"))], [["Id_2", "x: y"], [
    "age",
    "-5",
  ]]);
  assert.deepEqual(readList(bytes("---\nid: 1\n- q\n# end\n")), ["q"]);
});
