import { formatAddress, type SocketAddress } from "../core/address.ts";
import { joined } from "../core/bytes.ts";
import type { Clock, Timer } from "../core/clock.ts";
import { QueueError, reasonOf } from "../core/errors.ts";
import { type BeanstalkdReply, BeanstalkdReplyParser } from "./beanstalkd_reply.ts";

export interface BeanstalkdConnectionOptions {
  readonly address: SocketAddress;
  /** How long connecting may take, with the first answer; milliseconds. */
  readonly connectTimeoutMs: number;
  /** The body of a reserved job is skipped when it is longer. */
  readonly maxPayloadBytes: number;
}

/** A command that has no reply yet. */
interface Pending {
  readonly expected: readonly string[];
  readonly resolve: (reply: BeanstalkdReply) => void;
  readonly reject: (error: QueueError) => void;
}

/** beanstalkd answers at once, or within the time that a command asks it to wait; milliseconds. */
const REPLY_TIMEOUT_MS = 30_000;
/** How long beanstalkd may take to close a connection that we have done with, milliseconds. */
const HANG_UP_TIMEOUT_MS = 2_000;
const READ_BUFFER_BYTES = 65_536;
/** What is written together is copied into one piece, unless it is a longer body. */
const SMALL_BODY_BYTES = 16_384;

/** What beanstalkd says when it cannot do what every version of it can, and what to do. */
const TROUBLE: Readonly<Record<string, string>> = {
  OUT_OF_MEMORY: "it is out of memory; give its machine more, or drain its queues",
  INTERNAL_ERROR: "it had an internal error; see its log",
  DRAINING: "it is in drain mode and takes no new jobs; restart it, or push to another one",
  BAD_FORMAT: "it does not know the command; it must be version 1.12 or newer",
  UNKNOWN_COMMAND: "it does not know the command; it must be version 1.12 or newer",
  EXPECTED_CRLF: "it lost track of the commands",
};

/**
 * One socket to beanstalkd.
 *
 * 1. Sends commands as they come, without waiting for replies; all of one turn of the event loop go out together.
 * 2. Gives each command its reply: beanstalkd answers in order.
 * 3. Notices when the other side is gone, silent, or not beanstalkd. It is lost then, for good, and every command
 *    under way rejects with QUEUE_UNAVAILABLE.
 * 4. Remembers the tube in use, and those watched.
 */
export class BeanstalkdConnection {
  readonly #clock: Clock;
  readonly #socket: Deno.Conn;
  readonly #where: string;
  readonly #parser: BeanstalkdReplyParser;
  readonly #pending: Pending[] = [];
  readonly #ended = Promise.withResolvers<void>();
  #out: (string | Uint8Array)[] = [];
  #isWriting = false;
  #loss: QueueError | undefined;
  #used = "default";
  #watched: readonly string[] = ["default"];
  #silenceTimer: Timer | undefined;
  #heardMs = 0;
  /** How much longer than usual the command under way may take, milliseconds. */
  #patienceMs = 0;

  private constructor(socket: Deno.Conn, clock: Clock, options: BeanstalkdConnectionOptions) {
    this.#socket = socket;
    this.#clock = clock;
    this.#where = `beanstalkd at "${formatAddress(options.address)}"`;
    this.#parser = new BeanstalkdReplyParser(options.maxPayloadBytes);
    void this.#readAll();
  }

  /**
   * Connects, and makes sure that it is beanstalkd that answers.
   *
   * @throws {QueueError} QUEUE_UNAVAILABLE
   */
  static async open(clock: Clock, options: BeanstalkdConnectionOptions): Promise<BeanstalkdConnection> {
    const { address, connectTimeoutMs } = options;
    const where = `beanstalkd at "${formatAddress(address)}"`;
    const late = Promise.withResolvers<never>();
    const timer = clock.setTimer(
      () => late.reject(new Error(`no answer in ${connectTimeoutMs} ms`)),
      connectTimeoutMs,
    );
    const connecting = dial(address);
    let connection: BeanstalkdConnection | undefined;
    try {
      const socket = await Promise.race([connecting, late.promise]);
      connection = new BeanstalkdConnection(socket, clock, options);
      await Promise.race([connection.send("list-tube-used", ["USING"]), late.promise]);
      return connection;
    } catch (error) {
      connection?.close();
      // It may still connect after we have given up; then nobody wants it.
      if (connection === undefined) connecting.then((socket) => socket.close(), () => {});
      if (error instanceof QueueError) throw error;
      throw new QueueError("QUEUE_UNAVAILABLE", `Cannot connect to ${where}: ${connectReason(error)}`, {
        cause: error,
      });
    } finally {
      timer.cancel();
    }
  }

  /** Whether it can no longer be used. */
  get isLost(): boolean {
    return this.#loss !== undefined;
  }

  /** Resolves when it can no longer be used. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /**
   * Sends a command.
   *
   * @param command Without the CRLF. With a `body`, that follows and the command ends with its length.
   * @param expected The first words of the replies that mean something to the caller.
   * @param waitMs How long beanstalkd is asked to wait with its reply.
   * @throws {QueueError} QUEUE_UNAVAILABLE when the connection is lost, or for any other reply
   */
  send(
    command: string,
    expected: readonly string[],
    { body, waitMs = 0 }: { body?: Uint8Array; waitMs?: number } = {},
  ): Promise<BeanstalkdReply> {
    if (this.#loss !== undefined) return Promise.reject(this.#loss);
    const { promise, resolve, reject } = Promise.withResolvers<BeanstalkdReply>();
    if (this.#pending.length === 0) this.#heardMs = this.#clock.monotonicMs();
    this.#pending.push({ expected, resolve, reject });
    this.#patienceMs = waitMs;
    this.#silenceTimer ??= this.#listenFor(REPLY_TIMEOUT_MS + waitMs);
    this.#out.push(`${command}\r\n`);
    if (body !== undefined) this.#out.push(body, "\r\n");
    if (!this.#isWriting) void this.#writeAll();
    return promise;
  }

  /** What is sent from now on concerns this tube, as far as it concerns the tube in use. */
  use(tube: string): void {
    if (this.#used === tube) return;
    this.#used = tube;
    this.#mustSucceed(this.send(`use ${tube}`, ["USING"]));
  }

  /** What is reserved from now on comes from these tubes, and from no others. */
  watch(tubes: readonly string[]): void {
    const before = this.#watched;
    this.#watched = tubes;
    // The last tube cannot be ignored: the new ones come first.
    for (const tube of tubes) {
      if (!before.includes(tube)) this.#mustSucceed(this.send(`watch ${tube}`, ["WATCHING"]));
    }
    for (const tube of before) {
      if (!tubes.includes(tube)) this.#mustSucceed(this.send(`ignore ${tube}`, ["WATCHING"]));
    }
  }

  /**
   * Ends a wait: beanstalkd answers a blocked reserve at once when the connection is half closed, and closes it then.
   * Resolves when it has, and with that has put back what was reserved here.
   */
  async hangUp(): Promise<void> {
    const timer = this.#clock.setTimer(() => this.close(), HANG_UP_TIMEOUT_MS);
    try {
      await this.#socket.closeWrite();
    } catch {
      this.close();
    }
    await this.ended;
    timer.cancel();
  }

  /** Ends the connection when the commands under way have their replies. */
  async quit(): Promise<void> {
    if (this.#loss !== undefined) return;
    const timer = this.#clock.setTimer(() => this.close(), HANG_UP_TIMEOUT_MS);
    this.#out.push("quit\r\n");
    if (!this.#isWriting) void this.#writeAll();
    await this.ended;
    timer.cancel();
  }

  /** beanstalkd puts back what was reserved here. Idempotent. */
  close(): void {
    this.#lose("closed by this worker");
  }

  /**
   * What a reply's body says.
   *
   * @throws {QueueError} QUEUE_UNAVAILABLE when `reader` throws: the other side is not beanstalkd, and lost with that
   */
  read<T>(reply: BeanstalkdReply, reader: (reply: BeanstalkdReply) => T): T {
    try {
      return reader(reply);
    } catch (error) {
      throw this.#refuse(error);
    }
  }

  #refuse(error: unknown): QueueError {
    return this.#lose(`it does not speak beanstalkd's protocol: ${reasonOf(error)}`);
  }

  /** A connection that concerns other tubes than its user believes would do harm. */
  #mustSucceed(reply: Promise<BeanstalkdReply>): void {
    reply.catch((error) => this.#lose(reasonOf(error)));
  }

  /** The one place where the connection ends. */
  #lose(reason: string): QueueError {
    if (this.#loss !== undefined) return this.#loss;
    this.#loss = this.#unavailable(reason);
    this.#silenceTimer?.cancel();
    this.#socket.close();
    this.#out = [];
    for (const { reject } of this.#pending.splice(0)) reject(this.#loss);
    this.#ended.resolve();
    return this.#loss;
  }

  #unavailable(reason: string): QueueError {
    return new QueueError("QUEUE_UNAVAILABLE", `Cannot use ${this.#where}: ${reason}`);
  }

  /** Loses the connection when it is silent for too long while a reply is due. */
  #listenFor(ms: number): Timer {
    return this.#clock.setTimer(() => {
      this.#silenceTimer = undefined;
      if (this.#pending.length === 0) return;
      const allowedMs = REPLY_TIMEOUT_MS + this.#patienceMs;
      const leftMs = this.#heardMs + allowedMs - this.#clock.monotonicMs();
      if (leftMs > 0) this.#silenceTimer = this.#listenFor(leftMs);
      else this.#lose(`no answer in ${allowedMs} ms`);
    }, ms);
  }

  async #readAll(): Promise<void> {
    const buffer = new Uint8Array(READ_BUFFER_BYTES);
    try {
      for (;;) {
        const length = await this.#socket.read(buffer);
        if (length === null) return void this.#lose("it closed the connection");
        this.#heardMs = this.#clock.monotonicMs();
        let replies;
        try {
          replies = this.#parser.push(buffer.subarray(0, length));
        } catch (error) {
          return void this.#refuse(error);
        }
        for (const reply of replies) this.#settle(reply);
      }
    } catch (error) {
      this.#lose(reasonOf(error));
    }
  }

  #settle(reply: BeanstalkdReply): void {
    const pending = this.#pending.shift();
    if (pending === undefined) return void this.#refuse(new Error(`it says "${reply.word}" unasked`));
    if (pending.expected.includes(reply.word)) return pending.resolve(reply);
    const trouble = TROUBLE[reply.word];
    if (trouble !== undefined) return pending.reject(this.#unavailable(trouble));
    pending.reject(this.#refuse(new Error(`it says "${reply.word}" instead of "${pending.expected[0]}"`)));
  }

  /** Writes until there is nothing left to write. */
  async #writeAll(): Promise<void> {
    this.#isWriting = true;
    // What is sent in this turn goes along.
    await Promise.resolve();
    try {
      while (this.#out.length > 0) {
        const out = this.#out;
        this.#out = [];
        for (const piece of inPieces(out)) {
          for (let at = 0; at < piece.length;) at += await this.#socket.write(piece.subarray(at));
          this.#heardMs = this.#clock.monotonicMs();
        }
      }
    } catch (error) {
      this.#lose(reasonOf(error));
    }
    this.#isWriting = false;
  }
}

/** The same in as few pieces as need no copy of a long body. */
function* inPieces(out: readonly (string | Uint8Array)[]): Generator<Uint8Array> {
  const encoder = new TextEncoder();
  let small: Uint8Array[] = [];
  let text = "";
  const flushText = () => {
    if (text !== "") small.push(encoder.encode(text));
    text = "";
  };
  for (const piece of out) {
    if (typeof piece === "string") {
      text += piece;
      continue;
    }
    flushText();
    if (piece.length <= SMALL_BODY_BYTES) {
      small.push(piece);
      continue;
    }
    yield joined(small);
    yield piece;
    small = [];
  }
  flushText();
  if (small.length > 0) yield joined(small);
}

async function dial(address: SocketAddress): Promise<Deno.Conn> {
  if (address.transport === "unix") return await Deno.connect({ transport: "unix", path: address.path });
  const socket = await Deno.connect({ hostname: address.hostname, port: address.port });
  // Without this, a command waits for the acknowledgement of the one before it.
  socket.setNoDelay(true);
  return socket;
}

function connectReason(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "no such socket; is it running?";
  if (error instanceof Deno.errors.ConnectionRefused) return "connection refused; is it running?";
  return reasonOf(error);
}
