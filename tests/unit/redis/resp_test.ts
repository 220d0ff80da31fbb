import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { ByteWriter } from "../../../src/core/text/bytes.ts";
import {
  type Argument,
  RedisRefusal,
  type Reply,
  ReplyParser,
  writeCommand,
} from "../../../src/redis/resp.ts";

type Answer = Reply | RedisRefusal;

function parse(...chunks: readonly Uint8Array[]): Answer[] {
  const parser = new ReplyParser();
  return chunks.flatMap((chunk) => {
    // Readers use their buffer again: a reply must not be a view of it.
    const buffer = new Uint8Array(chunk);
    const replies = parser.push(buffer);
    buffer.fill(0xff);
    return replies;
  });
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** An answer as Redis writes it. */
function written(answer: Answer): Uint8Array {
  if (answer === null) return bytes("$-1\r\n");
  if (typeof answer === "number") return bytes(`:${answer}\r\n`);
  if (typeof answer === "string") return bytes(`+${answer}\r\n`);
  if (answer instanceof RedisRefusal) return bytes(`-${answer.message}\r\n`);
  if (Array.isArray(answer)) {
    return Buffer.concat([bytes(`*${answer.length}\r\n`), ...answer.map(written)]);
  }
  return Buffer.concat([bytes(`$${answer.length}\r\n`), answer, bytes("\r\n")]);
}

const line = fc.stringMatching(/^[a-zA-Zäß .:]{0,80}$/);
const leaf: fc.Arbitrary<Answer> = fc.oneof(
  fc.constant(null),
  fc.maxSafeInteger(),
  line,
  line.map((text) => new RedisRefusal(`ERR ${text}`)),
  fc.uint8Array({ maxLength: 60 }).map((data) => Buffer.from(data)),
  fc.constant(Buffer.from("\r\n$3\r\n")),
);
const { answer } = fc.letrec<{ answer: Answer }>((tie) => ({
  answer: fc.oneof({ maxDepth: 4 }, leaf, fc.array(tie("answer"), { maxLength: 4 }) as fc.Arbitrary<Answer>),
}));

/** Where to cut a stream. */
function cut(stream: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  let at = 0;
  for (let i = 0; at < stream.length; i++) {
    const size = sizes[i % sizes.length]!;
    chunks.push(stream.subarray(at, at + size));
    at += size;
  }
  return chunks;
}

Deno.test("ReplyParser.push() gives the answers that were written, however the stream is cut", () => {
  fc.assert(
    fc.property(
      fc.array(answer, { maxLength: 6 }),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 }),
      (answers, sizes) => {
        const stream = Buffer.concat(answers.map(written));
        assert.deepEqual(parse(...cut(stream, sizes)), answers);
      },
    ),
  );
});

Deno.test("ReplyParser.push() gives a null array as null, and an empty one as an empty one", () => {
  assert.deepEqual(parse(bytes("*-1\r\n*0\r\n*2\r\n*0\r\n*-1\r\n")), [null, [], [[], null]]);
});

Deno.test("ReplyParser.push() gives each answer with the piece that ends it", () => {
  const parser = new ReplyParser();
  assert.deepEqual(parser.push(bytes("+OK\r\n$5\r\nhel")), ["OK"]);
  assert.deepEqual(parser.push(bytes("lo\r")), []);
  assert.deepEqual(parser.push(bytes("\n:7")), [Buffer.from("hello")]);
  assert.deepEqual(parser.push(bytes("\r\n")), [7]);
});

Deno.test("ReplyParser.push() throws at what Redis would not send", () => {
  for (
    const stream of [
      "HTTP/1.1 400 Bad Request\r\n",
      "$x\r\n",
      "$-2\r\n",
      "*-2\r\n",
      ":1x\r\n",
      "$3\r\nabcde\r\n",
      "+one\rtwo\r\n",
      "$999999999999\r\n",
      "*999999999\r\n",
      "*1\r\n".repeat(9),
    ]
  ) {
    assert.throws(() => parse(bytes(stream)), /^Error: it says "/, stream);
  }
  assert.throws(() => parse(bytes("+" + "x".repeat(70_000))), /it says "/);
});

Deno.test("writeCommand() counts bytes, and leaves those of jobs as they are", () => {
  const argument = fc.oneof(fc.string({ unit: "binary" }), fc.uint8Array({ maxLength: 200 }), fc.string());
  fc.assert(fc.property(fc.array(argument, { minLength: 1 }), (args: Argument[]) => {
    const out = new ByteWriter();
    writeCommand(out, args);
    // A command has the format of an answer.
    const [reply] = parse(out.take());
    assert.deepEqual(reply, args.map((arg) => Buffer.from(typeof arg === "string" ? bytes(arg) : arg)));
  }));
});
