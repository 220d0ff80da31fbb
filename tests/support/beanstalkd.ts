import { raw } from "../../src/formats/raw.ts";
import { systemClock } from "../../src/core/time/clock.ts";
import {
  BeanstalkdBroker,
  type BeanstalkdBrokerOptions,
  DEFAULT_BEANSTALKD_OPTIONS,
} from "../../src/brokers/beanstalkd/broker.ts";
import type { SocketAddress } from "../../src/net/address.ts";
import { eventually } from "./eventually.ts";
import type { ServerNetwork } from "./forgetful_firewall.ts";
import { fakeTime } from "./fake_time.ts";
import { privateLoopback } from "./php_fpm.ts";

/** The longest job that the server takes, bytes. */
export const MAX_JOB_BYTES = 8_000_000;

export interface BeanstalkdOptions {
  /** Listens on a unix socket instead of TCP. */
  readonly isUnix?: boolean;
  /** Listens there. */
  readonly network?: ServerNetwork;
  /** Runs on a clock that `passTime` moves ahead. Slower, and only for what needs it. */
  readonly hasMovableClock?: boolean;
}

/**
 * A real beanstalkd for one test: its log, in a folder of its own, is synced at every write, so that it may be killed.
 *
 * ```ts
 * await using server = await Beanstalkd.start();
 * await using driver = server.open();
 * ```
 */
export class Beanstalkd implements AsyncDisposable {
  /** The same after a restart. */
  readonly address: SocketAddress;
  readonly #folder: string;
  readonly #options: BeanstalkdOptions;
  #process: Deno.ChildProcess | undefined;
  #aheadMs = 0;

  private constructor(folder: string, options: BeanstalkdOptions) {
    this.#folder = folder;
    this.#options = options;
    this.address = options.isUnix
      ? { transport: "unix", path: `${folder}/socket` }
      : { transport: "tcp", hostname: options.network?.host ?? privateLoopback(), port: 11_300 };
  }

  static async start(options: BeanstalkdOptions = {}): Promise<Beanstalkd> {
    const server = new Beanstalkd(await Deno.makeTempDir({ prefix: "fervo-beanstalkd-" }), options);
    try {
      await server.restart();
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  get pid(): number {
    if (this.#process === undefined) throw new Error("beanstalkd is not running");
    return this.#process.pid;
  }

  /** Where its log is. */
  get folder(): string {
    return this.#folder;
  }

  /** As the configuration has it. */
  get addressText(): string {
    return this.address.transport === "unix"
      ? this.address.path
      : `${this.address.hostname}:${this.address.port}`;
  }

  /** Opens the driver, with the machine's clock and the default options unless told otherwise. */
  open(options: Partial<BeanstalkdBrokerOptions> = {}): BeanstalkdBroker {
    return new BeanstalkdBroker({ clock: systemClock, format: raw }, {
      ...DEFAULT_BEANSTALKD_OPTIONS,
      address: this.address,
      ...options,
    });
  }

  /** A connection of one's own, as another program would have. */
  async client(): Promise<BeanstalkdClient> {
    return new BeanstalkdClient(await this.#connect());
  }

  /** Lets so much time pass for the server. */
  async passTime(ms: number): Promise<void> {
    if (!this.#options.hasMovableClock) throw new Error("this beanstalkd has the machine's clock");
    this.#aheadMs += ms;
    await this.#writeClock();
    // It looks at the clock when it is spoken to.
    using client = await this.client();
    await client.ask("list-tube-used\r\n");
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    const process = this.#process;
    this.#process = undefined;
    if (process === undefined) return;
    process.kill("SIGKILL");
    await process.status;
  }

  /** Starts it, at the same address with the same log; kills it first when it runs. */
  async restart(): Promise<void> {
    await this.kill();
    const { isUnix, hasMovableClock, network } = this.#options;
    const listen = this.address.transport === "unix"
      ? ["-l", `unix:${this.address.path}`]
      : ["-l", this.address.hostname, "-p", String(this.address.port)];
    if (isUnix) await Deno.remove(`${this.#folder}/socket`).catch(() => {});
    if (hasMovableClock) await this.#writeClock();
    const [program, ...first] = [...network?.command ?? [], "beanstalkd"];
    this.#process = new Deno.Command(program!, {
      args: [
        ...first,
        ...listen,
        "-b",
        this.#folder,
        "-f",
        "0",
        "-z",
        String(MAX_JOB_BYTES),
      ],
      env: hasMovableClock ? fakeTime(`${this.#folder}/clock`, { stepsMonotonic: true }) : {},
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const process = this.#process;
    let hasEnded = false;
    void process.status.then(() => hasEnded = true);
    await eventually("beanstalkd answers", async () => {
      if (hasEnded) throw new Error("beanstalkd did not start");
      if (network !== undefined) return await network.accepts(this.addressText);
      return await this.#connect().then((socket) => (socket.close(), true), () => false);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await Deno.remove(this.#folder, { recursive: true });
  }

  #connect(): Promise<Deno.Conn> {
    return this.address.transport === "unix"
      ? Deno.connect({ transport: "unix", path: this.address.path })
      : Deno.connect({ hostname: this.address.hostname, port: this.address.port });
  }

  async #writeClock(): Promise<void> {
    const path = `${this.#folder}/clock`;
    // At once: the server may read it at any moment.
    await Deno.writeTextFile(`${path}.new`, `+${this.#aheadMs / 1_000}s`);
    await Deno.rename(`${path}.new`, path);
  }
}

/** Talks to beanstalkd in its own words, as a producer of another language or a curious person would. */
export class BeanstalkdClient implements Disposable {
  readonly #socket: Deno.Conn;

  constructor(socket: Deno.Conn) {
    this.#socket = socket;
  }

  /** Sends, and returns what comes next; only for answers that come in one piece. */
  async ask(text: string): Promise<string> {
    await this.#socket.write(new TextEncoder().encode(text));
    return await this.hear();
  }

  async hear(): Promise<string> {
    const buffer = new Uint8Array(65_536);
    const length = await this.#socket.read(buffer) ?? 0;
    return new TextDecoder().decode(buffer.subarray(0, length));
  }

  /** Puts a job, and returns its id. */
  async put(tube: string, body: string, { pri = 1024, delay = 0, ttr = 60 } = {}): Promise<string> {
    await this.ask(`use ${tube}\r\n`);
    const said = await this.ask(`put ${pri} ${delay} ${ttr} ${body.length}\r\n${body}\r\n`);
    const match = /^INSERTED (\d+)\r\n$/.exec(said);
    if (match === null) throw new Error(said);
    return match[1]!;
  }

  /** What `stats-job` tells; undefined when there is no such job. */
  async job(id: string): Promise<Readonly<Record<string, string>> | undefined> {
    const said = await this.ask(`stats-job ${id}\r\n`);
    if (said.startsWith("NOT_FOUND")) return undefined;
    // 1.13 has quotes around names.
    const lines = said.matchAll(/^([a-z-]+): ("?)(.*)\2\r?$/gm);
    return Object.fromEntries(Array.from(lines, ([, name, , value]) => [name, value]));
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}
