import { systemClock } from "../core/time/clock.ts";
import type { SocketAddress } from "../net/address.ts";
import { prepareTcp } from "../net/keepalive.ts";
import { inTime } from "../core/time/time_limit.ts";
import { Pipeline } from "../net/pipeline.ts";
import { type Argument, RedisRefusal, type Reply, ReplyParser, writeCommand } from "./resp.ts";

export interface ClientTimeouts {
  readonly connectTimeoutMs: number;
  /** A server counts as hung when a command takes longer, milliseconds. */
  readonly commandTimeoutMs: number;
  /** How long a TCP connection may be silent, milliseconds; 0 without a limit. */
  readonly keepaliveMs: number;
}

/** A server and its credentials. */
export interface FoundServer {
  readonly endpoint: SocketAddress;
  readonly tls: { readonly ca?: string } | undefined;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly database: number | undefined;
}

/**
 * One socket to a Redis server, logged in; a lost one stays lost.
 *
 * It uses the machine's own time: an injected clock moves jobs' times, but not the server's.
 */
export class RedisClient {
  readonly #pipeline: Pipeline<Reply | RedisRefusal>;

  private constructor(
    socket: Deno.Conn,
    { transport }: FoundServer["endpoint"],
    { commandTimeoutMs, keepaliveMs }: ClientTimeouts,
  ) {
    const isKeptAlive = transport === "tcp" && keepaliveMs > 0;
    this.#pipeline = new Pipeline(
      { socket, clock: systemClock, parser: new ReplyParser(), lossOf: (reason) => new Error(reason) },
      {
        protocol: "Redis's protocol",
        replyTimeoutMs: commandTimeoutMs,
        keepalive: isKeptAlive
          ? { everyMs: keepaliveMs, ping: (out) => writeCommand(out, ["PING"]) }
          : undefined,
      },
    );
  }

  /**
   * Connects, logs in and sends a first command, all within `connectTimeoutMs`.
   *
   * @param signal Gives up with its reason.
   * @throws {Error} of the system; {@link RedisRefusal}
   */
  static async connect(
    server: FoundServer,
    first: readonly Argument[],
    timeouts: ClientTimeouts,
    signal?: AbortSignal,
  ): Promise<{ client: RedisClient; reply: Reply }> {
    let client: RedisClient | undefined;
    const opening = dial(server).then(async (socket) => {
      client = new RedisClient(socket, server.endpoint, timeouts);
      return { client, reply: await client.#greet(server, first) };
    });
    const unwanted = new Error("closed by this worker");
    try {
      return await inTime(systemClock, opening, {
        ms: timeouts.connectTimeoutMs,
        signal,
        discard: (late) => late.client.destroy(unwanted),
      });
    } catch (error) {
      client?.destroy(unwanted);
      throw error;
    }
  }

  get isLost(): boolean {
    return this.#pipeline.loss !== undefined;
  }

  /** @throws {Error} when the connection is lost; {@link RedisRefusal} */
  send(args: readonly Argument[]): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const { loss } = this.#pipeline;
      if (loss !== undefined) return reject(loss);
      this.#pipeline.send((out) => writeCommand(out, args), {
        resolve: (reply) => reply instanceof RedisRefusal ? reject(reply) : resolve(reply),
        reject,
      });
    });
  }

  /** Ends the connection; pending commands reject with `reason`. Idempotent. */
  destroy(reason: Error): void {
    this.#pipeline.lose(reason);
  }

  /** All commands are sent at once; of several refusals the first one is the cause. */
  async #greet(
    { username, password, database }: FoundServer,
    first: readonly Argument[],
  ): Promise<Reply> {
    const commands: (readonly Argument[])[] = [];
    if (password !== undefined) {
      commands.push(["AUTH", ...(username === undefined ? [] : [username]), password]);
    }
    if (database !== undefined && database !== 0) commands.push(["SELECT", String(database)]);
    const results = await Promise.allSettled([...commands, first].map((command) => this.send(command)));
    let reply: Reply = null;
    for (const result of results) {
      if (result.status === "rejected") throw result.reason;
      reply = result.value;
    }
    return reply;
  }
}

async function dial({ endpoint, tls }: FoundServer): Promise<Deno.Conn> {
  if (endpoint.transport === "unix") return await Deno.connect({ transport: "unix", path: endpoint.path });
  const { hostname, port } = endpoint;
  const plain = await Deno.connect({ hostname, port });
  // Before TLS, because a TLS connection of the runtime has no such settings.
  prepareTcp(plain);
  if (tls === undefined) return plain;
  const socket = await Deno.startTls(plain, {
    hostname,
    ...(tls.ca !== undefined && { caCerts: [tls.ca] }),
  });
  try {
    await socket.handshake();
    return socket;
  } catch (error) {
    socket.close();
    throw error;
  }
}
