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

/** The largest number of connections, including those that wait for the end of the worker. */
export const MAX_CONTROL_CONNECTIONS = 16;
/** How long a request, or the sending of a line of the answer, may take, milliseconds. */
const LINE_LIMIT_MS = 5_000;

export interface ControlServerDeps {
  readonly clock: Clock;
  readonly handlers: ControlHandlers;
  /** Called once when no command can be received, until one can again. */
  readonly onUnavailable: (error: unknown) => void;
}

/**
 * The handler of each command. Each value that it yields is a line of the answer; the connection ends with the last one. A
 * FervoError that it throws is sent to the caller.
 */
export type ControlHandlers = Readonly<
  Record<ControlCommand, (options: { wait: boolean; now: boolean }) => AsyncIterable<object>>
>;

/**
 * Receives commands for a worker, on a socket that only its user and root can use.
 *
 * 1. Answers one request for each connection, several connections at the same time.
 * 2. Replaces the socket of a killed worker, and never that of a live one.
 * 3. Ends in two steps: first no new connections, later the connections that wait for the end of the worker.
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
    // The last folder of the path, if the worker may create it.
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

  /** Receives no more commands, and removes the socket's file; waiting connections stay. Idempotent. */
  leave(): Promise<void> {
    return this.#left ??= this.#remove().then(() => this.#connections.leave());
  }

  /** Ends all connections, too. Idempotent. */
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
    // Somebody only checked whether the socket is in use.
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
 * Undefined without a request.
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
