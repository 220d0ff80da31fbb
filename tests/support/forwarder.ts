/** A TCP proxy: what a server sees of the worker when something stands between them. */
import { type FastCgiAddress, formatAddress } from "../../src/fastcgi/address.ts";

const latin1 = new TextDecoder("latin1");

/**
 * Listens on a port of its own and passes every connection on.
 *
 * 1. Passes bytes on unchanged, in both directions, and the end of either.
 * 2. Ends the client's connection when the other one ends, in whatever way, as proxies do.
 * 3. Loses a connection instead of passing on what `cutBefore` says, once.
 * 4. Keeps the answers to what `silentAfter` accepts, and all later ones of its connection, until `cut` ends the connections.
 * 5. With `forgetsAfterMs`, passes nothing more of a connection on which nothing was sent for so long.
 */
export class Forwarder implements AsyncDisposable {
  /** As `parseAddress` reads it. */
  readonly address: string;
  /** What a client sends next that begins so is never passed on: its connection is lost. */
  cutBefore: string | undefined;
  /** Whether the client gets no answer to what it sends, nor to anything after it; the server gets all of it. */
  silentAfter: ((sent: string) => boolean) | undefined;
  readonly #listener: Deno.TcpListener;
  readonly #to: FastCgiAddress & { transport: "tcp" };
  readonly #running: Promise<void>[] = [];
  readonly #open = new Set<Deno.Conn>();
  readonly #forgetsAfterMs: number;
  #connections = 0;

  private constructor(to: FastCgiAddress, forgetsAfterMs: number) {
    if (to.transport !== "tcp") throw new TypeError(`${formatAddress(to)} is no TCP address`);
    this.#to = to;
    this.#forgetsAfterMs = forgetsAfterMs;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.address = `127.0.0.1:${this.#listener.addr.port}`;
    this.#running.push(this.#acceptAll());
  }

  static start(to: FastCgiAddress, { forgetsAfterMs = Infinity } = {}): Promise<Forwarder> {
    return Promise.resolve(new Forwarder(to, forgetsAfterMs));
  }

  /** Connections that have come so far. */
  get connections(): number {
    return this.#connections;
  }

  /** Ends all connections; new ones are answered. */
  cut(): void {
    this.silentAfter = undefined;
    for (const socket of this.#open) close(socket);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const socket of this.#open) close(socket);
    await Promise.all(this.#running);
  }

  async #acceptAll(): Promise<void> {
    for await (const client of this.#listener) {
      this.#connections++;
      this.#running.push(this.#pass(client));
    }
  }

  /** What both directions of a connection pass through. That the server has closed a forgotten one is not told. */
  #memory(): (isClients: boolean) => TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>> {
    let seenMs = performance.now();
    let wasForgotten = false;
    let isSilent = false;
    const isForgotten = () => wasForgotten ||= performance.now() - seenMs > this.#forgetsAfterMs;
    return (isClients) =>
      new TransformStream({
        transform: (bytes, passed) => {
          if (isForgotten()) return;
          if (isClients && this.cutBefore !== undefined && latin1.decode(bytes).startsWith(this.cutBefore)) {
            this.cutBefore = undefined;
            throw new Error("The connection is lost");
          }
          seenMs = performance.now();
          if (isClients) isSilent ||= this.silentAfter?.(latin1.decode(bytes)) ?? false;
          else if (isSilent) return;
          passed.enqueue(bytes);
        },
        flush: () => isClients || !isForgotten() ? undefined : new Promise<void>(() => {}),
      });
  }

  async #pass(client: Deno.TcpConn): Promise<void> {
    this.#open.add(client);
    try {
      const server = await Deno.connect(this.#to);
      this.#open.add(server);
      const memory = this.#memory();
      const away = client.readable.pipeThrough(memory(true)).pipeTo(server.writable);
      // Whichever ends first, with an error or without, ends both.
      await Promise.race([server.readable.pipeThrough(memory(false)).pipeTo(client.writable), away]).catch(
        () => {},
      );
      close(server);
      this.#open.delete(server);
      await away.catch(() => {});
    } finally {
      close(client);
      this.#open.delete(client);
    }
  }
}

function close(socket: Deno.Conn): void {
  try {
    socket.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}
