/** Databases with Messenger's table: PostgreSQL, MariaDB, and a file of SQLite. */
import { systemClock } from "../../../src/core/time/clock.ts";
import type { SqlClient, SqlDriver } from "../../../src/sql/driver.ts";
import { SqlFailure } from "../../../src/sql/failure.ts";
import { MYSQL } from "../../../src/sql/mysql.ts";
import { POSTGRES } from "../../../src/sql/postgres.ts";
import { sqliteDriver } from "../../../src/sql/sqlite.ts";
import type { SqlValue } from "../../../src/sql/value.ts";
import { eventually } from "../eventually.ts";
import { MariadbServer } from "../mariadb_server.ts";
import { PostgresServer } from "../postgres_server.ts";

export const DATABASE_KINDS = ["postgres", "mysql", "sqlite"] as const;

export type DatabaseKind = (typeof DATABASE_KINDS)[number];

/** A server of a kind, which has several databases; of SQLite a folder of files. */
export interface Databases extends AsyncDisposable {
  create(): Promise<AppDatabase>;
}

/** @throws {Error} when the server is not installed. */
export async function startDatabases(kind: DatabaseKind): Promise<Databases> {
  if (kind === "sqlite") {
    const folder = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "fervo-messenger-" });
    let count = 0;
    return {
      create: () => AppDatabase.open(`sqlite:///${folder}/${++count}.db`, sqliteDriver(systemClock)),
      [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
    };
  }
  const server = kind === "postgres"
    ? await PostgresServer.start({ tcp: true })
    : await MariadbServer.start({ tcp: true });
  const { address } = server;
  if (address.transport !== "tcp") throw new TypeError("the server listens on TCP");
  return {
    async create() {
      // It is gone with its server.
      const { name } = await server.database();
      const user = kind === "postgres" ? "postgres" : "root";
      return AppDatabase.open(
        `${kind}://${user}@${address.hostname}:${address.port}/${name}`,
        kind === "postgres" ? POSTGRES : MYSQL,
      );
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** One database of an application. The test looks into it by a connection of its own. */
export class AppDatabase implements Disposable {
  readonly #url: string;
  readonly #client: SqlClient;

  private constructor(url: string, client: SqlClient) {
    this.#url = url;
    this.#client = client;
  }

  /** As Doctrine takes it. DBAL 4 wants to know the version. */
  get doctrineUrl(): string {
    const { product, version: { major, minor } } = this.#client.facts;
    const suffix = product === "MariaDB" ? ".0-MariaDB" : "";
    return `${this.#url}?serverVersion=${major}.${minor}${suffix}`;
  }

  static async open(url: string, driver: SqlDriver): Promise<AppDatabase> {
    const { protocol, hostname, port, username, pathname } = new URL(url);
    const isFile = protocol === "sqlite:";
    const client = await driver.connect(
      isFile
        ? { transport: "unix", path: pathname.slice(1) }
        : { transport: "tcp", hostname, port: Number(port) },
      { username, password: undefined, database: pathname.slice(1), tls: undefined },
      { name: "test", connectTimeoutMs: 10_000, lockTimeoutMs: 10_000 },
      () => {},
    );
    return new AppDatabase(url, client);
  }

  /** For `[brokers.…]` of the worker's configuration. */
  get broker(): Readonly<Record<string, string>> {
    const { protocol, pathname } = new URL(this.#url);
    const driver = protocol.slice(0, -1);
    return driver === "sqlite" ? { driver, path: pathname.slice(1) } : { driver, url: this.#url };
  }

  /** Rows of a statement; waits while others have the file of SQLite. */
  async run(text: string, ...values: SqlValue[]): Promise<readonly Readonly<Record<string, SqlValue>>[]> {
    let rows: readonly Readonly<Record<string, SqlValue>>[] = [];
    await eventually(text, async () => {
      try {
        rows = (await this.#client.run(text, values)).rows;
        return true;
      } catch (error) {
        if (error instanceof SqlFailure && error.kind === "again") return false;
        throw error;
      }
    });
    return rows;
  }

  /** The number that a statement tells. */
  async count(text: string, ...values: SqlValue[]): Promise<number> {
    const [row] = await this.run(text, ...values);
    return Number(Object.values(row!)[0]);
  }

  [Symbol.dispose](): void {
    this.#client.destroy();
  }
}
