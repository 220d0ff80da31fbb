import { dirname } from "node:path";
import type { Clock } from "../core/time/clock.ts";
import { FervoError, reasonOf } from "../core/errors.ts";
import { ConnectionEnded, ConnectionServer, type ServedConnection } from "../system/connection_server.ts";
import { makePrivateSocket } from "../system/private_socket.ts";
import {
  type ControlAnswer,
  type ControlCommand,
  type ControlRequest,
  isControlRequest,
  lineBytes,
  MAX_REQUEST_BYTES,
  readLines,
} from "./protocol.ts";

/** The most connections at the same time, those included that wait for the end of the worker. */
export const MAX_CONTROL_CONNECTIONS = 16;
/** How long a request may take to come, and a line of the answer to be taken, milliseconds. */
const LINE_LIMIT_MS = 5_000;

export interface ControlServerDeps {
  readonly clock: Clock;
  readonly handlers: ControlHandlers;
  /** Called when no command can be taken, once until one can again. */
  readonly onUnavailable: (error: unknown) => void;
}

/**
 * What is done for each command. Each thing that it yields is a line of the answer; the connection ends with the last
 * one. A FervoError that it throws is told to whoever asks.
 */
export type ControlHandlers = Readonly<
  Record<ControlCommand, (options: { wait: boolean; now: boolean }) => AsyncIterable<object>>
>;

/**
 * Takes commands for a worker, on a socket that only its user and root can use.
 *
 * 1. Answers each connection's one request, several connections at the same time.
 * 2. Replaces the socket of a worker that was killed, and never that of one that lives.
 * 3. Leaves in two steps: no new connections, and later the end of those that wait for the end of the worker.
 */
export class ControlServer implements AsyncDisposable {
  readonly #connections: ConnectionServer;
  readonly #remove: () => Promise<void>;
  #left: Promise<void> | undefined;

  private constructor(connections: ConnectionServer, remove: () => Promise<void>) {
    this.#connections = connections;
    this.#remove = remove;
  }

  /** @throws {FervoError} LISTEN_FAILED when the socket cannot be made, or another worker has it */
  static async start(path: string, deps: ControlServerDeps): Promise<ControlServer> {
    // The last folder of the path, where the worker may make it.
    await Deno.mkdir(dirname(path), { mode: 0o755 }).catch(() => {});
    try {
      const socket = await makePrivateSocket(path, (own) => Deno.listen({ transport: "unix", path: own }));
      const connections = new ConnectionServer({
        ...deps,
        listener: socket.server,
        serve: (connection) => answer(connection, deps.handlers),
      }, { maxConnections: MAX_CONTROL_CONNECTIONS, idleLimitMs: LINE_LIMIT_MS });
      return new ControlServer(connections, socket.remove);
    } catch (cause) {
      throw new FervoError("LISTEN_FAILED", `Cannot take commands at "${path}": ${adviceFor(cause)}`, {
        cause,
      });
    }
  }

  /** Takes no more commands, and removes the socket's file; those who wait for an answer stay. Idempotent. */
  leave(): Promise<void> {
    return this.#left ??= this.#remove().then(() => this.#connections.leave());
  }

  /** Leaves, and ends all connections. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.leave();
    this.#connections[Symbol.dispose]();
  }
}

async function answer(connection: ServedConnection, handlers: ControlHandlers): Promise<void> {
  const tell = async (line: object) => {
    connection.endsWithin(LINE_LIMIT_MS);
    await connection.write(lineBytes(line));
    connection.endsWithin(undefined);
  };
  try {
    const request = await readRequest(connection);
    // It was somebody who looks whether the socket is in use.
    if (request === undefined) return;
    connection.isIdle = false;
    connection.endsWithin(undefined);
    const { command, wait = false, now = false } = request;
    for await (const line of handlers[command]({ wait, now })) await tell(line);
  } catch (error) {
    if (error instanceof ConnectionEnded) throw error;
    const known = error instanceof FervoError ? error : undefined;
    const line: ControlAnswer = {
      error: {
        code: known?.code ?? "CONTROL_REFUSED",
        message: reasonOf(error),
        ...(known?.details["problems"] !== undefined && { problems: Number(known.details["problems"]) }),
      },
    };
    await tell(line);
  }
}

/**
 * Undefined when nobody says anything.
 *
 * @throws {FervoError} CONTROL_REFUSED
 */
async function readRequest(connection: ServedConnection): Promise<ControlRequest | undefined> {
  for await (const line of readLines(connection, MAX_REQUEST_BYTES)) {
    if (isControlRequest(line)) return line;
    throw new FervoError("CONTROL_REFUSED", "The worker does not know this command; is it an older version?");
  }
  return undefined;
}

function adviceFor(error: unknown): string {
  if (error instanceof Deno.errors.AddrInUse) {
    return "another worker uses this socket. This worker runs, and obeys signals only; give each worker its own socket";
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return "permission denied. The worker runs, and obeys signals only; name a folder that its user can write";
  }
  if (error instanceof Deno.errors.NotFound) {
    return "no such folder. The worker runs, and obeys signals only; create the folder, or name another one";
  }
  return `${reasonOf(error)}. The worker runs, and obeys signals only`;
}
