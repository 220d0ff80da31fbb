import { type Clock, sleep, type Timer } from "../core/time/clock.ts";

export interface ConnectionServerDeps {
  readonly clock: Clock;
  /** The server closes it. */
  readonly listener: Deno.Listener;
  /** Serves a connection, which is closed at its end. */
  readonly serve: (connection: ServedConnection) => Promise<void>;
  /** Called once when connections cannot be accepted, until one can be again. It tries again by itself. */
  readonly onUnavailable: (error: unknown) => void;
}

export interface ConnectionServerOptions {
  /** The largest number of connections. At least 1. */
  readonly maxConnections: number;
  /** How long a connection may stay, milliseconds, without {@link ServedConnection.endsWithin}. */
  readonly idleLimitMs: number;
}

/** The pause after a connection could not be accepted, milliseconds. */
const RETRY_MS = 100;
/** The pause of a full server before the next connection, milliseconds: it bounds the cost of a flood. */
const FULL_MS = 1;

/**
 * Accepts connections from anybody, and gives nobody more than a fair part.
 *
 * 1. Has a bounded number. One too many closes the longest idle one, else the longest served one: so a client that connects and
 *    speaks at once is served, however many others are silent.
 * 2. Ends each connection in time.
 * 3. Goes on when nothing can be accepted, for instance without file descriptors: makes room, waits, and tries again.
 */
export class ConnectionServer implements Disposable {
  readonly #deps: ConnectionServerDeps;
  readonly #options: ConnectionServerOptions;
  /** In order of arrival. A closed one stays until its last read or write has ended: it still has a descriptor. */
  readonly #connections = new Set<ServedConnection>();
  readonly #left = new AbortController();

  constructor(deps: ConnectionServerDeps, options: ConnectionServerOptions) {
    this.#deps = deps;
    this.#options = options;
    void this.#accept();
  }

  /** Accepts no more; existing connections stay. Idempotent. */
  leave(): void {
    if (this.#left.signal.aborted) return;
    this.#left.abort();
    this.#deps.listener.close();
  }

  /** Ends all connections, too. Idempotent. */
  [Symbol.dispose](): void {
    this.leave();
    for (const connection of this.#connections) connection.close();
  }

  async #accept(): Promise<void> {
    const { clock, listener, onUnavailable } = this.#deps;
    const { signal } = this.#left;
    let isAvailable = true;
    while (!signal.aborted) {
      let accepted: Deno.Conn;
      try {
        accepted = await listener.accept();
      } catch (error) {
        if (signal.aborted) return;
        if (isAvailable) onUnavailable(error);
        isAvailable = false;
        this.#oldest((connection) => connection.isIdle)?.close();
        await sleep(clock, RETRY_MS, signal);
        continue;
      }
      isAvailable = true;
      if (signal.aborted) return accepted.close();
      const connection = new ServedConnection({ clock, connection: accepted });
      if (this.#connections.size >= this.#options.maxConnections) {
        const victim = this.#oldest((connection) => connection.isIdle) ?? this.#oldest(() => true);
        (victim ?? connection).close();
        await sleep(clock, FULL_MS, signal);
      }
      void this.#serve(connection);
    }
  }

  /** The oldest open one of a kind. */
  #oldest(isOfKind: (connection: ServedConnection) => boolean): ServedConnection | undefined {
    for (const connection of this.#connections) {
      if (!connection.isClosed && isOfKind(connection)) return connection;
    }
    return undefined;
  }

  /** Never rejects, unless `serve` has a fault. */
  async #serve(connection: ServedConnection): Promise<void> {
    this.#connections.add(connection);
    connection.endsWithin(this.#options.idleLimitMs);
    try {
      await this.#deps.serve(connection);
    } catch (error) {
      if (!(error instanceof ConnectionEnded)) throw error;
    } finally {
      connection.close();
      this.#connections.delete(connection);
    }
  }
}

/** The other side is gone, or the time was up. */
export class ConnectionEnded extends Error {}

/** An accepted connection of a {@link ConnectionServer}. */
export class ServedConnection {
  readonly #clock: Clock;
  readonly #connection: Deno.Conn;
  #timer: Timer | undefined;
  #isIdle = true;
  #isClosed = false;

  constructor({ clock, connection }: { clock: Clock; connection: Deno.Conn }) {
    this.#clock = clock;
    this.#connection = connection;
  }

  /** Without an open request: closed first when there is no room. */
  get isIdle(): boolean {
    return this.#isIdle;
  }

  set isIdle(isIdle: boolean) {
    this.#isIdle = isIdle;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Closes it this many milliseconds from now, instead of the time set before; undefined for never. */
  endsWithin(limitMs: number | undefined): void {
    this.#timer?.cancel();
    this.#timer = limitMs === undefined || this.#isClosed
      ? undefined
      : this.#clock.setTimer(() => this.close(), limitMs);
  }

  /**
   * Reads some bytes into `into`. Returns how many, or null at the end.
   *
   * @throws {ConnectionEnded}
   */
  async read(into: Uint8Array<ArrayBuffer>): Promise<number | null> {
    return await this.#ended(this.#connection.read(into));
  }

  /**
   * Writes all of `bytes`.
   *
   * @throws {ConnectionEnded}
   */
  async write(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    for (let at = 0; at < bytes.length;) at += await this.#ended(this.#connection.write(bytes.subarray(at)));
  }

  /**
   * Ends the writing side.
   *
   * @throws {ConnectionEnded}
   */
  async closeWrite(): Promise<void> {
    await this.#ended(this.#connection.closeWrite());
  }

  /** Idempotent. A running read ends; a running write ends if the runtime can, else when the other side is gone. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#connection.close();
  }

  async #ended<T>(operation: Promise<T>): Promise<T> {
    try {
      return await operation;
    } catch (cause) {
      throw new ConnectionEnded("The connection has ended", { cause });
    }
  }
}
