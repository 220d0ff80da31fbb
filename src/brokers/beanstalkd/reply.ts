/** Replies of beanstalkd, as in doc/protocol.txt of its source. */
import { joined } from "../../core/text/bytes.ts";

export interface BeanstalkdReply {
  /** Its first word, such as `INSERTED` or `TIMED_OUT`. */
  readonly word: string;
  /** The other words: ids, numbers, a tube's name. The body's length is not among them. */
  readonly args: readonly string[];
  /** The length of the body, if there is one, bytes. */
  readonly bytes: number;
  /** A copy of the body; undefined without one, and for a reserved job longer than the parser's limit. */
  readonly body: Uint8Array | undefined;
  /**
   * beanstalkd has read the job from its log, with zeros in the place of the job's end: beanstalkd or its machine died while it
   * wrote the job.
   */
  readonly isDamaged?: boolean;
}

/** The replies with a body: its length is their last argument, and a CRLF ends it. */
const WITH_BODY: ReadonlySet<string> = new Set(["RESERVED", "FOUND", "OK"]);

/** The number of arguments of each reply, the body's length included. Any other reply is not beanstalkd's. */
const ARGUMENTS: ReadonlyMap<string, number> = new Map([
  ["RESERVED", 2],
  ["FOUND", 2],
  ["OK", 1],
  ["INSERTED", 1],
  ["USING", 1],
  ["WATCHING", 1],
  ["DELETED", 0],
  ["RELEASED", 0],
  // These two answer two commands each: with an argument only for a put's job and a kick's number.
  ["BURIED", 0],
  ["KICKED", 0],
  ["TOUCHED", 0],
  ["PAUSED", 0],
  ["TIMED_OUT", 0],
  ["DEADLINE_SOON", 0],
  ["NOT_FOUND", 0],
  ["NOT_IGNORED", 0],
  ["JOB_TOO_BIG", 0],
  ["EXPECTED_CRLF", 0],
  ["DRAINING", 0],
  ["OUT_OF_MEMORY", 0],
  ["INTERNAL_ERROR", 0],
  ["BAD_FORMAT", 0],
  ["UNKNOWN_COMMAND", 0],
]);

/** The longest reply without a body is `USING` with a tube's name of 200 bytes. */
const MAX_LINE_BYTES = 256;
/** The limit of `beanstalkd -z`; statistics are much smaller. */
const MAX_BODY_BYTES = 2 ** 30;
const NUL = 0;
const CR = 13;
const LF = 10;
const EMPTY = new Uint8Array(0);

/** An incomplete body. */
interface OpenBody {
  readonly word: string;
  readonly args: readonly string[];
  readonly bytes: number;
  readonly isKept: boolean;
  readonly pieces: Uint8Array[];
  /** Without the CRLF. */
  missingBytes: number;
  /** Of the CRLF. */
  missingEndBytes: number;
  isDamaged: boolean;
}

/**
 * Cuts beanstalkd's answers into replies.
 *
 * ```
 * RESERVED 42 11\r\n          word, arguments, the body's length
 * hello\r\nworld\r\n          the body, of which a CRLF may be part, and a CRLF
 * TIMED_OUT\r\n               a reply without a body
 * ```
 *
 * 1. Takes the stream in pieces cut anywhere, and keeps nothing of a piece but copies.
 * 2. Goes by lengths, never by what a body looks like, and holds no more memory than has come.
 * 3. Skips the body of a reserved job that is longer than `maxJobBytes`, and tells its length.
 * 4. Takes a job whose end is zeros for damaged ({@link BeanstalkdReply.isDamaged}).
 * 5. Throws at the first byte that beanstalkd would not send; it is of no use after that.
 */
export class BeanstalkdReplyParser {
  readonly #maxJobBytes: number;
  #line: Uint8Array = EMPTY;
  #open: OpenBody | undefined;

  constructor(maxJobBytes: number) {
    this.#maxJobBytes = maxJobBytes;
  }

  /**
   * The replies that `chunk` completes, in order.
   *
   * @throws {SyntaxError} when the stream is not beanstalkd's; the text is the end of a sentence
   */
  push(chunk: Uint8Array): BeanstalkdReply[] {
    const replies: BeanstalkdReply[] = [];
    let at = 0;
    while (at < chunk.length) {
      if (this.#open !== undefined) {
        at = this.#readBody(this.#open, chunk, at);
        if (this.#open.missingEndBytes > 0) break;
        replies.push(closed(this.#open));
        this.#open = undefined;
        continue;
      }
      const end = chunk.indexOf(LF, at);
      const piece = chunk.subarray(at, end < 0 ? chunk.length : end + 1);
      this.#line = this.#line.length === 0 ? piece : joined([this.#line, piece]);
      if (this.#line.length > MAX_LINE_BYTES) throw notBeanstalkd(this.#line);
      if (end < 0) {
        this.#line = this.#line.slice();
        break;
      }
      const reply = this.#readLine(this.#line);
      this.#line = EMPTY;
      if (reply !== undefined) replies.push(reply);
      at = end + 1;
    }
    return replies;
  }

  /** A reply, or undefined when its body follows. */
  #readLine(line: Uint8Array): BeanstalkdReply | undefined {
    const text = asciiText(line);
    const [word, ...args] = text.endsWith("\r\n") ? text.slice(0, -2).split(" ") : [""];
    const isComplete = ARGUMENTS.get(word!) === args.length ||
      ((word === "BURIED" || word === "KICKED") && args.length === 1);
    if (!isComplete) throw notBeanstalkd(line);
    if (!WITH_BODY.has(word!)) return { word: word!, args, bytes: 0, body: undefined };
    const length = args.pop()!;
    const bytes = /^\d{1,10}$/.test(length) ? Number(length) : Infinity;
    if (bytes > MAX_BODY_BYTES) throw notBeanstalkd(line);
    const isKept = word !== "RESERVED" || bytes <= this.#maxJobBytes;
    this.#open = {
      word: word!,
      args,
      bytes,
      isKept,
      pieces: [],
      missingBytes: bytes,
      missingEndBytes: 2,
      isDamaged: false,
    };
    return undefined;
  }

  /** Returns where the body, or the chunk, ends. */
  #readBody(open: OpenBody, chunk: Uint8Array, from: number): number {
    const piece = chunk.subarray(from, from + open.missingBytes);
    if (open.isKept && piece.length > 0) open.pieces.push(piece.slice());
    open.missingBytes -= piece.length;
    let at = from + piece.length;
    for (; open.missingBytes === 0 && open.missingEndBytes > 0 && at < chunk.length; at++) {
      if (chunk[at] !== (open.missingEndBytes === 2 ? CR : LF)) {
        // Statistics do not come from a log.
        if (chunk[at] !== NUL || open.word === "OK") {
          throw new SyntaxError(`a body of ${open.bytes} bytes does not end where it should`);
        }
        open.isDamaged = true;
      }
      open.missingEndBytes--;
    }
    return at;
  }
}

/** The result of `stats-…`: lines `name: value`, as YAML. Newer versions quote some values. Other lines are ignored. */
export function readStats(body: Uint8Array): ReadonlyMap<string, string> {
  const stats = new Map<string, string>();
  for (const line of linesOf(body)) {
    const at = line.indexOf(": ");
    if (at > 0) stats.set(line.slice(0, at), unquoted(line.slice(at + 2)));
  }
  return stats;
}

/** The result of `list-…`: lines `- name`, as YAML. */
export function readList(body: Uint8Array): string[] {
  return linesOf(body).filter((line) => line.startsWith("- ")).map((line) => unquoted(line.slice(2)));
}

function linesOf(body: Uint8Array): string[] {
  return asciiText(body).split("\n").filter((line) => line !== "" && line !== "---");
}

function unquoted(value: string): string {
  return /^".*"$/.test(value) ? value.slice(1, -1) : value;
}

function closed({ word, args, bytes, isKept, pieces, isDamaged }: OpenBody): BeanstalkdReply {
  const reply = { word, args, bytes, body: isKept ? joined(pieces) : undefined };
  return isDamaged ? { ...reply, isDamaged } : reply;
}

/** Byte for byte: names of tubes and all replies of beanstalkd are ASCII. */
function asciiText(bytes: Uint8Array): string {
  return bytes.length < 4_096 ? String.fromCharCode(...bytes) : new TextDecoder("latin1").decode(bytes);
}

function notBeanstalkd(said: Uint8Array): SyntaxError {
  const text = asciiText(said.subarray(0, 60)).replace(/[^\x20-\x7e].*$/s, "");
  return new SyntaxError(`it says "${text}"`);
}
