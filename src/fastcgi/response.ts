/**
 * The answer of a FastCGI application: STDOUT has a CGI response (RFC 3875, section 6): header lines, an empty line and a body.
 * STDERR has text for the log, and php-fpm sends its own log lines there.
 */

import { ByteStore } from "../core/text/byte_store.ts";
import { HeadAndTail } from "../core/text/head_and_tail.ts";
import { FastCgiError } from "./errors.ts";

/** The kept part of an answer; the rest is read and dropped, so that an endless one takes time but no memory. */
export interface ResponseLimits {
  /** Bytes of STDOUT, headers included. */
  readonly maxResponseBytes: number;
  /** Bytes of STDERR: half of its beginning, half of its end. */
  readonly maxStderrBytes: number;
  /** The headers must end within this many bytes of STDOUT; else the answer is refused. */
  readonly maxHeaderBytes: number;
}

export const DEFAULT_RESPONSE_LIMITS: ResponseLimits = {
  maxResponseBytes: 1_048_576,
  maxStderrBytes: 16_384,
  maxHeaderBytes: 65_536,
};

/** If STDOUT is longer than the limit, this much of its end is kept: the longest record, with its marks. */
const END_BYTES = 65_538;

export interface FastCgiResponse {
  /**
   * From the `Status:` header; 200 without one, because php-fpm leaves it out then; 0 without headers: that is no CGI response.
   */
  readonly status: number;
  /** Names in lower case; a repeated header's values are joined with ", ". */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
  /** The last {@link END_BYTES} or more of STDOUT, if it was longer than the limit. */
  readonly end?: Uint8Array;
  readonly stderr: string;
  /** STDOUT or STDERR was longer than the limits. */
  readonly isTruncated: boolean;
  /** By observation, the request had not begun for a while after it was sent. */
  readonly hasWaited?: boolean;
  /** From END_REQUEST. Always 0 from php-fpm, even after `exit(3)` or a fatal error. */
  readonly appStatus: number;
}

/** A part of an answer. */
export interface AnswerSoFar {
  readonly headers: ReadonlyMap<string, string>;
  /** Returns STDERR since the last call, and removes it from the answer. */
  takeStderr(): string;
}

/**
 * Called with the body of an answer as it arrives, without a limit. Called after the headers; it must not throw.
 *
 * @param piece Valid only during the call.
 */
export type BodyListener = (piece: Uint8Array, answer: AnswerSoFar) => void;

/**
 * Collects the two output streams of one request after the other, in reused memory.
 *
 * 1. Keeps as much of each stream as the limits allow, and reports if there was more.
 * 2. Refuses headers without an end: the outcome could not be found.
 * 3. Reads equal headers of successive answers once, as jobs' answers have.
 * 4. Passes the body on as it arrives, if there is a listener.
 * 5. Keeps the beginning and the end of an answer that is longer than the limit.
 */
export class ResponseCollector implements AnswerSoFar {
  readonly #limits: ResponseLimits;
  readonly #stdout = new ByteStore();
  readonly #stderr: HeadAndTail;
  /** The end of STDOUT, if it is longer than the limit. */
  readonly #end = new ByteStore();
  #isTruncated = false;
  /** The kept STDERR is not its beginning. */
  #isStderrTaken = false;
  #headersChecked = false;
  /** Bytes of STDOUT that arrived, kept or not. */
  #stdoutBytes = 0;
  /** Of the latest answer with headers. */
  #head: CgiHead | undefined;
  #onBody: BodyListener | undefined;
  /** The headers have arrived; used only with a listener to the body. */
  #isInBody = false;

  constructor(limits: ResponseLimits) {
    this.#limits = limits;
    this.#stderr = new HeadAndTail(limits.maxStderrBytes);
  }

  get headers(): ReadonlyMap<string, string> {
    return this.#isInBody ? this.#head!.headers : NO_HEADERS;
  }

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

  /** Prepares for the next request. */
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

  /** The answer, in memory of its own. */
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

  /** `piece` arrived last, and not all of it was kept. */
  #keepEnd(piece: Uint8Array): void {
    const end = this.#end;
    if (end.length === 0) {
      end.append(this.#stdout.bytes().subarray(0, this.#stdoutBytes - piece.length).subarray(-END_BYTES));
    }
    end.append(piece.subarray(-END_BYTES));
    if (end.length > 2 * END_BYTES) end.keepLast(END_BYTES);
  }

  /** `piece` arrived last. */
  #handOn(piece: Uint8Array, onBody: BodyListener): void {
    if (this.#isInBody) return onBody(piece, this);
    // After this many bytes without headers, there are none.
    if (this.#stdoutBytes - piece.length > this.#limits.maxHeaderBytes) return;
    const head = readHead(this.#stdout.bytes());
    if (head === undefined) return;
    this.#head = head;
    this.#isInBody = true;
    const bodyBytes = this.#stdoutBytes - head.bytes.length;
    if (bodyBytes > 0) onBody(piece.subarray(piece.length - bodyBytes), this);
  }

  /** More bytes than headers may have: they have ended by now, or there are none. */
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
/** php-fpm writes this between two of its lines. */
const FPM_JOINT = "; ";
const NO_HEADERS: ReadonlyMap<string, string> = new Map();
const lenientUtf8 = new TextDecoder();
const LF = 10;
const CR = 13;
const COLON = 58;

/** The header part of a CGI response. */
interface CgiHead {
  /** With the empty line that ends it. */
  readonly bytes: Uint8Array;
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
}

/**
 * The headers at the beginning of STDOUT; undefined when it begins with anything else, for instance with earlier output of a
 * script: then it is all body. Lines end in LF or CRLF: PHP and other applications use both.
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
