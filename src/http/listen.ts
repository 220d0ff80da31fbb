import { formatAddress, type SocketAddress } from "../net/address.ts";
import type { Clock } from "../core/time/clock.ts";
import { FervoError, reasonOf } from "../core/errors.ts";
import { ConnectionServer, type ServedConnection } from "../system/connection_server.ts";
import { makePrivateSocket, type PrivateSocket } from "../system/private_socket.ts";
import { BadRequest, readHead, type RequestHead, responseBytes } from "./http1.ts";

/** Answers a request. */
export type Handler = (request: RequestHead) => Response | Promise<Response>;

/** The largest number of connections: scrapers and probes are few and quick. */
export const MAX_HTTP_CONNECTIONS = 64;
/** How long a request may take to arrive, milliseconds. */
const REQUEST_LIMIT_MS = 5_000;
/** How long its answer may take, milliseconds. */
const ANSWER_LIMIT_MS = 10_000;
/** How long the other side may take to close after that, milliseconds. */
const CLOSE_LIMIT_MS = 1_000;

export interface ListenDeps {
  readonly clock: Clock;
  readonly handler: Handler;
  /** Called once when nobody can connect, until somebody can again. */
  readonly onUnavailable: (error: unknown) => void;
}

/** A server that listens. */
export interface Listening {
  /** Ends it at once, with all connections. Never rejects. */
  close(): Promise<void>;
}

/**
 * Listens, and gives each request to `handler`. A socket's file is open to its owner only (mode 0600); the socket of a killed
 * worker is replaced.
 *
 * @throws {FervoError} LISTEN_FAILED when the address cannot be used
 */
export async function listen(address: SocketAddress, deps: ListenDeps): Promise<Listening> {
  const { server, remove } = await open(address);
  const connections = new ConnectionServer({
    ...deps,
    listener: server,
    serve: (connection) => answerOne(connection, deps),
  }, { maxConnections: MAX_HTTP_CONNECTIONS, idleLimitMs: REQUEST_LIMIT_MS });
  return {
    close: async () => {
      connections[Symbol.dispose]();
      await remove?.();
    },
  };
}

async function open(
  address: SocketAddress,
): Promise<{ server: Deno.Listener } & Partial<PrivateSocket<unknown>>> {
  try {
    if (address.transport === "unix") {
      return await makePrivateSocket(address.path, (path) => Deno.listen({ transport: "unix", path }));
    }
    const { hostname, port } = address;
    return { server: Deno.listen({ hostname, port }) };
  } catch (cause) {
    throw new FervoError(
      "LISTEN_FAILED",
      `Cannot listen at "${formatAddress(address)}" ([http]): ${adviceFor(cause)}`,
      { cause },
    );
  }
}

async function answerOne(connection: ServedConnection, { clock, handler }: ListenDeps): Promise<void> {
  const head = await readHead(connection).catch((error) => {
    if (error instanceof BadRequest) return error;
    throw error;
  });
  if (head === undefined) return;
  connection.isIdle = false;
  connection.endsWithin(ANSWER_LIMIT_MS);
  const response = head instanceof BadRequest
    ? new Response(`${head.message}\n`, { status: head.status })
    : await respond(handler, head);
  const isHead = !(head instanceof BadRequest) && head.method === "HEAD";
  await connection.write(await responseBytes(response, { isHead, nowMs: clock.nowMs() }));
  await connection.closeWrite();
  connection.isIdle = true;
  connection.endsWithin(CLOSE_LIMIT_MS);
  // To close with unread bytes would reset the connection, and a slow reader would lose the answer.
  const rest = new Uint8Array(4_096);
  while (await connection.read(rest) !== null);
}

async function respond(handler: Handler, head: RequestHead): Promise<Response> {
  try {
    return await handler(head);
  } catch {
    // The error may have private details.
    return new Response("internal error\n", { status: 500 });
  }
}

function adviceFor(error: unknown): string {
  if (error instanceof Deno.errors.AddrInUse) {
    return "it is in use; is another worker running with this configuration? Give each its own address";
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return "permission denied; use a port above 1023, or a folder that the worker's user may write";
  }
  if (error instanceof Deno.errors.NotFound) return "no such folder; make it, or correct the path";
  return reasonOf(error);
}
