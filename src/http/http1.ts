import { Buffer } from "node:buffer";
import { STATUS_CODES } from "node:http";

/*
 * HTTP/1.1 (RFC 9112), as much as those speak who ask for metrics and health: one request, without a body, on each
 * connection, which ends with the answer.
 *
 *   GET /livez HTTP/1.1\r\n        the head: a request line,
 *   Host: 127.0.0.1:9102\r\n       fields,
 *   \r\n                           an empty line
 */

/** Every valid head is much shorter. */
export const MAX_HEAD_BYTES = 16_384;
const MAX_FIELDS = 100;

/** The bytes are not a valid request, or not a supported one. */
export class BadRequest extends Error {
  readonly status: number;

  /** @param message What is wrong, for the sender. */
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface RequestHead {
  readonly method: string;
  /** As sent, percent-encoded, without the query. */
  readonly path: string;
  readonly headers: Headers;
}

/** A source of bytes; null at the end. */
interface Source {
  read(into: Uint8Array<ArrayBuffer>): Promise<number | null>;
}

/**
 * Reads the head of a request. Bytes after it may be read and dropped.
 *
 * @returns Undefined when the source ends before the head
 * @throws {BadRequest} and the errors of the source
 */
export async function readHead(source: Source): Promise<RequestHead | undefined> {
  const bytes = new Uint8Array(MAX_HEAD_BYTES);
  for (let length = 0; length < bytes.length;) {
    const read = await source.read(bytes.subarray(length));
    if (read === null) return undefined;
    // The empty line may have begun in the previous piece.
    const end = endOfHead(bytes.subarray(0, length + read), Math.max(length - 2, 0));
    if (end >= 0) return parseHead(Buffer.from(bytes.buffer, 0, end).toString("latin1"));
    length += read;
  }
  throw new BadRequest(431, `the head of the request is longer than ${MAX_HEAD_BYTES} bytes`);
}

const [LF, CR] = [0x0a, 0x0d];

/** The end of the line before the empty one, searched from `from`; -1 without an empty line. */
function endOfHead(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(LF, from); at >= 0; at = bytes.indexOf(LF, at + 1)) {
    if (bytes[at + 1] === LF || (bytes[at + 1] === CR && bytes[at + 2] === LF)) return at;
  }
  return -1;
}

/** A method, a target, and a version. */
const REQUEST_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP\/(\d\.\d)$/;
/** A name, a colon, a value. An obsolete continuation line does not match. */
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\0\r]*)$/;

/**
 * @param text Without the empty line.
 * @throws {BadRequest}
 */
function parseHead(text: string): RequestHead {
  // Some old clients send an extra line end first.
  const [first = "", ...lines] = text.replace(/^\r?\n/, "").replace(/\r$/, "").split(/\r?\n/);
  const [, method, target, version] = REQUEST_LINE.exec(first) ?? [];
  if (method === undefined || target === undefined) throw new BadRequest(400, "this is not an HTTP request");
  if (version !== "1.1" && version !== "1.0") throw new BadRequest(505, "the server supports only HTTP/1.1");
  if (lines.length > MAX_FIELDS) throw new BadRequest(431, `there are more than ${MAX_FIELDS} fields`);
  const headers = new Headers();
  for (const line of lines) {
    const [, name, value] = FIELD.exec(line) ?? [];
    if (name === undefined || value === undefined) throw new BadRequest(400, "a field is malformed");
    if (name.toLowerCase() === "host" && headers.has("host")) {
      throw new BadRequest(400, "there are two hosts");
    }
    headers.append(name, value);
  }
  if (version === "1.1" && !headers.has("host")) throw new BadRequest(400, "the field Host is missing");
  return { method, path: pathOf(target), headers };
}

/** The path of a target, which may also be a whole URL, as for proxies. */
function pathOf(target: string): string {
  const [path = ""] = target.replace(/^https?:\/\/[^/?#]*/i, "").split(/[?#]/, 1);
  return path === "" ? "/" : path;
}

/**
 * An answer with all its bytes.
 *
 * @param options.isHead For a HEAD request: without the body.
 * @param options.nowMs Epoch milliseconds.
 */
export async function responseBytes(
  response: Response,
  { isHead, nowMs }: { isHead: boolean; nowMs: number },
): Promise<Uint8Array<ArrayBuffer>> {
  const body = new Uint8Array(await response.arrayBuffer());
  const { status, headers } = response;
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}`,
    `date: ${new Date(nowMs).toUTCString()}`,
    ...[...headers].map(([name, value]) => `${name}: ${value}`),
    `content-length: ${body.length}`,
    "connection: close",
  ];
  const head = Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
  return new Uint8Array(Buffer.concat(isHead ? [head] : [head, body]));
}
