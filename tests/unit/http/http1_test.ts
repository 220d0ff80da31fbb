import assert from "node:assert/strict";
import fc from "fast-check";
import { BadRequest, MAX_HEAD_BYTES, readHead, responseBytes } from "../../../src/http/http1.ts";

const latin1 = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0));

/** Gives these pieces, one a read, and then the end. */
function sourceOf(pieces: readonly Uint8Array[]) {
  const left = pieces.filter(({ length }) => length > 0);
  return {
    read(into: Uint8Array): Promise<number | null> {
      const piece = left.shift();
      if (piece === undefined) return Promise.resolve(null);
      const fits = piece.subarray(0, into.length);
      if (fits.length < piece.length) left.unshift(piece.subarray(fits.length));
      into.set(fits);
      return Promise.resolve(fits.length);
    },
  };
}

const read = (text: string) => readHead(sourceOf([latin1(text)]));

async function statusOf(text: string): Promise<number | undefined> {
  try {
    await read(text);
    return undefined;
  } catch (error) {
    assert.ok(error instanceof BadRequest, String(error));
    return error.status;
  }
}

Deno.test("readHead() reads a request, in whatever pieces it comes, and leaves out what is behind", async () => {
  const text = "GET /a%20b?c=d HTTP/1.1\r\nHost: x:1\r\nAuthorization:  Bearer t \r\nX:\r\n\r\nGET /other";
  for (let size = 1; size <= text.length; size++) {
    const pieces = text.match(new RegExp(`[^]{1,${size}}`, "g"))!.map(latin1);
    const head = await readHead(sourceOf(pieces));
    assert.deepEqual([head?.method, head?.path], ["GET", "/a%20b"]);
    assert.deepEqual([...head!.headers], [["authorization", "Bearer t"], ["host", "x:1"], ["x", ""]]);
  }
});

Deno.test("readHead() reads what clients send that are old, lenient or meant for proxies", async () => {
  const paths = {
    "GET / HTTP/1.0\r\n\r\n": "/",
    "GET /a HTTP/1.1\nHost: x\n\n": "/a",
    "\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n": "/a",
    "GET http://x:1/a?b HTTP/1.1\r\nHost: x:1\r\n\r\n": "/a",
    "GET http://x?b HTTP/1.1\r\nHost: x\r\n\r\n": "/",
    "GET //x/a HTTP/1.1\r\nHost: x\r\n\r\n": "//x/a",
    "GET /../a HTTP/1.1\r\nHost: x\r\n\r\n": "/../a",
    "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n": "*",
  };
  for (const [text, path] of Object.entries(paths)) assert.equal((await read(text))?.path, path, text);
});

Deno.test("readHead() refuses what is no request, and says what is wrong by the status", async () => {
  const host = "Host: x\r\n";
  const statuses = {
    "\r\n\r\n": 400,
    "GET\r\n\r\n": 400,
    "GET /\r\n\r\n": 400,
    "GET  / HTTP/1.1\r\n\r\n": 400,
    "GET / b HTTP/1.1\r\n\r\n": 400,
    "G(T / HTTP/1.1\r\n\r\n": 400,
    "PRI * HTTP/2.0\r\n\r\n": 505,
    "GET / HTTP/1.1\r\n\r\n": 400,
    [`GET / HTTP/1.1\r\n${host}${host}\r\n`]: 400,
    [`GET / HTTP/1.1\r\n${host}X : 1\r\n\r\n`]: 400,
    [`GET / HTTP/1.1\r\n${host} folded\r\n\r\n`]: 400,
    [`GET / HTTP/1.1\r\n${host}X: a\0b\r\n\r\n`]: 400,
    [`GET / HTTP/1.1\r\n${host}X: a\rb\r\n\r\n`]: 400,
    [`GET / HTTP/1.1\r\n${host}${"a:\r\n".repeat(100)}\r\n`]: 431,
    [`GET / HTTP/1.1\r\n${host}X: ${"a".repeat(MAX_HEAD_BYTES)}\r\n\r\n`]: 431,
    ["\x16\x03\x01".repeat(MAX_HEAD_BYTES)]: 431,
  };
  for (const [text, status] of Object.entries(statuses)) assert.equal(await statusOf(text), status, text);
});

Deno.test("readHead() says that there is none when the other side ends before it is whole", async () => {
  for (const text of ["", "GET", "GET / HTTP/1.1\r\nHost: x\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r"]) {
    assert.equal(await read(text), undefined, text);
  }
});

Deno.test("readHead() takes any bytes, and has no other failure than BadRequest", async () => {
  const some = fc.constantFrom(
    "GET / HTTP/1.1",
    "\r\n",
    "\n",
    "\r",
    ":",
    "Host: x",
    " ",
    "\0",
    "\xff",
    "a: b",
  );
  const noise = fc.uint8Array({ maxLength: 40 }).map((bytes) => String.fromCharCode(...bytes));
  const bytes = fc.array(fc.oneof(some, noise), { maxLength: 60 }).map((parts) => latin1(parts.join("")));
  await fc.assert(fc.asyncProperty(fc.array(bytes, { maxLength: 8 }), async (pieces) => {
    try {
      await readHead(sourceOf(pieces));
    } catch (error) {
      assert.ok(error instanceof BadRequest, String(error));
    }
  }));
});

Deno.test("responseBytes() writes an answer after which the connection ends", async () => {
  const response = () => new Response("hé\n", { status: 503, headers: { "content-type": "text/plain" } });
  const text = async (isHead: boolean) =>
    new TextDecoder().decode(await responseBytes(response(), { isHead, nowMs: 0 }));
  const head = "HTTP/1.1 503 Service Unavailable\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n" +
    "content-type: text/plain\r\ncontent-length: 4\r\nconnection: close\r\n\r\n";
  assert.equal(await text(false), `${head}hé\n`);
  assert.equal(await text(true), head);
});
