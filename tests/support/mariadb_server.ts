import type { SocketAddress } from "../../src/net/address.ts";
import { type Authority, installCertificate } from "./certificates.ts";
import type { ServerNetwork } from "./forgetful_firewall.ts";
import { privateLoopback } from "./php_fpm.ts";
import { runProgram } from "./run_program.ts";
import { ServerClock } from "./server_clock.ts";
import { ServerProcess } from "./server_process.ts";
import { newServerData } from "./server_template.ts";
import { asServerUser, makeServerFolder, writeServerFile } from "./server_user.ts";
import { databaseName, runSql } from "./sql_shell.ts";
import { standStill } from "./stand_still.ts";

const PORT = 3_306;
/** Debian has it in a folder that is not on the PATH of every user. */
const PROGRAM = "/usr/sbin/mariadbd";
/** Needs no password, from wherever. */
const ADMINISTRATOR = "root";
/** A log of another size would be made anew at each start. */
const LOG_SIZE = "16M";

/** How a {@link MariadbServer} differs from one on a unix socket with MariaDB's own settings. */
export interface MariadbOptions {
  /** Listens on TCP, too, at a loopback address of its own. */
  readonly tcp?: boolean;
  /** Listens there on TCP, too. */
  readonly network?: ServerNetwork;
  /** Lines of my.cnf, which win over the fixture's own. */
  readonly config?: readonly string[];
  /**
   * Takes only TLS on TCP, with a certificate of this authority for its address. Which users show a certificate is SQL:
   * `CREATE USER … REQUIRE X509`.
   */
  readonly tls?: { readonly authority: Authority };
  /**
   * Has its files on a disk and waits for it, as in production, also where there is room in memory. What is committed outlives
   * `kill` without that, too, for the machine goes on.
   */
  readonly syncs?: boolean;
  /** Runs on a clock that `passTime` moves ahead. */
  readonly hasMovableClock?: boolean;
}

/**
 * A real MariaDB in a temporary folder, on a unix socket; gone with its scope. The tests of a file share one server, and have a
 * database each:
 *
 * ```ts
 * await using server = await MariadbServer.start();
 * await using database = await server.database();
 * await database.sql("CREATE TABLE jobs (id bigint)");
 * ```
 */
export class MariadbServer implements AsyncDisposable {
  readonly folder: string;
  /** On TCP where it listens there, else its unix socket. The same after a restart. */
  readonly address: SocketAddress;
  readonly #options: MariadbOptions;
  #clock: ServerClock | undefined;
  #process: ServerProcess | undefined;

  private constructor(folder: string, options: MariadbOptions) {
    this.folder = folder;
    this.#options = options;
    const hostname = options.network?.host ?? (options.tcp ? privateLoopback() : undefined);
    this.address = hostname === undefined
      ? { transport: "unix", path: this.socket }
      : { transport: "tcp", hostname, port: PORT };
  }

  /** @throws {Error} when MariaDB is not installed, or does not start, with its log. */
  static async start(options: MariadbOptions = {}): Promise<MariadbServer> {
    const isInstalled = await Deno.stat(PROGRAM).then(() => true, () => false);
    if (!isInstalled) throw new Error("Cannot find MariaDB: run scripts/setup test");
    const server = new MariadbServer(
      await makeServerFolder("fervo-mariadb-", { isOnDisk: options.syncs }),
      options,
    );
    try {
      await server.#createData();
      await server.#configure();
      await server.restart();
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The unix socket, which it has beside TCP, too. */
  get socket(): string {
    return `${this.folder}/socket`;
  }

  get isRunning(): boolean {
    return this.#process !== undefined;
  }

  /** The process id. */
  get pid(): number {
    if (this.#process === undefined) throw new Error("MariaDB is not running");
    return this.#process.pid;
  }

  /** What the server has logged. */
  log(): Promise<string> {
    return Deno.readTextFile(this.#logFile);
  }

  /**
   * Runs statements by the program mariadb, each in a transaction of its own; for tests that look past the product.
   *
   * @returns The rows, one a line, with a tab between the columns.
   * @throws {Error} with what the server said.
   */
  sql(text: string, database = "mysql"): Promise<string> {
    const how = [
      "--no-defaults",
      "--batch",
      "--raw",
      "--skip-column-names",
      "--skip-ssl",
      "--default-character-set=utf8mb4",
    ];
    const where = [`--socket=${this.socket}`, `--user=${ADMINISTRATOR}`, `--database=${database}`];
    return runSql(["mariadb", ...how, ...where], text);
  }

  /** A database of one's own, gone with its scope. */
  async database(): Promise<MariadbDatabase> {
    const name = databaseName();
    await this.sql(`CREATE DATABASE ${name}`);
    return new MariadbDatabase(this, name);
  }

  /** Moves the server's wall clock ahead. */
  async passTime(ms: number): Promise<void> {
    if (this.#clock === undefined) throw new Error("this MariaDB has the machine's clock");
    await this.#clock.passTime(ms);
  }

  /** SIGKILL, as when the machine dies; what is on the disk stays. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Ends connections and transactions, and stops. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** Starts it with the same data; stops it first when it runs. */
  async restart(): Promise<void> {
    await this.stop();
    if (this.#options.hasMovableClock) this.#clock ??= await ServerClock.create();
    await Deno.remove(this.socket).catch(() => {});
    this.#process = new ServerProcess([PROGRAM, `--defaults-file=${this.#configFile}`], {
      network: this.#options.network,
      clock: this.#clock,
      logFile: this.#logFile,
    });
    await this.#process.answers(() => this.#greets());
  }

  /** SIGSTOP and SIGCONT, for a server that hangs. */
  async signal(signal: "SIGSTOP" | "SIGCONT"): Promise<void> {
    if (this.#process === undefined) return;
    this.#process.signal(signal);
    if (signal === "SIGSTOP") await standStill([this.#process.pid]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.#clock?.[Symbol.asyncDispose]();
    await Deno.remove(this.folder, { recursive: true });
  }

  get #data(): string {
    return `${this.folder}/data`;
  }

  get #logFile(): string {
    return `${this.folder}/log`;
  }

  get #configFile(): string {
    return `${this.folder}/my.cnf`;
  }

  async #createData(): Promise<void> {
    const { said } = await runProgram(PROGRAM, "--no-defaults", "--version");
    const version = /Ver (\d[\d.]*)/.exec(said)?.[1];
    await newServerData(`mariadb-${version}`, this.#data, async (folder) => {
      const options = [`--datadir=${folder}`, `--innodb-log-file-size=${LOG_SIZE}`, "--debug-no-sync"];
      // By default root comes in by a plugin that looks at the user of the other end.
      const access = ["--auth-root-authentication-method=normal", "--skip-test-db"];
      await run("mariadb-install-db", "--no-defaults", ...access, ...options);
      const users = `${this.folder}/users.sql`;
      await writeServerFile(users, [
        "FLUSH PRIVILEGES;",
        `CREATE USER ${ADMINISTRATOR}@'%';`,
        `GRANT ALL ON *.* TO ${ADMINISTRATOR}@'%' WITH GRANT OPTION;`,
      ]);
      await run(
        "sh",
        "-c",
        `exec "$@" <'${users}'`,
        "sh",
        PROGRAM,
        "--no-defaults",
        "--bootstrap",
        ...options,
      );
    });
  }

  async #configure(): Promise<void> {
    const { config = [], syncs = false } = this.#options;
    const { address } = this;
    const lines = [
      "[mariadbd]",
      `datadir = ${this.#data}`,
      `tmpdir = ${this.folder}`,
      `socket = ${this.socket}`,
      `pid_file = ${this.folder}/pid`,
      ...(address.transport === "tcp"
        ? [`bind_address = ${address.hostname}`, `port = ${PORT}`]
        : ["skip_networking"]),
      "skip_name_resolve",
      // Each kernel has so few requests of this kind that servers take them from each other.
      "innodb_use_native_aio = OFF",
      "innodb_buffer_pool_size = 32M",
      `innodb_log_file_size = ${LOG_SIZE}`,
      ...(syncs ? [] : ["debug_no_sync", "innodb_flush_log_at_trx_commit = 2"]),
      ...await this.#tls(),
      ...config,
    ];
    await writeServerFile(this.#configFile, lines);
  }

  async #tls(): Promise<readonly string[]> {
    const { tls } = this.#options;
    // From 11.4 on it makes a certificate of its own.
    if (tls === undefined) return ["skip_ssl"];
    if (this.address.transport !== "tcp") throw new TypeError("TLS is for servers that listen on TCP");
    const { hostname } = this.address;
    const files = await installCertificate(tls.authority, hostname, this.folder);
    return [
      "require_secure_transport = ON",
      ...Object.entries(files).map(([name, file]) => `ssl_${name} = ${file}`),
    ];
  }

  async #end(signal: Deno.Signal): Promise<void> {
    const process = this.#process;
    this.#process = undefined;
    await process?.end(signal);
  }

  /** Whether the server speaks first, as it does once it takes commands. */
  async #greets(): Promise<boolean> {
    try {
      using socket = await Deno.connect({ transport: "unix", path: this.socket });
      return await socket.read(new Uint8Array(1)) !== null;
    } catch {
      return false;
    }
  }
}

/** A database of a {@link MariadbServer}, for one test; dropped with its scope. */
export class MariadbDatabase implements AsyncDisposable {
  readonly server: MariadbServer;
  readonly name: string;

  constructor(server: MariadbServer, name: string) {
    this.server = server;
    this.name = name;
  }

  /** As {@link MariadbServer.sql}, in this database. */
  sql(text: string): Promise<string> {
    return this.server.sql(text, this.name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.server.isRunning) await this.server.sql(`DROP DATABASE ${this.name}`);
  }
}

async function run(...command: readonly string[]): Promise<void> {
  const [program, ...args] = asServerUser(...command);
  const { success, said } = await runProgram(program!, ...args);
  if (!success) throw new Error(said);
}
