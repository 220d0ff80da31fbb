/** @redis/client, in a module of its own: it takes long to load, so only a broker that is used loads it. */
import { Buffer } from "node:buffer";
import { createClient } from "@redis/client";
import type { FoundServer } from "./redis_server.ts";

/** Any options of a client give the same commands. */
export type RedisClient = ReturnType<typeof createClient>;

export interface ClientTimeouts {
  readonly connectTimeoutMs: number;
  /** How long a command may take until the server counts as hung, milliseconds. */
  readonly commandTimeoutMs: number;
}

/** RESP's "$": bulk strings, which are to come as bytes. */
const BLOB_STRING = 36;

/** A client that connects once, when it is told to, and gives up when that fails or ends. */
export function newClient(
  { endpoint, tls, username, password, database }: FoundServer,
  { connectTimeoutMs, commandTimeoutMs }: ClientTimeouts,
): RedisClient {
  const limits = {
    connectTimeout: connectTimeoutMs,
    socketTimeout: commandTimeoutMs,
    reconnectStrategy: false as const,
  };
  return createClient(
    {
      RESP: 2,
      socket: endpoint.kind === "unix"
        ? { path: endpoint.path, ...limits }
        : tls === undefined
        ? { host: endpoint.host, port: endpoint.port, ...limits }
        : { host: endpoint.host, port: endpoint.port, tls: true, ...tls, ...limits },
      // Keeps a connection that nobody uses from being taken for a hung one.
      pingInterval: commandTimeoutMs / 3,
      // With a limit for each command, sending takes three times as long.
      commandOptions: { timeout: 0, typeMapping: { [BLOB_STRING]: Buffer } },
      disableOfflineQueue: true,
      disableClientInfo: true,
      maintNotifications: "disabled",
      ...(username !== undefined && { username }),
      ...(password !== undefined && { password }),
      ...(database !== undefined && { database }),
    } as Parameters<typeof createClient>[0],
  );
}
