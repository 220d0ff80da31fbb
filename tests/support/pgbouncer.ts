import type { SocketAddress } from "../../src/net/address.ts";
import { privateLoopback } from "./php_fpm.ts";
import { ADMINISTRATOR, findPostgres, psql } from "./postgres_programs.ts";
import type { PostgresServer } from "./postgres_server.ts";
import { ServerProcess } from "./server_process.ts";
import { makeServerFolder, writeServerFile } from "./server_user.ts";
import { runSql } from "./sql_shell.ts";

const PORT = 6_432;
/** Debian has it in a folder that is not on the PATH of every user. */
const PROGRAM = "/usr/sbin/pgbouncer";

/** How a {@link PgBouncer} differs from one on a unix socket. */
export interface PgBouncerOptions {
  /** Listens on TCP, too, at a loopback address of its own. */
  readonly tcp?: boolean;
  /** Users of the server beside the administrator, all without a password. */
  readonly users?: readonly string[];
  /** Lines of its section `[pgbouncer]`, which win over the fixture's own. */
  readonly config?: readonly string[];
}

/** A real PgBouncer before a {@link PostgresServer}: each transaction gets whichever connection is free. */
export class PgBouncer implements AsyncDisposable {
  /** On TCP where it listens there, else its unix socket. The same after a restart. */
  readonly address: SocketAddress;
  readonly #bin: string;
  readonly #folder: string;
  readonly #server: PostgresServer;
  readonly #options: PgBouncerOptions;
  #process: ServerProcess | undefined;

  private constructor(bin: string, folder: string, server: PostgresServer, options: PgBouncerOptions) {
    this.#bin = bin;
    this.#folder = folder;
    this.#server = server;
    this.#options = options;
    this.address = options.tcp
      ? { transport: "tcp", hostname: privateLoopback(), port: PORT }
      : { transport: "unix", path: this.socket };
  }

  /** @throws {Error} when PgBouncer is not installed, or does not start, with its log. */
  static async start(server: PostgresServer, options: PgBouncerOptions = {}): Promise<PgBouncer> {
    const isInstalled = await Deno.stat(PROGRAM).then(() => true, () => false);
    if (!isInstalled) throw new Error("Cannot find PgBouncer: run scripts/setup test");
    const bouncer = new PgBouncer(
      await findPostgres(),
      await makeServerFolder("fervo-pgbouncer-"),
      server,
      options,
    );
    try {
      await bouncer.#configure();
      await bouncer.restart();
      return bouncer;
    } catch (error) {
      await bouncer[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The unix socket, which it has beside TCP, too. */
  get socket(): string {
    return `${this.#folder}/.s.PGSQL.${PORT}`;
  }

  /** Runs statements by psql, as {@link PostgresServer.sql}, through the pooler. */
  sql(text: string, database: string = ADMINISTRATOR): Promise<string> {
    return runSql(psql(this.#bin, { folder: this.#folder, port: PORT, database }), text);
  }

  /** Runs a command of its console, such as `SHOW POOLS`. */
  console(command: string): Promise<string> {
    return this.sql(command, "pgbouncer");
  }

  /** SIGKILL: all connections are lost. */
  async kill(): Promise<void> {
    const process = this.#process;
    this.#process = undefined;
    await process?.end("SIGKILL");
  }

  /** Starts it at the same address; kills it first when it runs. */
  async restart(): Promise<void> {
    await this.kill();
    await Deno.remove(this.socket).catch(() => {});
    this.#process = new ServerProcess([PROGRAM, this.#configFile], { logFile: `${this.#folder}/log` });
    await this.#process.answers(() => this.#accepts());
  }

  /** SIGSTOP and SIGCONT, for a pooler that hangs. */
  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#process?.signal(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await Deno.remove(this.#folder, { recursive: true });
  }

  get #configFile(): string {
    return `${this.#folder}/pgbouncer.ini`;
  }

  async #configure(): Promise<void> {
    const { users = [], config = [] } = this.#options;
    const lines = [
      "[databases]",
      `* = host=${this.#server.folder} port=5432`,
      "[pgbouncer]",
      "pool_mode = transaction",
      `listen_port = ${PORT}`,
      ...(this.address.transport === "tcp" ? [`listen_addr = ${this.address.hostname}`] : []),
      `unix_socket_dir = ${this.#folder}`,
      "auth_type = trust",
      `auth_file = ${this.#folder}/users`,
      `admin_users = ${ADMINISTRATOR}`,
      ...config,
    ];
    await writeServerFile(this.#configFile, lines);
    await writeServerFile(`${this.#folder}/users`, [ADMINISTRATOR, ...users].map((user) => `"${user}" ""`));
  }

  #accepts(): Promise<boolean> {
    return Deno.connect({ transport: "unix", path: this.socket }).then(
      (socket) => (socket.close(), true),
      () => false,
    );
  }
}
