/**
 * A FastCGI application's answer: STDOUT holds a CGI response (RFC 3875, section 6), that is header lines, an empty
 * line and a body; STDERR holds text for the log. php-fpm sends its own log lines on STDERR.
 */

import { ByteStore } from "../core/text/byte_store.ts";
import { HeadAndTail } from "../core/text/head_and_tail.ts";
import { FastCgiError } from "./errors.ts";

/** What is kept of an answer; the rest is read and dropped, so that an endless one costs time but no memory. */
export interface ResponseLimits {
  /** Bytes of STDOUT, headers included. */
  readonly maxResponseBytes: number;
  /** Bytes of STDERR: half of its beginning, half of its end. */
  readonly maxStderrBytes: number;
  /** Bytes of STDOUT in which the headers have to end; an answer whose headers are longer is refused. */
  readonly maxHeaderBytes: number;
}

export const DEFAULT_RESPONSE_LIMITS: ResponseLimits = {
  maxResponseBytes: 1_048_576,
  maxStderrBytes: 16_384,
  maxHeaderBytes: 65_536,
};

/** How much of the end of STDOUT is kept where that is longer than the limit: the longest record, with its marks. */
const END_BYTES = 65_538;

export interface FastCgiResponse {
  /**
   * From the `Status:` header; 200 when the headers have none, as php-fpm leaves it out then; 0 when there are no
   * headers: that is no CGI response, and says nothing.
   */
  readonly status: number;
  /** Names in lower case; a repeated header's values are joined with ", ". */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
  /** Of STDOUT that was longer than the limit, the last {@link END_BYTES} or more. */
  readonly end?: Uint8Array;
  readonly stderr: string;
  /** STDOUT or STDERR was longer than the limits. */
  readonly isTruncated: boolean;
  /** The request was seen not to have begun for a while after it was sent. */
  readonly hasWaited?: boolean;
  /** As the application gave it in END_REQUEST. Always 0 from php-fpm, even after `exit(3)` or a fatal error. */
  readonly appStatus: number;
}

/** An answer of which a part has come. */
export interface AnswerSoFar {
  readonly headers: ReadonlyMap<string, string>;
  /** What has come on STDERR since the last call; the rest of the answer does not have it any more. */
  takeStderr(): string;
}

/**
 * Is given the body of an answer as it comes, however long it is. Called when the headers are there; it must not throw.
 *
 * @param piece Valid only during the call.
 */
export type BodyListener = (piece: Uint8Array, answer: AnswerSoFar) => void;

/**
 * Collects the two output streams of one request after the other, in memory that it uses again.
 *
 * 1. Keeps as much of each stream as the limits allow, and says so when there was more.
 * 2. Refuses headers that do not end: nobody could tell where the outcome is.
 * 3. Reads headers once when answer after answer begins with the same ones, as a job's answers do.
 * 4. Hands the body on as it comes, to whom asks for that.
 * 5. Keeps the end of an answer that is longer than the limit, beside its beginning.
 */
export class ResponseCollector implements AnswerSoFar {
  readonly #limits: ResponseLimits;
  readonly #stdout = new ByteStore();
  readonly #stderr: HeadAndTail;
  /** The end of STDOUT, where there is more of it than the limit. */
  readonly #end = new ByteStore();
  #isTruncated = false;
  /** What is there of STDERR is not its beginning. */
  #isStderrTaken = false;
  #headersChecked = false;
  /** Bytes of STDOUT that have come, kept or not. */
  #stdoutBytes = 0;
  /** Of the latest answer that had headers. */
  #head: CgiHead | undefined;
  #onBody: BodyListener | undefined;
  /** This answer's headers have come; looked at only where somebody listens to the body. */
  #isInBody = false;

  constructor(limits: ResponseLimits) {
    this.#limits = limits;
    this.#stderr = new HeadAndTail(limits.maxStderrBytes);
  }

  get headers(): ReadonlyMap<string, string> {
    return this.#isInBody ? this.#head!.headers : NO_HEADERS;
  }

  /** STDERR so far. */
  get stderr(): string {
    const text = this.#stderr.text();
    return this.#isStderrTaken && text.startsWith(FPM_JOINT) ? text.slice(FPM_JOINT.length) : text;
  }

  takeStderr(): string {
    const text = this.stderr;
    this.#stderr.clear();
    if (text !== "") this.#isStderrTaken = true;
    return text;
  }

  /** Makes ready for the next request. */
  reset(onBody?: BodyListener): void {
    this.#onBody = onBody;
    this.#isInBody = false;
    this.#stdout.clear();
    this.#stderr.clear();
    this.#end.clear();
    this.#isTruncated = false;
    this.#isStderrTaken = false;
    this.#headersChecked = false;
    this.#stdoutBytes = 0;
  }

  /** @throws {FastCgiError} FASTCGI_PROTOCOL when the headers are longer than `maxHeaderBytes`. */
  addStdout(piece: Uint8Array): void {
    this.#keepBegin(piece);
    this.#stdoutBytes += piece.length;
    if (this.#stdoutBytes > this.#limits.maxResponseBytes) this.#keepEnd(piece);
    if (!this.#headersChecked && this.#stdoutBytes > this.#limits.maxHeaderBytes) this.#checkHeaders();
    if (this.#onBody !== undefined) this.#handOn(piece, this.#onBody);
  }

  addStderr(piece: Uint8Array): void {
    this.#stderr.append(piece);
    if (this.#stderr.isCut) this.#isTruncated = true;
  }

  /** The answer, with bytes of its own. */
  finish(appStatus: number): FastCgiResponse {
    const stdout = this.#stdout.bytes();
    if (this.#head === undefined || !startsWith(stdout, this.#head.bytes)) {
      const head = readHead(stdout);
      if (head === undefined) return this.#response(0, new Map(), stdout, appStatus);
      this.#head = head;
    }
    const { status, headers, bytes } = this.#head;
    return this.#response(status, headers, stdout.subarray(bytes.length), appStatus);
  }

  #response(
    status: number,
    headers: ReadonlyMap<string, string>,
    body: Uint8Array,
    appStatus: number,
  ): FastCgiResponse {
    const response = {
      status,
      headers,
      body: body.length === 0 ? EMPTY : body.slice(),
      stderr: this.stderr,
      isTruncated: this.#isTruncated,
      appStatus,
    };
    return this.#end.length === 0 ? response : { ...response, end: this.#end.bytes().slice() };
  }

  #keepBegin(piece: Uint8Array): void {
    const room = this.#limits.maxResponseBytes - this.#stdout.length;
    if (piece.length > room) this.#isTruncated = true;
    this.#stdout.append(piece.length > room ? piece.subarray(0, room) : piece);
  }

  /** `piece` is what came last, and not all of it was kept. */
  #keepEnd(piece: Uint8Array): void {
    const end = this.#end;
    if (end.length === 0) {
      end.append(this.#stdout.bytes().subarray(0, this.#stdoutBytes - piece.length).subarray(-END_BYTES));
    }
    end.append(piece.subarray(-END_BYTES));
    if (end.length > 2 * END_BYTES) end.keepLast(END_BYTES);
  }

  /** `piece` is what came last. */
  #handOn(piece: Uint8Array, onBody: BodyListener): void {
    if (this.#isInBody) return onBody(piece, this);
    // What has no headers by now has none at all.
    if (this.#stdoutBytes - piece.length > this.#limits.maxHeaderBytes) return;
    const head = readHead(this.#stdout.bytes());
    if (head === undefined) return;
    this.#head = head;
    this.#isInBody = true;
    const bodyBytes = this.#stdoutBytes - head.bytes.length;
    if (bodyBytes > 0) onBody(piece.subarray(piece.length - bodyBytes), this);
  }

  /** More has come than headers may take: they have ended by now, or this is output without any. */
  #checkHeaders(): void {
    this.#headersChecked = true;
    const { maxHeaderBytes } = this.#limits;
    const most = this.#stdout.bytes().subarray(0, maxHeaderBytes);
    const lineEnd = most.indexOf(LF);
    const firstLine = lineEnd < 0 ? most : most.subarray(0, lineEnd);
    if (firstLine.indexOf(COLON) < 1 || findHeaderEnd(most) !== undefined) return;
    throw new FastCgiError(
      "FASTCGI_PROTOCOL",
      `Cannot read the answer: its headers are longer than ${maxHeaderBytes} bytes (max_header_bytes)`,
    );
  }
}

const EMPTY = new Uint8Array(0);
/** Between two of its lines, php-fpm writes this before the second. */
const FPM_JOINT = "; ";
const NO_HEADERS: ReadonlyMap<string, string> = new Map();
const lenientUtf8 = new TextDecoder();
const LF = 10;
const CR = 13;
const COLON = 58;

/** The header part of a CGI response. */
interface CgiHead {
  /** All of it, the empty line that ends it included. */
  readonly bytes: Uint8Array;
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
}

/**
 * The headers that STDOUT begins with; undefined when it begins with something else, as when a script printed before anything
 * else: then it is all body. Lines may end in LF or CRLF, as in PHP's and other applications' output.
 */
function readHead(stdout: Uint8Array): CgiHead | undefined {
  const end = findHeaderEnd(stdout);
  if (end === undefined) return undefined;
  const headers = new Map<string, string>();
  for (const line of lenientUtf8.decode(stdout.subarray(0, end.at)).split("\n")) {
    const colon = line.indexOf(":");
    if (colon < 1) return undefined;
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    const earlier = headers.get(name);
    headers.set(name, earlier === undefined ? value : `${earlier}, ${value}`);
  }
  const status = Number.parseInt(headers.get("status") ?? "200", 10);
  return { bytes: stdout.slice(0, end.bodyAt), status: Number.isNaN(status) ? 200 : status, headers };
}

/** The first empty line: where the header text ends, without its last line end, and where the body begins. */
function findHeaderEnd(stdout: Uint8Array): { at: number; bodyAt: number } | undefined {
  for (let lf = stdout.indexOf(LF); lf >= 0; lf = stdout.indexOf(LF, lf + 1)) {
    const next = stdout[lf + 1] === CR ? lf + 2 : lf + 1;
    if (stdout[next] === LF) return { at: stdout[lf - 1] === CR ? lf - 1 : lf, bodyAt: next + 1 };
  }
  return undefined;
}

function startsWith(bytes: Uint8Array, start: Uint8Array): boolean {
  if (bytes.length < start.length) return false;
  for (let i = 0; i < start.length; i++) {
    if (bytes[i] !== start[i]) return false;
  }
  return true;
}
