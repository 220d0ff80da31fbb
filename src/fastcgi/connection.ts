import type { Clock, Timer } from "../core/time/clock.ts";
import { asFervoError, reasonOf, withStderr } from "../core/errors.ts";
import { Keepalive } from "../net/keepalive.ts";
import type { FastCgiAddress } from "./address.ts";
import { closedAtOnce, connect } from "./connect.ts";
import { EndRequest, refusal, type RequestEnd } from "./end_request.ts";
import { ConnectionLostError, FastCgiError, firstByteTimedOut, unexpectedRecord } from "./errors.ts";
import { ProtocolStatus, RecordParser, type RecordSink, RecordType } from "./record.ts";
import { RequestWriter, SMALL_BODY_BYTES, writeStdin, writeStdinEnd, writeWhole } from "./request_writer.ts";
import type { ConnectionOptions, FastCgiRequest, SilentRequest } from "./request.ts";
import { type FastCgiResponse, ResponseCollector } from "./response.ts";

export { ConnectionLostError };
export type { ConnectionOptions, FastCgiRequest, SilentRequest };

const MAX_REQUEST_ID = 65_535;
const READ_BUFFER_BYTES = 16_384;

interface Pending {
  readonly request: FastCgiRequest;
  readonly signal: AbortSignal;
  readonly abort: () => void;
  /** Whether the connection stays open afterwards. */
  readonly keep: boolean;
  readonly startedMs: number;
  /** Bytes of the answer on the socket; a lone record header counts, too. */
  receivedBytes: number;
  /** The request was sent, and by the latest observation has not begun; and whether that was ever so. */
  isWaiting: boolean;
  hasWaited: boolean;
  readonly resolve: (response: FastCgiResponse) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * One socket to a FastCGI application, with at most one request at a time: php-fpm does not multiplex.
 *
 * 1. Writes a small request in one system call, and a large one in pieces of one record.
 * 2. Reads all the time, also between requests, so that it notices the end of the other side before the next request.
 * 3. Ends an answer at END_REQUEST, and at nothing else.
 * 4. Gives each request its own id, so that a late record of the last answer is not taken for one of the next.
 * 5. Over TCP, is never silent for long: while it waits for an answer it ends STDIN once more, by eight bytes that php-fpm
 *    leaves unread like the first ones. So no firewall forgets the connection, and a dead peer is noticed. After that it takes
 *    no further request. Without a request it is closed.
 *
 * States: `idle` -> request() -> `busy` -> END_REQUEST -> `idle`; any state -> end of stream, protocol error, abort or close ->
 * `closed`. Only `#finish` (to idle) and `#end` (to closed) change it.
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
  readonly #endRequest = new EndRequest();
  #pending: Pending | undefined;
  #firstByteTimer: Timer | undefined;
  #isWriting = false;
  #keepalive: Keepalive | undefined;
  /** STDIN was ended more than once. */
  #hasRepeatedEnd = false;
  #isClosed = false;
  #requests = 0;
  /** Of the latest request, and of the one before. */
  #latestParams: FastCgiRequest["params"] = [];
  #previousParams: FastCgiRequest["params"] = [];
  #requestId = 0;

  /** Called when output of a request comes after its END_REQUEST: its script goes on. */
  onLateOutput: ((params: FastCgiRequest["params"]) => void) | undefined;
  /** Called once, when the connection has closed without a request in progress. */
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
    if (address.transport === "tcp" && options.keepaliveMs > 0) {
      this.#keepalive = new Keepalive(clock, options.keepaliveMs, () => this.#breakSilence());
    }
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

  /** Whether it served a request before the current one. */
  get isKept(): boolean {
    return this.#requests > 1;
  }

  /** Whether it can take a request now. */
  get isReusable(): boolean {
    return !this.#isClosed && this.#pending === undefined && !this.#isWriting && !this.#hasRepeatedEnd;
  }

  /**
   * Sends a request and reads its answer.
   *
   * @param keep Ask the application to leave the connection open afterwards.
   * @param signal Ends the request: the connection is destroyed and the promise rejects with the signal's reason, or with an
   * equal FervoError that has STDERR so far.
   * @throws {FastCgiError} FASTCGI_PARAM_TOO_LARGE, and FASTCGI_CONNECT_FAILED when the other side has closed the connection
   * before (nothing was sent); FASTCGI_CONNECTION_LOST ({@link ConnectionLostError}), FASTCGI_FIRST_BYTE_TIMEOUT,
   * FASTCGI_OVERLOADED, FASTCGI_PROTOCOL
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
        request,
        signal,
        abort,
        keep,
        startedMs: this.#clock.monotonicMs(),
        receivedBytes: 0,
        isWaiting: false,
        hasWaited: false,
        resolve,
        reject,
      };
      this.#requests++;
      this.#previousParams = this.#latestParams;
      this.#latestParams = request.params;
      void this.#write(head, request.body);
    });
  }

  /**
   * The current request, if it is not the first one here and has had no byte of an answer for `ms` milliseconds. It runs, or
   * waits for the previous one, which can go on after END_REQUEST.
   */
  silentFor(ms: number): SilentRequest | undefined {
    const pending = this.#pending;
    if (pending === undefined || this.#requests < 2 || pending.receivedBytes > 0) return undefined;
    if (this.#clock.monotonicMs() - pending.startedMs < ms) return undefined;
    return {
      params: pending.request.params,
      previousParams: this.#previousParams,
      setBegun: (hasBegun) => {
        if (this.#pending === pending && pending.receivedBytes === 0) this.#setBegun(pending, hasBegun);
      },
    };
  }

  /** Closes the connection; the current request rejects with `error`. Idempotent. */
  destroy(error?: unknown): void {
    this.#end(error);
  }

  /**
   * A failed write is not the end: the application may have answered without reading all of its STDIN, and that answer can
   * still be read. Without an answer, the reader sees the end of the stream.
   */
  async #write(head: Uint8Array, body: Uint8Array): Promise<void> {
    this.#isWriting = true;
    this.#keepalive?.note();
    try {
      await writeWhole(this.#socket, head);
      if (body.length > SMALL_BODY_BYTES) await writeStdin(this.#socket, this.#requestId, body);
      this.#isWriting = false;
      if (this.#options.firstByteTimeoutMs > 0) this.#awaitFirstByte();
    } catch {
      // Stays "writing": without the end of STDIN, the connection cannot take another request.
    }
  }

  #breakSilence(): void {
    if (this.#pending === undefined) return this.destroy();
    // Unread bytes make the kernel probe the other side already.
    if (this.#isWriting) return;
    this.#hasRepeatedEnd = true;
    // If the other side is gone, the reader sees it.
    writeStdinEnd(this.#socket, this.#requestId).catch(() => {});
  }

  #awaitFirstByte(): void {
    const pending = this.#pending;
    if (pending === undefined || pending.receivedBytes > 0) return;
    const { firstByteTimeoutMs } = this.#options;
    const end = () => this.#end(firstByteTimedOut(this.#address, firstByteTimeoutMs));
    this.#firstByteTimer = this.#clock.setTimer(end, firstByteTimeoutMs);
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
      this.#keepalive?.note();
      this.#firstByteTimer?.cancel();
      if (this.#pending !== undefined) this.#pending.receivedBytes += bytes;
      try {
        this.#parser.parse(buffer.subarray(0, bytes), this.#sink);
      } catch (error) {
        // FASTCGI_PROTOCOL, or a fault of the receiver: the other side did not end the connection.
        return this.#end(asFervoError(error));
      }
    }
  }

  #content(type: number, requestId: number, piece: Uint8Array): void {
    if (!this.#concernsRequest(type, requestId, true)) return;
    if (type === RecordType.stdout) {
      this.#pending!.request.onOutput?.stdout(piece);
      this.#collector.addStdout(piece);
    } else if (type === RecordType.stderr) {
      this.#pending!.request.onOutput?.stderr(piece);
      this.#collector.addStderr(piece);
    } else if (type === RecordType.endRequest) {
      this.#endRequest.add(piece);
    }
  }

  #recordEnd(type: number, requestId: number, contentBytes: number): void {
    if (!this.#concernsRequest(type, requestId, false) || type !== RecordType.endRequest) return;
    this.#finish(this.#endRequest.take(contentBytes));
  }

  /** Whether a record belongs to the current request. @param hasContent It is content of the record, rather than its end. */
  #concernsRequest(type: number, requestId: number, hasContent: boolean): boolean {
    const pending = this.#pending;
    if (pending !== undefined && requestId === this.#requestId) {
      // After output of an earlier request, the count began again.
      pending.receivedBytes ||= 1;
      return true;
    }
    // Request id 0 is management (section 4); we send none, so nothing there concerns us.
    if (requestId === 0) return false;
    if ((type === RecordType.stdout || type === RecordType.stderr) && requestId <= this.#requestId) {
      // The next request would have to wait.
      if (pending === undefined) this.destroy();
      if (hasContent) this.#takeLate(pending);
      return false;
    }
    throw unexpectedRecord({ type, requestId }, pending === undefined ? undefined : this.#requestId);
  }

  /** Output of an ended request: its script goes on, and the current request has not begun. */
  #takeLate(pending: Pending | undefined): void {
    this.onLateOutput?.(pending === undefined ? this.#latestParams : this.#previousParams);
    if (pending === undefined) return;
    // These bytes say nothing about the current request.
    pending.receivedBytes = 0;
    this.#setBegun(pending, false);
  }

  #setBegun(pending: Pending, hasBegun: boolean): void {
    // The job begins now, or later, and so does its time.
    if (!hasBegun || pending.isWaiting) {
      pending.request.run?.notBegun();
      this.#firstByteTimer?.cancel();
      if (this.#options.firstByteTimeoutMs > 0 && !this.#isWriting) this.#awaitFirstByte();
    }
    pending.isWaiting = !hasBegun;
    pending.hasWaited ||= !hasBegun;
  }

  #finish({ appStatus, protocolStatus }: RequestEnd): void {
    const { resolve, reject, keep, hasWaited } = this.#takePending()!;
    this.idleSinceMs = this.#clock.monotonicMs();
    if (protocolStatus === ProtocolStatus.requestComplete) {
      const response = this.#collector.finish(appStatus);
      resolve(hasWaited ? { ...response, hasWaited } : response);
    } else reject(refusal(this.#address, protocolStatus));
    if (!keep) this.destroy();
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
        isWaiting: pending.isWaiting,
        stderr: this.#collector.stderr,
      }),
    );
  }

  /** Closes the socket; the current request rejects with `error`. */
  #end(error?: unknown): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#keepalive?.stop();
    this.#socket.close();
    const pending = this.#takePending();
    if (pending === undefined) return this.onIdleClose?.();
    const cause = error ?? new FastCgiError("FASTCGI_CONNECTION_LOST", "This worker closed the connection");
    pending.reject(withStderr(cause, this.#collector.stderr));
  }

  /** Takes the current request, which ends with this. */
  #takePending(): Pending | undefined {
    const pending = this.#pending;
    this.#pending = undefined;
    this.#firstByteTimer?.cancel();
    this.#firstByteTimer = undefined;
    pending?.signal.removeEventListener("abort", pending.abort);
    return pending;
  }
}
