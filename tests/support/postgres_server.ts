import type { SocketAddress } from "../../src/net/address.ts";
import { type Authority, installCertificate } from "./certificates.ts";
import { eventually } from "./eventually.ts";
import type { ServerNetwork } from "./forgetful_firewall.ts";
import { privateLoopback } from "./php_fpm.ts";
import { ADMINISTRATOR, findPostgres, psql } from "./postgres_programs.ts";
import { runProgram } from "./run_program.ts";
import { ServerClock } from "./server_clock.ts";
import { hasEnded, ServerProcess } from "./server_process.ts";
import { newServerData } from "./server_template.ts";
import { asServerUser, makeServerFolder, writeServerFile } from "./server_user.ts";
import { databaseName, runSql } from "./sql_shell.ts";
import { standStill } from "./stand_still.ts";

const PORT = 5_432;

/** How a {@link PostgresServer} differs from one on a unix socket with PostgreSQL's own settings. */
export interface PostgresOptions {
  /** Listens on TCP, too, at this address, or at a loopback address of its own. */
  readonly tcp?: boolean | string;
  /** Listens there on TCP, too. */
  readonly network?: ServerNetwork;
  /** Lines of postgresql.conf, which win over the fixture's own. */
  readonly config?: readonly string[];
  /** Lines of pg_hba.conf, which win over the fixture's own: these let all users in without a password. */
  readonly access?: readonly string[];
  /** Takes only TLS on TCP, with a certificate of this authority for its address. */
  readonly tls?: {
    readonly authority: Authority;
    /** Clients show a certificate of the same authority. */
    readonly needsClientCertificate?: boolean;
  };
  /**
   * Has its files on a disk and waits for it, as in production, also where there is room in memory. What is committed outlives
   * `kill` without that, too, for the machine goes on.
   */
  readonly syncs?: boolean;
  /** Runs on a clock that `passTime` moves ahead. */
  readonly hasMovableClock?: boolean;
}

/**
 * A real PostgreSQL in a temporary folder, on a unix socket; gone with its scope. The tests of a file share one server, and
 * have a database each:
 *
 * ```ts
 * await using server = await PostgresServer.start();
 * await using database = await server.database();
 * await database.sql("CREATE TABLE jobs (id bigint)");
 * ```
 */
export class PostgresServer implements AsyncDisposable {
  readonly folder: string;
  /** On TCP where it listens there, else its unix socket. The same after a restart. */
  readonly address: SocketAddress;
  readonly #bin: string;
  readonly #options: PostgresOptions;
  readonly #primary: PostgresServer | undefined;
  #clock: ServerClock | undefined;
  #process: ServerProcess | undefined;

  private constructor(bin: string, folder: string, options: PostgresOptions, primary?: PostgresServer) {
    this.folder = folder;
    this.#bin = bin;
    this.#options = options;
    this.#primary = primary;
    const { network, tcp } = options;
    const hostname = network?.host ?? (tcp === true ? privateLoopback() : tcp || undefined);
    this.address = hostname === undefined
      ? { transport: "unix", path: this.socket }
      : { transport: "tcp", hostname, port: PORT };
  }

  /** @throws {Error} when PostgreSQL is not installed, or does not start, with its log. */
  static start(options: PostgresOptions = {}): Promise<PostgresServer> {
    return PostgresServer.#start(options, undefined);
  }

  static async #start(
    options: PostgresOptions,
    primary: PostgresServer | undefined,
  ): Promise<PostgresServer> {
    const bin = await findPostgres();
    const folder = await makeServerFolder("fervo-postgres-", { isOnDisk: options.syncs });
    const server = new PostgresServer(bin, folder, options, primary);
    try {
      await (primary === undefined ? server.#createData() : server.#copyData(primary));
      await server.#configure();
      await server.restart();
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The unix socket, which it has beside TCP, too. Programs of PostgreSQL want its folder. */
  get socket(): string {
    return `${this.folder}/.s.PGSQL.${PORT}`;
  }

  get isRunning(): boolean {
    return this.#process !== undefined;
  }

  /** The process id of the postmaster. */
  get pid(): number {
    if (this.#process === undefined) throw new Error("PostgreSQL is not running");
    return this.#process.pid;
  }

  /** What the server has logged. */
  log(): Promise<string> {
    return Deno.readTextFile(this.#logFile);
  }

  /**
   * Runs statements by psql, each in a transaction of its own; for tests that look past the product.
   *
   * @returns The rows, one a line, with `|` between the columns.
   * @throws {Error} with what the server said.
   */
  sql(text: string, database: string = ADMINISTRATOR): Promise<string> {
    return runSql(psql(this.#bin, { folder: this.folder, port: PORT, database }), text);
  }

  /** A database of one's own, gone with its scope. */
  async database(): Promise<PostgresDatabase> {
    const name = databaseName();
    await this.sql(`CREATE DATABASE ${name}`);
    return new PostgresDatabase(this, name);
  }

  /** A streaming replica of this server, with a unix socket and whatever else the options say. */
  replica(options: PostgresOptions = {}): Promise<PostgresServer> {
    return PostgresServer.#start(options, this);
  }

  /** Resolves when this replica has all that its primary had at the call. */
  async catchUp(): Promise<void> {
    if (this.#primary === undefined) throw new Error("this PostgreSQL is no replica");
    const position = await this.#primary.sql("SELECT pg_current_wal_lsn()");
    await eventually(
      "the replica has caught up",
      async () => await this.sql(`SELECT pg_last_wal_replay_lsn() >= '${position}'`) === "t",
    );
  }

  /** Makes a primary of this replica; resolves when it takes writes. */
  async promote(): Promise<void> {
    if (await this.sql("SELECT pg_promote()") !== "t") throw new Error("PostgreSQL was not promoted");
  }

  /** Moves the server's wall clock ahead. */
  async passTime(ms: number): Promise<void> {
    if (this.#clock === undefined) throw new Error("this PostgreSQL has the machine's clock");
    await this.#clock.passTime(ms);
  }

  /** SIGKILL of all processes, as when the machine dies; what is on the disk stays. */
  async kill(): Promise<void> {
    const process = this.#process;
    this.#process = undefined;
    if (process === undefined) return;
    // It starts no other process once it stands still.
    process.signal("SIGSTOP");
    const children = await this.#childrenOf(process.pid);
    for (const child of children) send("SIGKILL", child);
    await process.end("SIGKILL");
    // A server whose processes still have its memory refuses to start.
    await eventually("all processes have ended", () => children.every(hasEnded));
  }

  /** Ends connections and transactions, and stops. */
  async stop(): Promise<void> {
    await this.#end("SIGINT");
  }

  /** Starts it with the same data; stops it first when it runs. */
  async restart(): Promise<void> {
    await this.stop();
    if (this.#options.hasMovableClock) this.#clock ??= await ServerClock.create();
    const process = new ServerProcess([`${this.#bin}/postgres`, "-D", this.#data], {
      network: this.#options.network,
      clock: this.#clock,
      logFile: this.#logFile,
    });
    this.#process = process;
    await process.answers(async () => {
      // The file may be of an earlier start. Its first line is the process id, its eighth the state, with spaces after it.
      const lines = (await Deno.readTextFile(this.#pidFile).catch(() => "")).split("\n");
      return lines[0] === String(process.pid) && lines[7]?.trim() === "ready";
    });
  }

  /** SIGSTOP and SIGCONT of all processes, for a server that hangs. */
  async signal(signal: "SIGSTOP" | "SIGCONT"): Promise<void> {
    send(signal, this.pid);
    const children = await this.#childrenOf(this.pid);
    for (const child of children) send(signal, child);
    if (signal === "SIGSTOP") await standStill([this.pid, ...children]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process !== undefined) await this.signal("SIGCONT");
    await this.#end("SIGQUIT");
    await this.#removeSharedMemory();
    await this.#clock?.[Symbol.asyncDispose]();
    await Deno.remove(this.folder, { recursive: true });
  }

  get #data(): string {
    return `${this.folder}/data`;
  }

  get #logFile(): string {
    return `${this.folder}/log`;
  }

  get #pidFile(): string {
    return `${this.#data}/postmaster.pid`;
  }

  async #createData(): Promise<void> {
    const { said } = await runProgram(`${this.#bin}/postgres`, "--version");
    const version = /\d[\w.]*/.exec(said)?.[0];
    const options = [
      `--username=${ADMINISTRATOR}`,
      "--auth=trust",
      "--encoding=UTF8",
      "--no-locale",
      "--no-sync",
    ];
    await newServerData(`postgresql-${version}`, this.#data, async (folder) => {
      await this.#run("initdb", ...options, `--pgdata=${folder}`);
    });
  }

  async #copyData(primary: PostgresServer): Promise<void> {
    const where = `host=${primary.folder} port=${PORT} user=${ADMINISTRATOR} application_name=replica`;
    const how = ["--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream", "--no-sync"];
    await this.#run("pg_basebackup", ...how, `--dbname=${where}`, `--pgdata=${this.#data}`);
  }

  async #configure(): Promise<void> {
    const { config = [], access = [], syncs = false } = this.#options;
    const { address } = this;
    const tls = await this.#tls();
    const lines = [
      `unix_socket_directories = '${this.folder}'`,
      `listen_addresses = '${address.transport === "tcp" ? address.hostname : ""}'`,
      `port = ${PORT}`,
      "timezone = 'UTC'",
      `fsync = ${syncs ? "on" : "off"}`,
      // As files, which go with the folder, whatever becomes of the server.
      "dynamic_shared_memory_type = mmap",
      ...tls.config,
      ...config,
    ];
    const rules = [
      `local all,replication ${ADMINISTRATOR} trust`,
      ...access,
      "local all all trust",
      ...tls.access,
    ];
    await writeServerFile(`${this.#data}/postgresql.conf`, lines);
    await writeServerFile(`${this.#data}/pg_hba.conf`, rules);
  }

  async #tls(): Promise<{ config: readonly string[]; access: readonly string[] }> {
    const { tls } = this.#options;
    if (tls === undefined) return { config: [], access: ["host all all all trust"] };
    if (this.address.transport !== "tcp") throw new TypeError("TLS is for servers that listen on TCP");
    const { hostname } = this.address;
    const files = await installCertificate(tls.authority, hostname, this.folder);
    const config = Object.entries(files).map(([name, file]) => `ssl_${name}_file = '${file}'`);
    const certificate = tls.needsClientCertificate ? "clientcert=verify-ca" : "";
    return { config: ["ssl = on", ...config], access: [`hostssl all all all trust ${certificate}`] };
  }

  async #end(signal: Deno.Signal): Promise<void> {
    const process = this.#process;
    this.#process = undefined;
    await process?.end(signal);
  }

  /** Removes what a killed server, other than one that ends, leaves in the kernel: the key and the id are in a line of this file. */
  async #removeSharedMemory(): Promise<void> {
    const lines = (await Deno.readTextFile(this.#pidFile).catch(() => "")).split("\n");
    const [, id] = lines[6]?.trim().split(/\s+/) ?? [];
    if (id !== undefined) await runProgram("ipcrm", "--shmem-id", id);
  }

  async #childrenOf(pid: number): Promise<number[]> {
    const { said } = await runProgram("ps", "-o", "pid=", "--ppid", String(pid));
    return said.split("\n").map(Number).filter((child) => child > 0);
  }

  async #run(program: string, ...args: readonly string[]): Promise<void> {
    const [first, ...others] = asServerUser(`${this.#bin}/${program}`, ...args);
    const { success, said } = await runProgram(first!, ...others);
    if (!success) throw new Error(said);
  }
}

/** A database of a {@link PostgresServer}, for one test; dropped with its scope, with the connections to it. */
export class PostgresDatabase implements AsyncDisposable {
  readonly server: PostgresServer;
  readonly name: string;

  constructor(server: PostgresServer, name: string) {
    this.server = server;
    this.name = name;
  }

  /** As {@link PostgresServer.sql}, in this database. */
  sql(text: string): Promise<string> {
    return this.server.sql(text, this.name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.server.isRunning) await this.server.sql(`DROP DATABASE ${this.name} WITH (FORCE)`);
  }
}

function send(signal: Deno.Signal, pid: number): void {
  try {
    Deno.kill(pid, signal);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
