import { formatAddress, type SocketAddress } from "../../net/address.ts";
import type { ByteWriter } from "../../core/text/bytes.ts";
import type { Clock } from "../../core/time/clock.ts";
import { QueueError, reasonOf } from "../../core/errors.ts";
import { prepareTcp } from "../../net/keepalive.ts";
import { inTime } from "../../core/time/time_limit.ts";
import { type BeanstalkdReply, BeanstalkdReplyParser } from "./reply.ts";
import { Pipeline } from "../../net/pipeline.ts";

export interface BeanstalkdConnectionOptions {
  readonly address: SocketAddress;
  /** The limit for the connect and the first answer, milliseconds. */
  readonly connectTimeoutMs: number;
  /** How long a TCP connection may be silent, milliseconds; 0 without a limit. */
  readonly keepaliveMs: number;
  /** A longer body of a reserved job is skipped. */
  readonly maxPayloadBytes: number;
}

/** beanstalkd answers at once, or within the time that a command asks it to wait; milliseconds. */
const REPLY_TIMEOUT_MS = 30_000;
/** How long beanstalkd may take to close a connection that we have ended, milliseconds. */
const HANG_UP_TIMEOUT_MS = 2_000;

/** beanstalkd's error replies to valid commands, and what to do. */
const TROUBLE: Readonly<Record<string, string>> = {
  OUT_OF_MEMORY: "it is out of memory; give its machine more, or drain its queues",
  INTERNAL_ERROR: "it had an internal error; see its log",
  DRAINING: "it is in drain mode and accepts no new jobs; restart it, or push to another one",
  BAD_FORMAT: "it does not know the command; it must be version 1.12 or newer",
  UNKNOWN_COMMAND: "it does not know the command; it must be version 1.12 or newer",
  EXPECTED_CRLF: "it did not find the end of a command",
};

/**
 * One socket to beanstalkd.
 *
 * 1. Sends commands without waiting for replies, and resolves each with its reply ({@link Pipeline}).
 * 2. Notices when the other side is not beanstalkd, or does not behave like one. The connection is lost then, and every pending
 *    command rejects with QUEUE_UNAVAILABLE.
 * 3. Remembers the used and the watched tubes.
 */
export class BeanstalkdConnection {
  readonly #clock: Clock;
  readonly #pipeline: Pipeline<BeanstalkdReply>;
  readonly #where: string;
  #used = "default";
  #watched: readonly string[] = ["default"];

  private constructor(socket: Deno.Conn, clock: Clock, options: BeanstalkdConnectionOptions) {
    this.#clock = clock;
    this.#where = `beanstalkd at "${formatAddress(options.address)}"`;
    const parser = new BeanstalkdReplyParser(options.maxPayloadBytes);
    const isKeptAlive = options.address.transport === "tcp" && options.keepaliveMs > 0;
    this.#pipeline = new Pipeline(
      { socket, clock, parser, lossOf: (reason) => this.#unavailable(reason) },
      {
        protocol: "beanstalkd's protocol",
        replyTimeoutMs: REPLY_TIMEOUT_MS,
        keepalive: isKeptAlive ? { everyMs: options.keepaliveMs, ping } : undefined,
      },
    );
  }

  /**
   * Connects, and checks that beanstalkd answers.
   *
   * @throws {QueueError} QUEUE_UNAVAILABLE
   */
  static async open(clock: Clock, options: BeanstalkdConnectionOptions): Promise<BeanstalkdConnection> {
    const { address, connectTimeoutMs } = options;
    const where = `beanstalkd at "${formatAddress(address)}"`;
    let connection: BeanstalkdConnection | undefined;
    const opening = dial(address).then(async (socket) => {
      connection = new BeanstalkdConnection(socket, clock, options);
      await connection.send("list-tube-used", ["USING"]);
      return connection;
    });
    try {
      return await inTime(clock, opening, { ms: connectTimeoutMs, discard: (late) => late.close() });
    } catch (error) {
      connection?.close();
      if (error instanceof QueueError) throw error;
      throw new QueueError("QUEUE_UNAVAILABLE", `Cannot connect to ${where}: ${connectReason(error)}`, {
        cause: error,
      });
    }
  }

  get isLost(): boolean {
    return this.#pipeline.loss !== undefined;
  }

  /** Resolves when the connection is lost. */
  get ended(): Promise<void> {
    return this.#pipeline.ended;
  }

  /**
   * Sends a command.
   *
   * @param command Without the CRLF. With a `body`, the body follows, and the command ends with its length.
   * @param expected The first words of valid replies.
   * @param waitMs How long beanstalkd is asked to wait with its reply.
   * @throws {QueueError} QUEUE_UNAVAILABLE when the connection is lost, or for any other reply
   */
  send(
    command: string,
    expected: readonly string[],
    { body, waitMs = 0 }: { body?: Uint8Array; waitMs?: number } = {},
  ): Promise<BeanstalkdReply> {
    return new Promise((resolve, reject) => {
      const { loss } = this.#pipeline;
      if (loss !== undefined) return reject(loss);
      const write = (out: ByteWriter) => {
        out.text(`${command}\r\n`);
        if (body === undefined) return;
        out.bytes(body);
        out.text("\r\n");
      };
      const told = (reply: BeanstalkdReply) => {
        const trouble = this.#troubleOf(reply, expected);
        if (trouble === undefined) resolve(reply);
        else reject(trouble);
      };
      this.#pipeline.send(write, { resolve: told, reject }, waitMs);
    });
  }

  /** Later commands use this tube. */
  use(tube: string): void {
    if (this.#used === tube) return;
    this.#used = tube;
    this.#mustSucceed(this.send(`use ${tube}`, ["USING"]));
  }

  /** Later reserves take from these tubes, and from no others. */
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
   * Ends a wait: when the connection is half closed, beanstalkd answers a blocked reserve at once and closes. Resolves when it
   * has, and so has put back the jobs reserved here.
   */
  async hangUp(): Promise<void> {
    const timer = this.#clock.setTimer(() => this.close(), HANG_UP_TIMEOUT_MS);
    try {
      await this.#pipeline.closeWrite();
    } catch {
      this.close();
    }
    await this.ended;
    timer.cancel();
  }

  /** Ends the connection after the replies to pending commands. */
  async quit(): Promise<void> {
    if (this.isLost) return;
    const timer = this.#clock.setTimer(() => this.close(), HANG_UP_TIMEOUT_MS);
    this.#pipeline.write((out) => out.text("quit\r\n"));
    await this.ended;
    timer.cancel();
  }

  /** beanstalkd then puts back the jobs reserved here. Idempotent. */
  close(): void {
    this.#pipeline.lose(this.#unavailable("closed by this worker"));
  }

  /**
   * The value of a reply's body.
   *
   * @throws {QueueError} QUEUE_UNAVAILABLE when `reader` throws: the other side is not beanstalkd, and the connection is lost
   */
  read<T>(reply: BeanstalkdReply, reader: (reply: BeanstalkdReply) => T): T {
    try {
      return reader(reply);
    } catch (error) {
      throw this.#pipeline.refuse(reasonOf(error));
    }
  }

  /** With other tubes than its user believes, a connection would do harm. */
  #mustSucceed(reply: Promise<BeanstalkdReply>): void {
    reply.catch((error) => this.#pipeline.lose(error));
  }

  /** The fault of a reply; undefined for an expected one. */
  #troubleOf({ word }: BeanstalkdReply, expected: readonly string[]): Error | undefined {
    if (expected.includes(word)) return undefined;
    const trouble = TROUBLE[word];
    if (trouble !== undefined) return this.#unavailable(trouble);
    return this.#pipeline.refuse(`it says "${word}" instead of "${expected[0]}"`);
  }

  #unavailable(reason: string): QueueError {
    return new QueueError("QUEUE_UNAVAILABLE", `Cannot use ${this.#where}: ${reason}`);
  }
}

async function dial(address: SocketAddress): Promise<Deno.Conn> {
  if (address.transport === "unix") return await Deno.connect({ transport: "unix", path: address.path });
  const socket = await Deno.connect({ hostname: address.hostname, port: address.port });
  prepareTcp(socket);
  return socket;
}

/** beanstalkd leaves this unread while it delays the reply to a reserve. */
function ping(out: ByteWriter): void {
  out.text("list-tube-used\r\n");
}

function connectReason(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "no such socket; is it running?";
  if (error instanceof Deno.errors.ConnectionRefused) return "connection refused; is it running?";
  return reasonOf(error);
}
