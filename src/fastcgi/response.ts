/**
 * A FastCGI application's answer: STDOUT holds a CGI response (RFC 3875, section 6), that is header lines, an empty
 * line and a body; STDERR holds text for the log. php-fpm sends its own log lines on STDERR.
 */

/** What is kept of an answer; the rest is read and dropped, so that an endless one costs time but no memory. */
export interface ResponseLimits {
  /** Bytes of STDOUT, headers included. */
  readonly maxResponseBytes: number;
  /** Bytes of STDERR. */
  readonly maxStderrBytes: number;
}

export const DEFAULT_RESPONSE_LIMITS: ResponseLimits = {
  maxResponseBytes: 1_048_576,
  maxStderrBytes: 16_384,
};

export interface FastCgiResponse {
  /** From the `Status:` header; 200 when there is none, as php-fpm leaves it out then. */
  readonly status: number;
  /** Names in lower case; a repeated header's values are joined with ", ". */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
  readonly stderr: string;
  /** STDOUT or STDERR was longer than the limits. */
  readonly isTruncated: boolean;
  /** As the application gave it in END_REQUEST. Always 0 from php-fpm, even after `exit(3)` or a fatal error. */
  readonly appStatus: number;
}

/** Collects the two output streams of one request. */
export class ResponseCollector {
  readonly #limits: ResponseLimits;
  readonly #stdout: Uint8Array[] = [];
  readonly #stderr: Uint8Array[] = [];
  #stdoutBytes = 0;
  #stderrBytes = 0;
  #isTruncated = false;

  constructor(limits: ResponseLimits) {
    this.#limits = limits;
  }

  get stderr(): string {
    return lenientUtf8.decode(joined(this.#stderr, this.#stderrBytes)).trimEnd();
  }

  addStdout(piece: Uint8Array): void {
    this.#stdoutBytes += this.#keep(this.#stdout, piece, this.#limits.maxResponseBytes - this.#stdoutBytes);
  }

  addStderr(piece: Uint8Array): void {
    this.#stderrBytes += this.#keep(this.#stderr, piece, this.#limits.maxStderrBytes - this.#stderrBytes);
  }

  finish(appStatus: number): FastCgiResponse {
    const { status, headers, body } = parseCgi(joined(this.#stdout, this.#stdoutBytes));
    return { status, headers, body, stderr: this.stderr, isTruncated: this.#isTruncated, appStatus };
  }

  /** Copies, for the piece lies in a buffer that the next read overwrites. */
  #keep(pieces: Uint8Array[], piece: Uint8Array, room: number): number {
    if (piece.length > room) this.#isTruncated = true;
    const bytes = Math.min(piece.length, Math.max(room, 0));
    if (bytes > 0) pieces.push(piece.slice(0, bytes));
    return bytes;
  }
}

const lenientUtf8 = new TextDecoder();
const LF = 10;
const CR = 13;

/**
 * Splits STDOUT into headers and body. Lines may end in LF or CRLF, as in PHP's and other applications' output.
 * Output that does not begin with header lines is all body: a script that printed before anything else.
 */
export function parseCgi(
  stdout: Uint8Array,
): { status: number; headers: Map<string, string>; body: Uint8Array } {
  const headers = new Map<string, string>();
  const headerEnd = findHeaderEnd(stdout);
  if (headerEnd === undefined) return { status: 200, headers, body: stdout };

  for (const line of lenientUtf8.decode(stdout.subarray(0, headerEnd.at)).split("\n")) {
    const colon = line.indexOf(":");
    if (colon < 1) return { status: 200, headers: new Map(), body: stdout };
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    const earlier = headers.get(name);
    headers.set(name, earlier === undefined ? value : `${earlier}, ${value}`);
  }
  const status = Number.parseInt(headers.get("status") ?? "200", 10);
  return { status: Number.isNaN(status) ? 200 : status, headers, body: stdout.subarray(headerEnd.bodyAt) };
}

/** The first empty line: where the header text ends, without its last line end, and where the body begins. */
function findHeaderEnd(stdout: Uint8Array): { at: number; bodyAt: number } | undefined {
  for (let lf = stdout.indexOf(LF); lf >= 0; lf = stdout.indexOf(LF, lf + 1)) {
    const next = stdout[lf + 1] === CR ? lf + 2 : lf + 1;
    if (stdout[next] === LF) return { at: stdout[lf - 1] === CR ? lf - 1 : lf, bodyAt: next + 1 };
  }
  return undefined;
}

function joined(pieces: readonly Uint8Array[], bytes: number): Uint8Array {
  if (pieces.length === 1) return pieces[0]!;
  const all = new Uint8Array(bytes);
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
