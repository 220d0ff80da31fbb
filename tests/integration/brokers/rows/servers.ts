/** The servers whose databases have our tables, for the tests of a file: each is started when the first test needs it. */
import { eventually } from "../../../support/eventually.ts";
import type { RowsBroker } from "../../../../src/brokers/rows/broker.ts";
import type { SqlClient, SqlDriver } from "../../../../src/sql/driver.ts";
import { MYSQL } from "../../../../src/sql/mysql.ts";
import { POSTGRES } from "../../../../src/sql/postgres.ts";
import { type MariadbOptions, MariadbServer } from "../../../support/mariadb_server.ts";
import { ADMINISTRATOR } from "../../../support/postgres_programs.ts";
import { type PostgresOptions, PostgresServer } from "../../../support/postgres_server.ts";
import { openRows, type OpenRowsOptions } from "./broker.ts";

/** What both have. */
export type Server = PostgresServer | MariadbServer;

/** A kind of server. */
export interface Kind {
  readonly driver: SqlDriver;
  /** The administrator. */
  readonly user: string;
  start(options?: PostgresOptions & MariadbOptions): Promise<Server>;
  /** The schema of a database's tables in `information_schema`. */
  readonly schema: string;
}

/** By product. */
export const KINDS: Readonly<Record<string, Kind>> = {
  PostgreSQL: {
    driver: POSTGRES,
    user: ADMINISTRATOR,
    start: (options) => PostgresServer.start(options),
    schema: "current_schema()",
  },
  MariaDB: {
    driver: MYSQL,
    user: "root",
    start: (options) => MariadbServer.start(options),
    schema: "DATABASE()",
  },
};

const started = new Map<Kind, Promise<Server>>();
Deno.test.afterAll(async () => {
  for (const server of started.values()) await (await server)[Symbol.asyncDispose]();
});

/** An empty database of one's own, and connections to it. Gone with its scope. */
export class Database implements AsyncDisposable {
  readonly name: string;
  readonly #kind: Kind;
  readonly #server: Server;
  readonly #clients: SqlClient[] = [];
  readonly #drop: () => Promise<void>;

  private constructor(
    kind: Kind,
    server: Server,
    { name, drop }: { name: string; drop: () => Promise<void> },
  ) {
    this.#kind = kind;
    this.#server = server;
    this.name = name;
    this.#drop = drop;
  }

  /** @param own A server of the test's own; else the one that the tests of the file share. */
  static async create(kind: Kind, own?: Server): Promise<Database> {
    const server = own ?? await Database.#shared(kind);
    const database = await server.database();
    return new Database(kind, server, {
      name: database.name,
      drop: async () => await database[Symbol.asyncDispose](),
    });
  }

  static #shared(kind: Kind): Promise<Server> {
    const starting = started.get(kind) ?? kind.start();
    started.set(kind, starting);
    return starting;
  }

  /** Where the server is, and who we are there. */
  get place() {
    return { address: this.#server.address, user: this.#kind.user, database: this.name };
  }

  /** A connection as a worker has it. */
  async connect(): Promise<SqlClient> {
    const { address, user, database } = this.place;
    const client = await this.#kind.driver.connect(
      address,
      { username: user, password: undefined, database, tls: undefined },
      { name: "test", connectTimeoutMs: 10_000, lockTimeoutMs: 30_000 },
      () => {},
    );
    this.#clients.push(client);
    return client;
  }

  /** The broker on it, as one more process would open it. */
  open(
    { place = {}, ...options }: OpenRowsOptions & { place?: Partial<Database["place"]> } = {},
  ): RowsBroker {
    return openRows(this.#kind.driver, { ...this.place, ...place }, options);
  }

  /** What the server's own command line client prints for a script on its standard input. */
  sql(text: string): Promise<string> {
    return this.#server.sql(text, this.name);
  }

  /** Rows of a table, or of a table with a WHERE. */
  async count(from: string): Promise<number> {
    const { rows } = await (await this.connect()).run(`SELECT count(*) AS n FROM ${from}`);
    return Number(rows[0]!["n"]);
  }

  /** The versions in the table of versions. */
  async versions(): Promise<number[]> {
    const client = await this.connect();
    const { rows } = await client.run("SELECT version FROM fervo_schema ORDER BY version");
    return rows.map((row) => Number(row["version"]));
  }

  /** Resolves when a transaction waits for a lock. */
  async lockWait(): Promise<void> {
    const client = await this.connect();
    const text = client.dialect.name === "postgres"
      ? "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
      : `SELECT variable_value AS n FROM information_schema.global_status
         WHERE variable_name = 'Innodb_row_lock_current_waits'`;
    await eventually("a transaction waits", async () => Number((await client.run(text)).rows[0]!["n"]) > 0);
  }

  /** The names of its tables. */
  async tables(): Promise<string[]> {
    const { rows } = await (await this.connect()).run(
      `SELECT table_name AS name FROM information_schema.tables
       WHERE table_schema = ${this.#kind.schema} ORDER BY table_name`,
    );
    return rows.map((row) => String(row["name"]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.destroy();
    await this.#drop();
  }
}
