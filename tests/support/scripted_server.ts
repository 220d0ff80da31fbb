/**
 * A FastCGI server that does what a test tells it, byte by byte. It has a codec of its own, written from the
 * specification, so that a mistake of src/fastcgi is not hidden by the same mistake here.
 */

/** What one connection does. The connection is closed when it returns; what it throws fails the test. */
export type Script = (peer: ScriptedPeer) => void | Promise<void>;

export interface ScriptedServerOptions {
  /** "unix" when absent. */
  readonly transport?: "unix" | "tcp";
}

/** One request, read whole. */
export interface ScriptedRequest {
  readonly requestId: number;
  readonly role: number;
  /** FCGI_KEEP_CONN was set. */
  readonly keep: boolean;
  readonly params: ReadonlyMap<string, string>;
  /** Content length of each PARAMS record, the last, empty one included. */
  readonly paramRecordBytes: readonly number[];
  readonly stdin: Uint8Array;
}

export interface ScriptedRecord {
  readonly type: number;
  readonly requestId: number;
  readonly content: Uint8Array;
}

/** One connection as the server sees it. */
export class ScriptedPeer {
  /** 0 for the first connection that came. */
  readonly index: number;
  /** Of the request that was read last. */
  requestId = 0;
  readonly #socket: Deno.Conn;
  readonly #buffer = new Uint8Array(65_536);
  #unread = this.#buffer.subarray(0, 0);

  constructor(index: number, socket: Deno.Conn) {
    this.index = index;
    this.#socket = socket;
  }

  /** Reads BEGIN_REQUEST, PARAMS and STDIN to their ends. */
  async readRequest(): Promise<ScriptedRequest> {
    const head = await this.readHead();
    const { content } = await this.#readStream(STDIN, head.requestId);
    return { ...head, stdin: content };
  }

  /** Reads BEGIN_REQUEST and PARAMS, and leaves STDIN where it is. */
  async readHead(): Promise<Omit<ScriptedRequest, "stdin">> {
    const begin = await this.readRecord();
    if (begin?.type !== BEGIN_REQUEST || begin.content.length !== 8) {
      throw new Error(`Expected BEGIN_REQUEST of 8 bytes, got ${JSON.stringify(begin)}`);
    }
    const { content, recordBytes } = await this.#readStream(PARAMS, begin.requestId);
    return {
      requestId: begin.requestId,
      role: (begin.content[0]! << 8) | begin.content[1]!,
      keep: (begin.content[2]! & 1) === 1,
      params: new Map(decodePairs(content)),
      paramRecordBytes: recordBytes,
    };
  }

  /** The next record; undefined when the client has closed the connection between two records. */
  async readRecord(): Promise<ScriptedRecord | undefined> {
    const header = await this.#readExactly(8);
    if (header === undefined) return undefined;
    const [version, type, idHigh, idLow, lengthHigh, lengthLow, padding] = header as unknown as number[];
    if (version !== 1) throw new Error(`Expected version 1, got ${version}`);
    const content = await this.#readExactly((lengthHigh! << 8) | lengthLow!);
    await this.#readExactly(padding!);
    if (content === undefined) throw new Error("The client closed the connection inside a record");
    const requestId = (idHigh! << 8) | idLow!;
    if (type === BEGIN_REQUEST) this.requestId = requestId;
    return { type: type!, requestId, content };
  }

  /** Waits for the next request and leaves all of it but one byte unread: what closes the connection then resets it. */
  async waitForRequest(): Promise<void> {
    if (this.#unread.length > 0) throw new Error("It has been read already");
    if (await this.#socket.read(new Uint8Array(1)) === null) {
      throw new Error("The client closed the connection");
    }
  }

  /** Writes bytes as they are. */
  async write(...pieces: Uint8Array[]): Promise<void> {
    for (const piece of pieces) {
      for (let at = 0; at < piece.length;) at += await this.#socket.write(piece.subarray(at));
    }
  }

  /** Writes a whole answer to the request read last: STDOUT, its end, END_REQUEST. */
  async answer(stdout: string): Promise<void> {
    const o = { requestId: this.requestId };
    await this.write(concat(stdoutRecord(stdout, o), stdoutRecord("", o), endRequestRecord(o)));
  }

  /** Reads one request and answers it; most connections do nothing else. Returns the request. */
  async serve(stdout: string): Promise<ScriptedRequest> {
    const request = await this.readRequest();
    await this.answer(stdout);
    return request;
  }

  /** Resolves when the client has closed the connection; fails when it sends anything more before that. */
  async clientCloses(): Promise<void> {
    const more = await this.#readExactly(1).catch((error) => {
      if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
    });
    if (more) throw new Error("The client sent more bytes instead of closing the connection");
  }

  /** Reads what the client sends, whatever it is, until it closes. Returns how many bytes came. */
  async drain(): Promise<number> {
    let bytes = this.#unread.length;
    for (;;) {
      const read = await this.#socket.read(this.#buffer).catch(() => null);
      if (read === null) return bytes;
      bytes += read;
    }
  }

  /** Closes the connection; also done when the script returns. Idempotent. */
  close(): void {
    try {
      this.#socket.close();
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
  }

  async #readStream(
    type: number,
    requestId: number,
  ): Promise<{ content: Uint8Array; recordBytes: number[] }> {
    const pieces: Uint8Array[] = [];
    const recordBytes: number[] = [];
    for (;;) {
      const record = await this.readRecord();
      if (record?.type !== type || record.requestId !== requestId) {
        throw new Error(
          `Expected a record of type ${type} for request ${requestId}, ` +
            (record === undefined
              ? "got the end of the stream"
              : `got type ${record.type} for ${record.requestId}`),
        );
      }
      recordBytes.push(record.content.length);
      if (record.content.length === 0) return { content: concat(...pieces), recordBytes };
      pieces.push(record.content);
    }
  }

  /** Undefined when the stream ends before the first byte. */
  async #readExactly(bytes: number): Promise<Uint8Array | undefined> {
    const whole = new Uint8Array(bytes);
    for (let at = 0; at < bytes;) {
      if (this.#unread.length === 0) {
        const read = await this.#socket.read(this.#buffer);
        if (read === null && at === 0) return undefined;
        if (read === null) throw new Error(`The client closed the connection after ${at} of ${bytes} bytes`);
        this.#unread = this.#buffer.subarray(0, read);
      }
      const piece = this.#unread.subarray(0, bytes - at);
      whole.set(piece, at);
      at += piece.length;
      this.#unread = this.#unread.subarray(piece.length);
    }
    return whole;
  }
}

/**
 * Listens, and runs one script a connection.
 *
 * 1. One script serves all connections; a list of them, each one connection, in order, and there must come exactly so
 *    many.
 * 2. Whatever a script throws, an assertion above all, is thrown again when the server is disposed of, and so fails
 *    the test. Errors that only come from the disposal itself are not.
 *
 * ```ts
 * await using server = await ScriptedServer.start(async (peer) => {
 *   assert.equal((await peer.readRequest()).params.get("A"), "1");
 *   await peer.write(stdoutRecord("A: 1\n\nhello"), endRequestRecord());
 * });
 * ```
 */
export class ScriptedServer implements AsyncDisposable {
  /** As `parseAddress` reads it. */
  readonly address: string;
  readonly #listener: Deno.Listener;
  readonly #directory: string;
  readonly #scripts: Script | readonly Script[];
  readonly #peers: ScriptedPeer[] = [];
  readonly #running: Promise<void>[] = [];
  readonly #errors: unknown[] = [];
  readonly #accepting: Promise<void>;
  #isDisposing = false;

  private constructor(scripts: Script | readonly Script[], directory: string, transport: "unix" | "tcp") {
    this.#scripts = scripts;
    this.#directory = directory;
    if (transport === "unix") {
      this.address = `${directory}/scripted.sock`;
      this.#listener = Deno.listen({ transport: "unix", path: this.address }) as unknown as Deno.Listener;
    } else {
      this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      this.address = `127.0.0.1:${(this.#listener.addr as Deno.NetAddr).port}`;
    }
    this.#accepting = this.#acceptAll();
  }

  static async start(
    scripts: Script | readonly Script[],
    options: ScriptedServerOptions = {},
  ): Promise<ScriptedServer> {
    const directory = await Deno.makeTempDir({ prefix: "fervo-scripted-" });
    return new ScriptedServer(scripts, directory, options.transport ?? "unix");
  }

  /** Connections that have come so far. */
  get connections(): number {
    return this.#peers.length;
  }

  /** Resolves when all scripts begun so far have returned. Call it to be sure that their assertions were made. */
  async scriptsEnded(): Promise<void> {
    await Promise.all(this.#running);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposing = true;
    this.#listener.close();
    for (const peer of this.#peers) peer.close();
    await this.#accepting;
    await this.scriptsEnded();
    await Deno.remove(this.#directory, { recursive: true });
    if (typeof this.#scripts !== "function" && this.#peers.length < this.#scripts.length) {
      this.#errors.push(
        new Error(`Expected ${this.#scripts.length} connections, only ${this.#peers.length} came`),
      );
    }
    if (this.#errors.length === 1) throw this.#errors[0];
    if (this.#errors.length > 1) throw new AggregateError(this.#errors, "Several scripts failed");
  }

  async #acceptAll(): Promise<void> {
    for (;;) {
      let socket: Deno.Conn;
      try {
        socket = await this.#listener.accept();
      } catch (error) {
        if (!this.#isDisposing) this.#errors.push(error);
        return;
      }
      const peer = new ScriptedPeer(this.#peers.length, socket);
      this.#peers.push(peer);
      this.#running.push(this.#run(peer));
    }
  }

  async #run(peer: ScriptedPeer): Promise<void> {
    const script = typeof this.#scripts === "function" ? this.#scripts : this.#scripts[peer.index];
    try {
      if (script === undefined) throw new Error(`Connection number ${peer.index + 1} was not expected`);
      await script(peer);
    } catch (error) {
      if (!(this.#isDisposing && isClosedByUs(error))) this.#errors.push(error);
    } finally {
      peer.close();
    }
  }
}

const BEGIN_REQUEST = 1;
const END_REQUEST = 3;
const PARAMS = 4;
const STDIN = 5;
const STDOUT = 6;
const STDERR = 7;

/** A record as bytes: header, content, and `padding` bytes of rubbish that the reader has to skip. */
export function record(type: number, content: Uint8Array, o: { requestId?: number; padding?: number } = {}) {
  const { requestId = 1, padding = 0 } = o;
  return concat(
    Uint8Array.of(
      1,
      type,
      requestId >> 8,
      requestId & 255,
      content.length >> 8,
      content.length & 255,
      padding,
      0,
    ),
    content,
    new Uint8Array(padding).fill(0xee),
  );
}

export function stdoutRecord(content: string | Uint8Array, o: { requestId?: number; padding?: number } = {}) {
  return record(STDOUT, bytesOf(content), o);
}

export function stderrRecord(content: string | Uint8Array, o: { requestId?: number; padding?: number } = {}) {
  return record(STDERR, bytesOf(content), o);
}

export function endRequestRecord(
  o: { appStatus?: number; protocolStatus?: number; requestId?: number; padding?: number } = {},
): Uint8Array {
  const content = new Uint8Array(8);
  new DataView(content.buffer).setUint32(0, o.appStatus ?? 0);
  content[4] = o.protocolStatus ?? 0;
  return record(END_REQUEST, content, o);
}

export function concat(...pieces: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

export function bytesOf(content: string | Uint8Array): Uint8Array {
  return typeof content === "string" ? new TextEncoder().encode(content) : content;
}

/** The pairs of a PARAMS stream (specification 1.0, section 3.4). */
function decodePairs(stream: Uint8Array): [string, string][] {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.length);
  const pairs: [string, string][] = [];
  let at = 0;
  const length = () => {
    const short = view.getUint8(at);
    const bytes = short < 128 ? short : view.getUint32(at) & 0x7fffffff;
    at += short < 128 ? 1 : 4;
    return bytes;
  };
  const text = (bytes: number) => {
    if (at + bytes > stream.length) throw new Error("A param's length points past the end of the params");
    const decoded = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
      .decode(stream.subarray(at, at + bytes));
    at += bytes;
    return decoded;
  };
  while (at < stream.length) {
    const nameBytes = length();
    const valueBytes = length();
    pairs.push([text(nameBytes), text(valueBytes)]);
  }
  return pairs;
}

function isClosedByUs(error: unknown): boolean {
  return error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted;
}
