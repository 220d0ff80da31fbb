/** Reads what the FastCGI client writes, and what an application answers, in one piece. */
import { FastCgiError } from "../../src/fastcgi/errors.ts";
import { ResponseCollector } from "../../src/fastcgi/response.ts";

/** The status, headers and body of an answer's STDOUT. */
export function parseCgi(
  stdout: Uint8Array,
): { status: number; headers: ReadonlyMap<string, string>; body: Uint8Array } {
  const most = 2 ** 30;
  const answer = new ResponseCollector({ maxResponseBytes: most, maxHeaderBytes: most, maxStderrBytes: 2 });
  answer.addStdout(stdout);
  const { status, headers, body } = answer.finish(0);
  return { status, headers, body };
}

/**
 * The pairs in the content of one PARAMS record.
 *
 * @throws {FastCgiError} FASTCGI_PROTOCOL when a length points past the content.
 */
export function decodeParams(content: Uint8Array): [name: string, value: string][] {
  const pairs: [string, string][] = [];
  const text = new TextDecoder("utf-8", { ignoreBOM: true });
  let at = 0;
  const readLength = (): number => {
    const first = byteAt(content, at++);
    if (first < 0x80) return first;
    const rest = (byteAt(content, at++) << 16) | (byteAt(content, at++) << 8) | byteAt(content, at++);
    return (first & 0x7f) * 2 ** 24 + rest;
  };
  while (at < content.length) {
    const nameBytes = readLength();
    const valueBytes = readLength();
    if (at + nameBytes + valueBytes > content.length) throw truncatedParams();
    const name = text.decode(content.subarray(at, at + nameBytes));
    at += nameBytes;
    pairs.push([name, text.decode(content.subarray(at, at + valueBytes))]);
    at += valueBytes;
  }
  return pairs;
}

function byteAt(content: Uint8Array, at: number): number {
  const byte = content[at];
  if (byte === undefined) throw truncatedParams();
  return byte;
}

function truncatedParams(): FastCgiError {
  return new FastCgiError(
    "FASTCGI_PROTOCOL",
    "Cannot read the params: a length points past the record's end",
  );
}
