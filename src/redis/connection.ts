import { createHash } from "node:crypto";
import { formatAddress } from "../net/address.ts";
import { Backoff } from "../core/time/backoff.ts";
import { type Clock, sleep } from "../core/time/clock.ts";
import { QueueError } from "../core/errors.ts";
import { type ClientTimeouts, RedisClient } from "./client.ts";
import { answerCode, isFromWrongServer, unavailableError } from "./errors.ts";
import type { Argument, Reply } from "./resp.ts";
import type { RedisServer } from "./server.ts";

/** A Lua script: Redis identifies it by its SHA-1, and gets the text only if it does not know it. */
export class Script {
  readonly text: string;
  readonly sha1: string;

  constructor(text: string) {
    this.text = text.trim();
    this.sha1 = createHash("sha1").update(this.text).digest("hex");
  }
}

/** The required type of each key, by its name. */
interface KeyTypes {
  typeOf(key: string): string;
}

/** The longest pause between attempts to connect, milliseconds. */
const LONGEST_PAUSE_MS = 500;

/**
 * One connection to the Redis server with our keys.
 *
 * 1. Connects at the first use, and again after each loss, without giving up; pauses grow while that fails.
 * 2. Finds the server again each time, so that it follows a failover.
 * 3. Sends all commands of one turn of the event loop together. A command without an answer is rejected when the connection
 *    breaks, and not sent again: it may have been done.
 * 4. Reports failures in words for an operator.
 */
export class RedisConnection {
  readonly #server: RedisServer;
  readonly #keys: KeyTypes;
  readonly #clock: Clock;
  readonly #options: ClientTimeouts;
  readonly #closing = new AbortController();
  #client: RedisClient | undefined;
  #opening: Promise<RedisClient> | undefined;
  #clientId = 0;
  readonly #backoff = new Backoff({ random: Math.random }, { maxMs: LONGEST_PAUSE_MS });
  /** The pause before the next connect, milliseconds. */
  #pauseMs = 0;
  #where: string;

  constructor(deps: { server: RedisServer; keys: KeyTypes; clock: Clock }, options: ClientTimeouts) {
    this.#server = deps.server;
    this.#keys = deps.keys;
    this.#clock = deps.clock;
    this.#options = options;
    this.#where = deps.server.name;
  }

  /** @throws {QueueError} QUEUE_UNAVAILABLE */
  async send<T extends Reply = Reply>(args: readonly Argument[], keys: readonly string[] = []): Promise<T> {
    const client = this.#usable ?? await this.#open();
    try {
      return await client.send(args) as T;
    } catch (error) {
      throw await this.#explain(client, error, keys);
    }
  }

  /**
   * Runs a script. Its first run on a server sends the text.
   *
   * @throws {QueueError} QUEUE_UNAVAILABLE
   */
  async run<T extends Reply = Reply>(
    script: Script,
    keys: readonly string[],
    args: readonly Argument[],
  ): Promise<T> {
    const client = this.#usable ?? await this.#open();
    const rest = [String(keys.length), ...keys, ...args];
    try {
      try {
        return await client.send(["EVALSHA", script.sha1, ...rest]) as T;
      } catch (error) {
        if (answerCode(error) !== "NOSCRIPT") throw error;
        return await client.send(["EVAL", script.text, ...rest]) as T;
      }
    } catch (error) {
      throw await this.#explain(client, error, keys);
    }
  }

  /**
   * Connects, unless it is connected.
   *
   * @throws {QueueError} QUEUE_UNAVAILABLE
   */
  async open(): Promise<void> {
    if (this.#usable === undefined) await this.#open();
  }

  /** Redis's number of this connection; undefined while it is not connected. */
  get clientId(): number | undefined {
    return this.#usable === undefined ? undefined : this.#clientId;
  }

  /** Ends the connection; pending commands reject, and the next use connects again. */
  drop(): void {
    this.#client?.destroy(new Error("closed by this worker"));
  }

  /** Ends the connection for good. Idempotent. */
  close(): void {
    this.#closing.abort();
    this.drop();
  }

  get #usable(): RedisClient | undefined {
    return this.#client?.isLost === false ? this.#client : undefined;
  }

  #open(): Promise<RedisClient> {
    return this.#opening ??= this.#tryOpen().finally(() => this.#opening = undefined);
  }

  async #tryOpen(): Promise<RedisClient> {
    if (this.#pauseMs > 0) await sleep(this.#clock, this.#pauseMs, this.#closing.signal);
    const { signal } = this.#closing;
    if (signal.aborted) throw this.#closed();
    try {
      const found = await this.#server.find(this.#options);
      this.#where = formatAddress(found.endpoint);
      const first = ["CLIENT", "ID"];
      const { client, reply } = await RedisClient.connect(found, first, this.#options, signal);
      this.#client = client;
      this.#clientId = Number(reply);
      this.#backoff.reset();
      this.#pauseMs = 0;
      // It was closed at that moment.
      if (signal.aborted) this.drop();
      return client;
    } catch (error) {
      if (signal.aborted) throw this.#closed();
      this.#pauseMs = this.#backoff.nextMs();
      throw unavailableError(this.#where, error);
    }
  }

  async #explain(client: RedisClient, error: unknown, keys: readonly string[]): Promise<unknown> {
    if (this.#closing.signal.aborted) return this.#closed();
    // Other pending commands reject for the same reason.
    if (isFromWrongServer(error)) client.destroy(error as Error);
    const key = answerCode(error) === "WRONGTYPE" ? await this.#foreignKey(client, keys) : undefined;
    return unavailableError(this.#where, error, key);
  }

  /** The key with a wrong type. */
  async #foreignKey(client: RedisClient, keys: readonly string[]): Promise<string | undefined> {
    for (const key of keys) {
      const type = String(await client.send(["TYPE", key]).catch(() => "none"));
      if (type !== "none" && type !== this.#keys.typeOf(key)) return key;
    }
    return undefined;
  }

  #closed(): QueueError {
    return new QueueError(
      "QUEUE_UNAVAILABLE",
      `Cannot use Redis at "${this.#where}": this worker has closed it`,
    );
  }
}
