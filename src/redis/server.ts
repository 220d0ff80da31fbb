import { formatAddress, type SocketAddress } from "../net/address.ts";
import { QueueError } from "../core/errors.ts";
import { readOptionFile, readSecretFile } from "../system/option_file.ts";
import { parseHostPort } from "./address.ts";
import { type ClientTimeouts, type FoundServer, RedisClient } from "./client.ts";
import { unavailableError } from "./errors.ts";
import type { Reply } from "./resp.ts";

/** Credentials, and the safety of the connection. */
export interface RedisAccess {
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** A file with the password, without the final newline; read at each connect. */
  readonly passwordFile: string | undefined;
  readonly isTls: boolean;
  /** A file of certificates to trust beside the system's. */
  readonly caFile: string | undefined;
}

/** How to find the server with our keys. */
export type RedisTarget =
  | { readonly kind: "server"; readonly endpoint: SocketAddress }
  | {
    readonly kind: "sentinel";
    /** The Sentinels' name of the master. */
    readonly master: string;
    readonly sentinels: readonly SocketAddress[];
    /** Of the Sentinels; undefined when they require none. */
    readonly password: string | undefined;
  }
  | {
    readonly kind: "cluster";
    /** Some servers of the cluster; any of them knows where our keys are. */
    readonly nodes: readonly SocketAddress[];
    /** One of our keys; all are in its slot. */
    readonly key: string;
  };

const SENTINEL_PORT = 26_379;

/** Finds the server with our keys: the configured one, or the master by Sentinel or the cluster. */
export class RedisServer {
  /** For messages, before one is found; without secrets. */
  readonly name: string;
  readonly #target: RedisTarget;
  readonly #access: RedisAccess;
  readonly #database: number;

  constructor(target: RedisTarget, access: RedisAccess, database: number) {
    this.#target = target;
    this.#access = access;
    this.#database = database;
    this.name = target.kind === "server"
      ? formatAddress(target.endpoint)
      : (target.kind === "sentinel" ? target.sentinels : target.nodes).map(formatAddress).join(", ");
  }

  /** @throws {QueueError} QUEUE_UNAVAILABLE; the errors of `Deno.readTextFile` */
  async find(timeouts: ClientTimeouts): Promise<FoundServer> {
    const access = await this.#readAccess();
    const target = this.#target;
    const ask = (from: SocketAddress, command: string[], how: Partial<FoundServer>) =>
      askOnce({ ...access, ...how, endpoint: from, database: undefined }, command, timeouts);
    switch (target.kind) {
      case "server":
        return { ...access, endpoint: target.endpoint, database: this.#database };
      case "sentinel": {
        const { master, sentinels, password } = target;
        const endpoint = await firstAnswer<SocketAddress>(sentinels, async (sentinel) => {
          const command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", master];
          const reply = await ask(sentinel, command, { username: undefined, password });
          if (Array.isArray(reply)) {
            return { transport: "tcp", hostname: String(reply[0]), port: Number(reply[1]) };
          }
          throw new QueueError(
            "QUEUE_UNAVAILABLE",
            `The Sentinel at "${formatAddress(sentinel)}" does not know the master "${master}"`,
          );
        });
        return { ...access, endpoint, database: this.#database };
      }
      case "cluster": {
        const slot = slotOf(target.key);
        const endpoint = await firstAnswer(target.nodes, async (node) => {
          const reply = await ask(node, ["CLUSTER", "SLOTS"], {});
          return masterOfSlot(reply, slot, node);
        });
        return { ...access, endpoint, database: undefined };
      }
    }
  }

  async #readAccess(): Promise<Omit<FoundServer, "endpoint" | "database">> {
    const { username, password, passwordFile, isTls, caFile } = this.#access;
    return {
      username,
      password: passwordFile === undefined ? password : await readSecretFile("password_file", passwordFile),
      tls: isTls ? caFile === undefined ? {} : { ca: await readOptionFile("ca_file", caFile) } : undefined,
    };
  }
}

/** The slot of a key in a cluster: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ */
export function slotOf(key: string): number {
  const open = key.indexOf("{");
  const close = key.indexOf("}", open + 1);
  const hashed = open >= 0 && close > open + 1 ? key.slice(open + 1, close) : key;
  let crc = 0;
  for (const byte of new TextEncoder().encode(hashed)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000) !== 0 ? (crc << 1) ^ 0x1021 : crc << 1;
    crc &= 0xffff;
  }
  return crc % 16_384;
}

/** Whether keys that begin with `prefix` are all in one slot. */
export function hasHashTag(prefix: string): boolean {
  return /^[^{]*\{[^}]+\}/.test(prefix);
}

/** Calls one after another until one succeeds; rejects with the last failure. */
async function firstAnswer<T>(
  from: readonly SocketAddress[],
  ask: (one: SocketAddress) => Promise<T>,
): Promise<T> {
  let failure: unknown;
  for (const one of from) {
    try {
      return await ask(one);
    } catch (error) {
      failure = unavailableError(formatAddress(one), error);
    }
  }
  throw failure;
}

/** One command on its own connection. */
async function askOnce(
  server: FoundServer,
  command: string[],
  timeouts: ClientTimeouts,
): Promise<Reply> {
  const { client, reply } = await RedisClient.connect(server, command, timeouts);
  client.destroy(new Error("closed by this worker"));
  return reply;
}

/** From `CLUSTER SLOTS`: rows of first slot, last slot, and servers, the master first. */
function masterOfSlot(reply: unknown, slot: number, asked: SocketAddress): SocketAddress {
  for (const row of Array.isArray(reply) ? reply : []) {
    const [first, last, master] = row as [number, number, [unknown, unknown]];
    if (slot < first || slot > last) continue;
    // A server that does not know its own name leaves it out: it is the one that was asked.
    const host = String(master[0] ?? "");
    return {
      transport: "tcp",
      hostname: host === "" && asked.transport === "tcp" ? asked.hostname : host,
      port: Number(master[1]),
    };
  }
  throw new QueueError("QUEUE_UNAVAILABLE", `The cluster has no server for the slot ${slot} of our keys`);
}

export function parseSentinel(text: string): SocketAddress {
  return parseHostPort(text, SENTINEL_PORT);
}
