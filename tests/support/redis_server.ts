import type { ServerNetwork } from "./forgetful_firewall.ts";
import { soon } from "./soon.ts";
import { standStill } from "./stand_still.ts";

export interface RedisServerOptions {
  /** More of redis.conf, one directive a line. */
  readonly config?: readonly string[];
  /** Listen on a free TCP port, too. */
  readonly tcp?: boolean;
  /** Listens there over TCP, too, at port 6379. */
  readonly network?: ServerNetwork;
  /** A Sentinel instead of a server of data. */
  readonly isSentinel?: boolean;
}

/** A Redis server of one's own in a temporary folder, on a unix socket; gone with its scope. */
export class RedisServer implements AsyncDisposable {
  readonly folder: string;
  readonly port: number;
  readonly #options: RedisServerOptions;
  #child: Deno.ChildProcess | undefined;

  private constructor(folder: string, port: number, options: RedisServerOptions) {
    this.folder = folder;
    this.port = port;
    this.#options = options;
  }

  static async start(options: RedisServerOptions = {}): Promise<RedisServer> {
    const folder = await Deno.makeTempDir({ prefix: "fervo-redis-" });
    const port = options.network !== undefined ? 6_379 : options.tcp ? freePort() : 0;
    const server = new RedisServer(folder, port, options);
    await server.start();
    return server;
  }

  get socket(): string {
    return `${this.folder}/redis.sock`;
  }

  /** Its address for `url`. */
  get url(): string {
    return `unix://${this.socket}`;
  }

  /** Its address over TCP. */
  get hostPort(): string {
    return `${this.#options.network?.host ?? "127.0.0.1"}:${this.port}`;
  }

  /**
   * Starts it, again with the same data after `kill` or `stop`; resolves when it answers.
   *
   * @param args Further arguments, which win over redis.conf.
   */
  async start(args: readonly string[] = []): Promise<void> {
    const { config = [], isSentinel = false, network } = this.#options;
    const path = `${this.folder}/redis.conf`;
    const lines = [
      `dir ${this.folder}`,
      `port ${this.port}`,
      ...(network === undefined ? ["bind 127.0.0.1"] : [`bind ${network.host}`, "protected-mode no"]),
      `unixsocket ${this.socket}`,
      `logfile ${this.folder}/redis.log`,
      ...(isSentinel ? [] : ['save ""']),
      ...config,
    ];
    const isNew = await Deno.stat(path).then(() => false, () => true);
    if (isNew) await Deno.writeTextFile(path, lines.join("\n") + "\n");
    await Deno.remove(this.socket).catch(() => {});
    const [program, ...first] = [...network?.command ?? [], "redis-server"];
    this.#child = new Deno.Command(program!, {
      args: [...first, path, ...args, ...(isSentinel ? ["--sentinel"] : [])],
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    await soon("redis-server answers", this.#answers());
  }

  /** One command by redis-cli; its output without the newline at its end. */
  async cli(...args: readonly string[]): Promise<string> {
    const { stdout } = await new Deno.Command("redis-cli", { args: ["-s", this.socket, ...args] }).output();
    return new TextDecoder().decode(stdout).replace(/\n$/, "");
  }

  /** Commands that Redis carries out in one step. */
  async transaction(...commands: readonly string[]): Promise<void> {
    const child = new Deno.Command("redis-cli", {
      args: ["-s", this.socket],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const text = ["MULTI", ...commands, "EXEC", ""].join("\n");
    const [{ stdout }] = await Promise.all([child.output(), new Response(text).body!.pipeTo(child.stdin)]);
    const said = new TextDecoder().decode(stdout);
    if (/\bERR\b|EXECABORT/.test(said)) throw new Error(said);
  }

  /** The same in this very instant: nothing of this process runs meanwhile. */
  cliSync(...args: readonly string[]): void {
    new Deno.Command("redis-cli", { args: ["-s", this.socket, ...args] }).outputSync();
  }

  /** The elements of a list or a set, or the members of a sorted set. */
  async elements(...args: readonly string[]): Promise<string[]> {
    const text = await this.cli("--json", ...args);
    return JSON.parse(text) as string[];
  }

  /** SIGKILL, as when its machine dies; what is on its disk stays. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** SIGTERM: it saves what it is configured to. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** SIGSTOP and SIGCONT, for a server that hangs. */
  async signal(signal: "SIGSTOP" | "SIGCONT"): Promise<void> {
    if (this.#child === undefined) return;
    this.#child.kill(signal);
    if (signal === "SIGSTOP") await standStill([this.#child.pid]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end("SIGKILL");
    await Deno.remove(this.folder, { recursive: true });
  }

  async #end(signal: Deno.Signal): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined) return;
    child.kill(signal);
    await child.status;
  }

  async #answers(): Promise<void> {
    for (;;) {
      const answer = await this.cli("PING");
      // One that wants a password answers, too.
      if (/^(?:PONG|NOAUTH|LOADING|MASTERDOWN)/.test(answer) && !answer.startsWith("LOADING")) return;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

/** A port that nobody listens on now. */
export function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  try {
    return (listener.addr as Deno.NetAddr).port;
  } finally {
    listener.close();
  }
}

/** The rules of the user "worker" as docs/brokers/sidekiq.md has them; the password is SECRET. */
export async function documentedRights(): Promise<string[]> {
  const text = await Deno.readTextFile(new URL("../../docs/brokers/sidekiq.md", import.meta.url));
  const [, rules] = /^ *user worker (.+)$/m.exec(text) ?? [];
  if (rules === undefined) {
    throw new Error("docs/brokers/sidekiq.md has no line of redis.conf for the worker's user");
  }
  return rules.split(" ");
}
