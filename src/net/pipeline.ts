import { setImmediate } from "node:timers";
import { ByteWriter } from "../core/text/bytes.ts";
import type { Clock, Timer } from "../core/time/clock.ts";
import { reasonOf } from "../core/errors.ts";
import { Keepalive } from "./keepalive.ts";

/** Waits for the reply to a command. */
export interface Caller<Reply> {
  resolve(reply: Reply): void;
  reject(error: unknown): void;
}

export interface PipelineDeps<Reply> {
  readonly socket: Deno.Conn;
  /** Measures silence. */
  readonly clock: Clock;
  /** Cuts the stream into replies; throws at a violation of the protocol. */
  readonly parser: { push(bytes: Uint8Array): Reply[] };
  /** Makes the error of all pending commands from the reason of the loss. */
  readonly lossOf: (reason: string) => Error;
}

export interface PipelineOptions {
  /** Its name in a sentence. */
  readonly protocol: string;
  /** How long a reply may take beyond the requested wait, milliseconds. */
  readonly replyTimeoutMs: number;
  /** Sends a command without effect after this time without traffic; undefined for never. */
  readonly keepalive?: { readonly everyMs: number; readonly ping: (out: ByteWriter) => void } | undefined;
}

const READ_BUFFER_BYTES = 65_536;
/** A shorter write proves nothing about the other side: it fits a buffer on this side. */
const BUFFERED_BYTES = 65_536;
/** The caller of a ping: only the arrival of the reply matters. */
const NOBODY: Caller<unknown> = { resolve() {}, reject() {} };

/**
 * A socket to a server that answers commands in order.
 *
 * 1. Sends commands without waiting for replies; all commands of one turn of the event loop share one write.
 * 2. Gives each command its reply.
 * 3. Notices when the other side is gone, silent for too long, or violates the protocol. The pipeline is lost then, and rejects
 *    all pending commands.
 * 4. Is never silent for long, so that no firewall forgets the connection, and a loss is noticed without commands.
 */
export class Pipeline<Reply> {
  readonly #socket: Deno.Conn;
  readonly #clock: Clock;
  readonly #parser: PipelineDeps<Reply>["parser"];
  readonly #lossOf: (reason: string) => Error;
  readonly #protocol: string;
  readonly #replyTimeoutMs: number;
  readonly #callers: Caller<Reply>[] = [];
  readonly #ended = Promise.withResolvers<void>();
  readonly #out = new ByteWriter();
  /** A write is running, or begins at the end of this turn. */
  #isWriting = false;
  #keepalive: Keepalive | undefined;
  #loss: Error | undefined;
  #silenceTimer: Timer | undefined;
  #heardMs = 0;
  #patienceMs = 0;

  constructor(deps: PipelineDeps<Reply>, options: PipelineOptions) {
    this.#socket = deps.socket;
    this.#clock = deps.clock;
    this.#parser = deps.parser;
    this.#lossOf = deps.lossOf;
    this.#protocol = options.protocol;
    this.#replyTimeoutMs = options.replyTimeoutMs;
    const { keepalive } = options;
    if (keepalive !== undefined) {
      const ping = () => this.send(keepalive.ping, NOBODY, this.#callers.length > 0 ? this.#patienceMs : 0);
      this.#keepalive = new Keepalive(deps.clock, keepalive.everyMs, ping);
    }
    void this.#readAll();
  }

  /** Why it is lost; undefined while it works. */
  get loss(): Error | undefined {
    return this.#loss;
  }

  /** Resolves when it is lost. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /**
   * Sends a command. Not after the loss.
   *
   * @param write Adds the command's bytes.
   * @param waitMs How long the server is asked to wait with its reply.
   */
  send(write: (out: ByteWriter) => void, caller: Caller<Reply>, waitMs = 0): void {
    if (this.#callers.length === 0) this.#heardMs = this.#clock.monotonicMs();
    this.#callers.push(caller);
    this.#patienceMs = waitMs;
    this.#silenceTimer ??= this.#listenFor(this.#replyTimeoutMs + waitMs);
    this.write(write);
  }

  /** Sends bytes without a reply. */
  write(write: (out: ByteWriter) => void): void {
    write(this.#out);
    this.#keepalive?.note();
    if (this.#isWriting) return;
    this.#isWriting = true;
    setImmediate(() => void this.#writeAll());
  }

  /** Ends the writing side. */
  async closeWrite(): Promise<void> {
    await this.#socket.closeWrite();
  }

  /** The only place where it ends: all pending commands reject with `loss`. Idempotent. */
  lose(loss: Error): void {
    if (this.#loss !== undefined) return;
    this.#loss = loss;
    this.#silenceTimer?.cancel();
    this.#keepalive?.stop();
    this.#socket.close();
    for (const caller of this.#callers.splice(0)) caller.reject(loss);
    this.#ended.resolve();
  }

  /** Ends it, because the other side violated the protocol; returns the error. */
  refuse(reason: string): Error {
    const loss = this.#lossOf(`it does not speak ${this.#protocol}: ${reason}`);
    this.lose(loss);
    return loss;
  }

  #listenFor(ms: number): Timer {
    return this.#clock.setTimer(() => {
      this.#silenceTimer = undefined;
      if (this.#callers.length === 0) return;
      const allowedMs = this.#replyTimeoutMs + this.#patienceMs;
      const leftMs = this.#heardMs + allowedMs - this.#clock.monotonicMs();
      if (leftMs > 0) this.#silenceTimer = this.#listenFor(leftMs);
      else this.lose(this.#lossOf(`no answer in ${allowedMs} ms`));
    }, ms);
  }

  async #readAll(): Promise<void> {
    const buffer = new Uint8Array(READ_BUFFER_BYTES);
    try {
      for (;;) {
        const length = await this.#socket.read(buffer);
        if (length === null) return this.lose(this.#lossOf("it closed the connection"));
        this.#heardMs = this.#clock.monotonicMs();
        this.#keepalive?.note();
        this.#answer(buffer.subarray(0, length));
      }
    } catch (error) {
      this.lose(this.#lossOf(reasonOf(error)));
    }
  }

  #answer(bytes: Uint8Array): void {
    try {
      for (const reply of this.#parser.push(bytes)) {
        const caller = this.#callers.shift();
        if (caller === undefined) throw new Error("it sent a reply to no command");
        caller.resolve(reply);
      }
    } catch (error) {
      this.refuse(reasonOf(error));
    }
  }

  /** Writes until nothing is left. */
  async #writeAll(): Promise<void> {
    try {
      while (this.#out.length > 0 && this.#loss === undefined) {
        const bytes = this.#out.take();
        for (let at = 0; at < bytes.length;) {
          at += await this.#socket.write(bytes.subarray(at));
          // The other side takes the bytes, however many there are.
          if (bytes.length > BUFFERED_BYTES) this.#heardMs = this.#clock.monotonicMs();
        }
      }
    } catch (error) {
      this.lose(this.#lossOf(reasonOf(error)));
    }
    this.#isWriting = false;
  }
}
