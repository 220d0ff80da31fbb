import type { Clock, Timer } from "../core/clock.ts";
import { asFervoError, reasonOf } from "../core/errors.ts";
import type { OutputListener } from "../core/output.ts";
import { type FastCgiAddress, formatAddress } from "./address.ts";
import { closedAtOnce, connect } from "./connect.ts";
import { ConnectionLostError, FastCgiError } from "./errors.ts";
import type { EncodedParams } from "./params.ts";
import {
  FULL_CONTENT_BYTES,
  HEADER_BYTES,
  ProtocolStatus,
  RecordParser,
  type RecordSink,
  RecordType,
  writeHeader,
} from "./record.ts";
import { RequestWriter, SMALL_BODY_BYTES } from "./request_writer.ts";
import {
  type BodyListener,
  type FastCgiResponse,
  ResponseCollector,
  type ResponseLimits,
} from "./response.ts";

/** One request to a FastCGI application. */
export interface FastCgiRequest {
  /** Pairs that every request shares, encoded once. Sent first. */
  readonly sharedParams?: EncodedParams;
  /** Pairs of this request; what they mean is between the caller and the application. */
  readonly params: readonly (readonly [name: string, value: string])[];
  /** STDIN, of any size. The caller sends its length as CONTENT_LENGTH: php-fpm reads exactly that many bytes. */
  readonly body: Uint8Array;
  /** Is given the answer's body while it comes, beside the answer as a whole. */
  readonly onBody?: BodyListener;
  /** Is given both streams of the answer as they come, headers and all, however long they are. */
  readonly onOutput?: OutputListener;
}

export interface ConnectionOptions extends ResponseLimits {
  /** How long connecting may take, milliseconds. */
  readonly connectTimeoutMs: number;
  /** How long the first byte of an answer may take from when the request was written, milliseconds; 0 for ever. */
  readonly firstByteTimeoutMs: number;
}

export { ConnectionLostError };

const MAX_REQUEST_ID = 65_535;
const READ_BUFFER_BYTES = 16_384;

interface Pending {
  readonly signal: AbortSignal;
  readonly onOutput: OutputListener | undefined;
  readonly abort: () => void;
  /** Whether the connection stays open afterwards. */
  readonly keep: boolean;
  readonly startedMs: number;
  /** Of the answer, as they came from the socket: a lone record header is a sign of life, too. */
  receivedBytes: number;
  readonly resolve: (response: FastCgiResponse) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * One socket to a FastCGI application, and at most one request on it at a time: php-fpm does not multiplex.
 *
 * 1. Writes a small request in one system call, and a large one in pieces of one record.
 * 2. Reads all the time, also between requests, so that the other side's leaving is noticed before the next request
 *    is given to it.
 * 3. Takes END_REQUEST, and nothing else, for the end of an answer.
 * 4. Gives each request an id of its own, so that a late record of the last answer is not taken for one of the next.
 *
 * States: `idle` -> request() -> `busy` -> END_REQUEST -> `idle`; any state -> end of stream, protocol error, abort
 * or close -> `closed`. Only `#finish` (to idle) and `#end` (to closed) change it.
 */
export class Connection {
  readonly #address: FastCgiAddress;
  readonly #options: ConnectionOptions;
  readonly #clock: Clock;
  readonly #socket: Deno.Conn;
  readonly #writer = new RequestWriter();
  readonly #collector: ResponseCollector;
  readonly #parser = new RecordParser();
  readonly #sink: RecordSink;
  readonly #endRequest = new Uint8Array(8);
  #endRequestBytes = 0;
  #pending: Pending | undefined;
  #firstByteTimer: Timer | undefined;
  #isWriting = false;
  #isClosed = false;
  #requests = 0;
  #requestId = 0;

  /** Called once, when the connection has closed while no request was under way. */
  onIdleClose: (() => void) | undefined;
  /** When it was opened, monotonic milliseconds. */
  readonly openedMs: number;
  /** When the last request ended, monotonic milliseconds. */
  idleSinceMs = 0;

  private constructor(address: FastCgiAddress, socket: Deno.Conn, clock: Clock, options: ConnectionOptions) {
    this.#address = address;
    this.#socket = socket;
    this.#clock = clock;
    this.openedMs = clock.monotonicMs();
    this.#options = options;
    this.#collector = new ResponseCollector(options);
    this.#sink = {
      content: (type, requestId, piece) => this.#content(type, requestId, piece),
      recordEnd: (type, requestId, contentBytes) => this.#recordEnd(type, requestId, contentBytes),
    };
  }

  /**
   * Connects. Send a request at once: php-fpm gives a new connection 5 s for its first byte.
   *
   * @param signal Gives up; the promise rejects with the signal's reason.
   * @throws {FastCgiError} FASTCGI_CONNECT_FAILED, or FASTCGI_OVERLOADED when the listen queue is full.
   */
  static async open(
    address: FastCgiAddress,
    clock: Clock,
    options: ConnectionOptions,
    signal?: AbortSignal,
  ): Promise<Connection> {
    signal?.throwIfAborted();
    const socket = await connect(address, clock, options.connectTimeoutMs, signal);
    const connection = new Connection(address, socket, clock, options);
    void connection.#readAll();
    return connection;
  }

  /** Whether a request can be given to it now. */
  get isReusable(): boolean {
    return !this.#isClosed && this.#pending === undefined && !this.#isWriting;
  }

  /**
   * Sends a request and reads its answer.
   *
   * @param keep Ask the application to leave the connection open afterwards.
   * @param signal Ends the request: the connection is destroyed and the promise rejects with the signal's reason.
   * @throws {FastCgiError} FASTCGI_PARAM_TOO_LARGE, and FASTCGI_CONNECT_FAILED when the other side has closed the
   * connection before (nothing was sent); FASTCGI_CONNECTION_LOST ({@link ConnectionLostError}),
   * FASTCGI_FIRST_BYTE_TIMEOUT, FASTCGI_OVERLOADED, FASTCGI_PROTOCOL
   */
  request(request: FastCgiRequest, keep: boolean, signal: AbortSignal): Promise<FastCgiResponse> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      if (this.#isClosed) throw closedAtOnce(this.#address);
      if (!this.isReusable) throw new TypeError("The connection has a request under way");
      this.#requestId = this.#requestId % MAX_REQUEST_ID + 1;
      const head = this.#writer.head(request, this.#requestId, keep);
      const abort = () => this.destroy(signal.reason);
      signal.addEventListener("abort", abort);
      this.#collector.reset(request.onBody);
      this.#pending = {
        signal,
        onOutput: request.onOutput,
        abort,
        keep,
        startedMs: this.#clock.monotonicMs(),
        receivedBytes: 0,
        resolve,
        reject,
      };
      this.#requests++;
      void this.#write(head, request.body);
    });
  }

  /** Closes the connection; a request under way rejects with `error`. Idempotent. */
  destroy(error?: unknown): void {
    this.#end(error);
  }

  /**
   * A failed write is not the end: the application may have answered without reading all of its STDIN, and that
   * answer is still to be read. If there is none, the reader sees the end of the stream.
   */
  async #write(head: Uint8Array, body: Uint8Array): Promise<void> {
    this.#isWriting = true;
    try {
      await this.#writeWhole(head);
      if (body.length > SMALL_BODY_BYTES) await this.#writeBody(body);
      this.#isWriting = false;
      if (this.#options.firstByteTimeoutMs > 0) this.#awaitFirstByte();
    } catch {
      // Stays "writing": a connection on which STDIN did not end cannot take another request.
    }
  }

  async #writeBody(body: Uint8Array): Promise<void> {
    const record = new Uint8Array(HEADER_BYTES + FULL_CONTENT_BYTES);
    for (let at = 0; at < body.length; at += FULL_CONTENT_BYTES) {
      const piece = body.subarray(at, at + FULL_CONTENT_BYTES);
      writeHeader(record, 0, RecordType.stdin, this.#requestId, piece.length);
      record.set(piece, HEADER_BYTES);
      await this.#writeWhole(record.subarray(0, HEADER_BYTES + piece.length));
    }
    writeHeader(record, 0, RecordType.stdin, this.#requestId, 0);
    await this.#writeWhole(record.subarray(0, HEADER_BYTES));
  }

  async #writeWhole(bytes: Uint8Array): Promise<void> {
    let at = await this.#socket.write(bytes);
    while (at < bytes.length) at += await this.#socket.write(bytes.subarray(at));
  }

  #awaitFirstByte(): void {
    const pending = this.#pending;
    if (pending === undefined || pending.receivedBytes > 0) return;
    const { firstByteTimeoutMs } = this.#options;
    this.#firstByteTimer = this.#clock.setTimer(() => {
      this.#end(
        new FastCgiError(
          "FASTCGI_FIRST_BYTE_TIMEOUT",
          `"${formatAddress(this.#address)}" sent nothing of the answer in ${firstByteTimeoutMs} ms ` +
            "(first_byte_timeout_ms)",
        ),
      );
    }, firstByteTimeoutMs);
  }

  async #readAll(): Promise<void> {
    const buffer = new Uint8Array(READ_BUFFER_BYTES);
    while (!this.#isClosed) {
      let bytes;
      try {
        bytes = await this.#socket.read(buffer);
      } catch (error) {
        return this.#lose(reasonOf(error), error instanceof Deno.errors.ConnectionReset);
      }
      if (bytes === null) return this.#lose("the other side closed it");
      this.#firstByteTimer?.cancel();
      if (this.#pending !== undefined) this.#pending.receivedBytes += bytes;
      try {
        this.#parser.parse(buffer.subarray(0, bytes), this.#sink);
      } catch (error) {
        // FASTCGI_PROTOCOL, or a fault in what the answer is given to: the other side did not end the connection.
        return this.#end(asFervoError(error));
      }
    }
  }

  #content(type: number, requestId: number, piece: Uint8Array): void {
    if (requestId === 0) return;
    this.#expectRequest(type, requestId);
    if (type === RecordType.stdout) {
      this.#pending!.onOutput?.stdout(piece);
      this.#collector.addStdout(piece);
    } else if (type === RecordType.stderr) {
      this.#pending!.onOutput?.stderr(piece);
      this.#collector.addStderr(piece);
    } else if (type === RecordType.endRequest) {
      const room = this.#endRequest.length - this.#endRequestBytes;
      this.#endRequest.set(piece.subarray(0, room), this.#endRequestBytes);
      this.#endRequestBytes += Math.min(piece.length, room);
    }
  }

  #recordEnd(type: number, requestId: number, contentBytes: number): void {
    // Request id 0 is management (section 4); we ask nothing there, so nothing there concerns us.
    if (requestId === 0) return;
    this.#expectRequest(type, requestId);
    if (type !== RecordType.endRequest) return;
    if (contentBytes < 8) {
      throw new FastCgiError(
        "FASTCGI_PROTOCOL",
        `Cannot read END_REQUEST: it has ${contentBytes} bytes, not 8`,
      );
    }
    this.#endRequestBytes = 0;
    this.#finish();
  }

  #expectRequest(type: number, requestId: number): void {
    if (this.#pending !== undefined && requestId === this.#requestId) return;
    throw new FastCgiError(
      "FASTCGI_PROTOCOL",
      `Cannot read the answer: a record of type ${type} for request "${requestId}" came, ` +
        (this.#pending === undefined
          ? "and no request is under way"
          : `and request "${this.#requestId}" is under way`),
    );
  }

  /** END_REQUEST came. */
  #finish(): void {
    const { resolve, reject, keep } = this.#takePending()!;
    this.idleSinceMs = this.#clock.monotonicMs();
    const [b0, b1, b2, b3, protocolStatus] = this.#endRequest;
    const appStatus = (b0! << 24) | (b1! << 16) | (b2! << 8) | b3!;
    if (protocolStatus === ProtocolStatus.requestComplete) resolve(this.#collector.finish(appStatus));
    else reject(this.#refusal(protocolStatus!));
    if (!keep) this.destroy();
  }

  #refusal(protocolStatus: number): FastCgiError {
    const where = `"${formatAddress(this.#address)}"`;
    if (protocolStatus === ProtocolStatus.overloaded) {
      return new FastCgiError("FASTCGI_OVERLOADED", `${where} says it is overloaded`);
    }
    const text = `${where} refused the request with protocol status ${protocolStatus}`;
    return new FastCgiError("FASTCGI_PROTOCOL", text);
  }

  /** The other side ended the connection. */
  #lose(reason: string, isReset = false): void {
    const pending = this.#pending;
    this.#end(
      pending && new ConnectionLostError(this.#address, reason, {
        responseBytes: pending.receivedBytes,
        isReused: this.#requests > 1,
        afterMs: this.#clock.monotonicMs() - pending.startedMs,
        isReset,
        stderr: this.#collector.stderr,
      }),
    );
  }

  /** The socket is of no more use; a request under way rejects with `error`. */
  #end(error?: unknown): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.close();
    const pending = this.#takePending();
    if (pending === undefined) return this.onIdleClose?.();
    pending.reject(error ?? new FastCgiError("FASTCGI_CONNECTION_LOST", "The connection was closed by us"));
  }

  /** The request under way, which is over with this. */
  #takePending(): Pending | undefined {
    const pending = this.#pending;
    this.#pending = undefined;
    this.#firstByteTimer?.cancel();
    this.#firstByteTimer = undefined;
    pending?.signal.removeEventListener("abort", pending.abort);
    return pending;
  }
}
