import { dirname } from "node:path";
import { FervoError, reasonOf } from "../core/errors.ts";
import { makePrivateSocket } from "../system/private_socket.ts";
import {
  type ControlAnswer,
  type ControlCommand,
  isControlRequest,
  readLines,
  writeLine,
} from "./protocol.ts";

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
 * 1. Answers each connection's one request, any number of connections at the same time.
 * 2. Replaces the socket of a worker that was killed, and never that of one that lives.
 * 3. Leaves in two steps: no new connections, and later the end of those that wait for the end of the worker.
 */
export class ControlServer implements AsyncDisposable {
  readonly #listener: Deno.Listener;
  readonly #handlers: ControlHandlers;
  readonly #remove: () => Promise<void>;
  readonly #connections = new Set<Deno.Conn>();
  #isLeaving = false;

  private constructor(listener: Deno.Listener, remove: () => Promise<void>, handlers: ControlHandlers) {
    this.#listener = listener;
    this.#remove = remove;
    this.#handlers = handlers;
    void this.#accept();
  }

  /** @throws {FervoError} CONFIG_INVALID when the socket cannot be made, or another worker has it */
  static async start(path: string, handlers: ControlHandlers): Promise<ControlServer> {
    // The last folder of the path, where the worker may make it.
    await Deno.mkdir(dirname(path), { mode: 0o755 }).catch(() => {});
    try {
      const socket = await makePrivateSocket(path, (own) => Deno.listen({ transport: "unix", path: own }));
      return new ControlServer(socket.server, socket.remove, handlers);
    } catch (cause) {
      throw new FervoError("CONFIG_INVALID", `Cannot take commands at "${path}": ${adviceFor(cause)}`, {
        cause,
      });
    }
  }

  /** Takes no more commands, and removes the socket's file; those who wait for an answer stay. Idempotent. */
  async leave(): Promise<void> {
    if (this.#isLeaving) return;
    this.#isLeaving = true;
    await this.#remove();
    this.#listener.close();
  }

  /** Leaves, and ends all connections. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.leave();
    for (const connection of this.#connections) connection.close();
    this.#connections.clear();
  }

  async #accept(): Promise<void> {
    while (!this.#isLeaving) {
      try {
        void this.#answer(await this.#listener.accept());
      } catch (error) {
        // Out of file descriptors, as a rule; or it has left.
        if (!this.#isLeaving && !(error instanceof Deno.errors.BadResource)) {
          await new Promise((resolve) => setTimeout(resolve, ACCEPT_PAUSE_MS));
        }
      }
    }
  }

  /** Never rejects. */
  async #answer(connection: Deno.Conn): Promise<void> {
    this.#connections.add(connection);
    try {
      // Without a request it was somebody who looks whether the socket is in use.
      for await (const request of readLines(connection)) {
        await this.#handle(connection, request);
        break;
      }
    } catch {
      // Whoever asked has gone.
    }
    if (this.#connections.delete(connection)) connection.close();
  }

  async #handle(connection: Deno.Conn, request: unknown): Promise<void> {
    try {
      if (!isControlRequest(request)) {
        throw new FervoError("CONTROL_REFUSED", "The worker does not know this command; is it an older one?");
      }
      const { command, wait = false, now = false } = request;
      for await (const answer of this.#handlers[command]({ wait, now })) await writeLine(connection, answer);
    } catch (error) {
      const known = error instanceof FervoError ? error : undefined;
      const answer: ControlAnswer = {
        error: {
          code: known?.code ?? "CONTROL_REFUSED",
          message: reasonOf(error),
          ...(known?.details["problems"] !== undefined && { problems: Number(known.details["problems"]) }),
        },
      };
      await writeLine(connection, answer);
    }
  }
}

const ACCEPT_PAUSE_MS = 100;

function adviceFor(error: unknown): string {
  if (error instanceof Deno.errors.AddrInUse) {
    return "another worker takes its commands there. This one runs, and obeys signals only; give each worker a socket of its own";
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return "permission denied. The worker runs, and obeys signals only; name a folder that its user may write";
  }
  if (error instanceof Deno.errors.NotFound) {
    return "no such folder. The worker runs, and obeys signals only; make the folder, or name another one";
  }
  return `${reasonOf(error)}. The worker runs, and obeys signals only`;
}
