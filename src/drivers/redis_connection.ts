import type { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { type Clock, sleep } from "../core/clock.ts";
import { QueueError } from "../core/errors.ts";
import { formatEndpoint } from "./redis_address.ts";
import type { ClientTimeouts, RedisClient } from "./redis_client.ts";
import { answerCode, isFromWrongServer, unavailableError } from "./redis_errors.ts";
import type { RedisKeys } from "./redis_keys.ts";
import type { RedisServer } from "./redis_server.ts";

/** What Redis answers; texts come as their bytes. */
export type Reply = Buffer | number | null | Reply[];

export type Argument = string | Buffer;

/** A Lua script: Redis keeps it by its SHA-1, and is sent the text where it does not know it. */
export class Script {
  readonly text: string;
  readonly sha1: string;

  constructor(text: string) {
    this.text = text.trim();
    this.sha1 = createHash("sha1").update(this.text).digest("hex");
  }
}

/** Pauses between attempts to connect, milliseconds: the first, and the longest. Each is up to a half shorter. */
const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 2_000;

/**
 * One connection to the Redis server that has our keys.
 *
 * 1. Connects when it is first used, and anew, for ever, when it was lost; pauses grow while that fails.
 * 2. Looks for the server anew each time, so that it follows a failover.
 * 3. Sends all commands of one turn of the event loop together. A command that was under way when the connection broke
 *    is rejected and not sent again: nobody knows whether it was done.
 * 4. Tells what is wrong in words that an operator can use.
 */
export class RedisConnection {
  readonly #server: RedisServer;
  readonly #keys: RedisKeys;
  readonly #clock: Clock;
  readonly #options: ClientTimeouts;
  readonly #closing = new AbortController();
  #client: RedisClient | undefined;
  #opening: Promise<RedisClient> | undefined;
  /** Why connections were ended from here. */
  readonly #reasons = new WeakMap<RedisClient, unknown>();
  #clientId = 0;
  #failures = 0;
  #where: string;

  constructor(deps: { server: RedisServer; keys: RedisKeys; clock: Clock }, options: ClientTimeouts) {
    this.#server = deps.server;
    this.#keys = deps.keys;
    this.#clock = deps.clock;
    this.#options = options;
    this.#where = deps.server.name;
  }

  /** @throws {QueueError} QUEUE_UNAVAILABLE */
  async send<T extends Reply = Reply>(args: readonly Argument[], keys: readonly string[] = []): Promise<T> {
    const client = this.#client ?? await this.#open();
    try {
      return await client.sendCommand(args as Argument[]) as T;
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
    const client = this.#client ?? await this.#open();
    const rest = [String(keys.length), ...keys, ...args];
    try {
      try {
        return await client.sendCommand(["EVALSHA", script.sha1, ...rest]) as T;
      } catch (error) {
        if (answerCode(error) !== "NOSCRIPT") throw error;
        return await client.sendCommand(["EVAL", script.text, ...rest]) as T;
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
    if (this.#client === undefined) await this.#open();
  }

  /** The number by which Redis knows this connection; undefined while it is not connected. */
  get clientId(): number | undefined {
    return this.#client === undefined ? undefined : this.#clientId;
  }

  /** Ends the connection; what is under way is rejected, and the next use connects anew. */
  drop(): void {
    const client = this.#client;
    this.#client = undefined;
    if (client !== undefined) destroy(client);
  }

  /** Ends the connection for good. Idempotent. */
  close(): void {
    this.#closing.abort();
    this.drop();
  }

  #open(): Promise<RedisClient> {
    return this.#opening ??= this.#tryOpen().finally(() => this.#opening = undefined);
  }

  async #tryOpen(): Promise<RedisClient> {
    if (this.#failures > 0) {
      const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** (this.#failures - 1), MAX_PAUSE_MS);
      await sleep(this.#clock, pauseMs * (0.5 + 0.5 * Math.random()), this.#closing.signal);
    }
    if (this.#closing.signal.aborted) throw this.#closed();
    try {
      const client = await this.#connect();
      if (this.#closing.signal.aborted) {
        destroy(client);
        throw this.#closed();
      }
      this.#failures = 0;
      return this.#client = client;
    } catch (error) {
      this.#failures++;
      throw unavailableError(this.#where, error);
    }
  }

  async #connect(): Promise<RedisClient> {
    const { connectTimeoutMs } = this.#options;
    const { newClient } = await import("./redis_client.ts");
    const found = await this.#server.find(newClient, connectTimeoutMs);
    this.#where = formatEndpoint(found.endpoint);
    const client = newClient(found, this.#options);
    // What fails is told by the commands that fail.
    client.on("error", () => this.#forget(client));
    const limit = Promise.withResolvers<never>();
    const late = () => limit.reject(new Error(`no answer in ${connectTimeoutMs} ms`));
    const timer = setTimeout(late, connectTimeoutMs);
    const end = () => limit.reject(this.#closed());
    this.#closing.signal.addEventListener("abort", end);
    try {
      const greeting = client.connect().then(() => client.sendCommand(["CLIENT", "ID"]));
      greeting.catch(() => {});
      this.#clientId = Number(await Promise.race([greeting, limit.promise]));
      return client;
    } catch (error) {
      destroy(client);
      throw error;
    } finally {
      clearTimeout(timer);
      this.#closing.signal.removeEventListener("abort", end);
    }
  }

  #forget(client: RedisClient): void {
    if (this.#client === client) this.#client = undefined;
  }

  async #explain(client: RedisClient, error: unknown, keys: readonly string[]): Promise<unknown> {
    if (this.#closing.signal.aborted) return this.#closed();
    // Others that were under way are rejected by the end of the connection, which was for this reason.
    const cause = answerCode(error) === undefined ? this.#reasons.get(client) ?? error : error;
    if (isFromWrongServer(cause)) {
      this.#reasons.set(client, cause);
      this.#forget(client);
      destroy(client);
    }
    const key = answerCode(cause) === "WRONGTYPE" ? await this.#strangeKey(client, keys) : undefined;
    return unavailableError(this.#where, cause, key);
  }

  /** The key that is not of its type. */
  async #strangeKey(client: RedisClient, keys: readonly string[]): Promise<string | undefined> {
    for (const key of keys) {
      const type = String(await client.sendCommand(["TYPE", key]).catch(() => "none"));
      if (type !== "none" && type !== this.#keys.typeOf(key)) return key;
    }
    return undefined;
  }

  #closed(): QueueError {
    return new QueueError("QUEUE_UNAVAILABLE", `Cannot use Redis at "${this.#where}": the driver is closed`);
  }
}

/** A client that is closed already throws. */
function destroy(client: RedisClient): void {
  if (client.isOpen) client.destroy();
}
