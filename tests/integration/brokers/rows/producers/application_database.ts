import { schemaStatements } from "../../../../../src/brokers/rows/fervo/schema/migrate.ts";
import { fervoTables } from "../../../../../src/brokers/rows/fervo/tables.ts";
import type { ServerFacts, SqlClient, SqlDriver } from "../../../../../src/sql/driver.ts";
import { MYSQL } from "../../../../../src/sql/mysql.ts";
import { POSTGRES } from "../../../../../src/sql/postgres.ts";
import { MariadbServer } from "../../../../support/mariadb_server.ts";
import { PostgresServer } from "../../../../support/postgres_server.ts";

type Server = PostgresServer | MariadbServer;

/** A kind of server, as the driver of a broker, and how to start one. */
export interface ServerKind {
  readonly name: "postgres" | "mysql";
  readonly product: ServerFacts["product"];
  readonly driver: SqlDriver;
  readonly user: string;
  start(): Promise<Server>;
}

/** Those whose tables producers in PHP fill. */
export const SERVER_KINDS: readonly ServerKind[] = [
  {
    name: "postgres",
    product: "PostgreSQL",
    driver: POSTGRES,
    user: "postgres",
    start: () => PostgresServer.start(),
  },
  { name: "mysql", product: "MariaDB", driver: MYSQL, user: "root", start: () => MariadbServer.start() },
];

/**
 * The database of an application: its own table `orders`, and the worker's tables. The test looks into it by a connection of its
 * own, and so sees what is committed.
 */
export class ApplicationDatabase implements AsyncDisposable {
  readonly kind: ServerKind;
  readonly name: string;
  readonly client: SqlClient;
  readonly #server: Server;
  readonly #drop: () => Promise<void>;

  private constructor(
    kind: ServerKind,
    server: Server,
    client: SqlClient,
    { name, drop }: { name: string; drop: () => Promise<void> },
  ) {
    this.kind = kind;
    this.client = client;
    this.#server = server;
    this.name = name;
    this.#drop = drop;
  }

  static async create(kind: ServerKind, server: Server): Promise<ApplicationDatabase> {
    const database = await server.database();
    const access = { username: kind.user, password: undefined, database: database.name, tls: undefined };
    const options = { name: "test", connectTimeoutMs: 10_000, lockTimeoutMs: 10_000 };
    const client = await kind.driver.connect(server.address, access, options, () => {});
    for (const statement of schemaStatements(kind.product, fervoTables(client.dialect, "fervo_"))) {
      await client.run(statement);
    }
    const engine = kind.name === "mysql" ? " ENGINE = InnoDB" : "";
    await client.run(
      `CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, customer VARCHAR(99) NOT NULL DEFAULT '')${engine}`,
    );
    const drop = () => database[Symbol.asyncDispose]();
    return new ApplicationDatabase(kind, server, client, { name: database.name, drop });
  }

  /** For programs in PHP: the server's kind, where its socket is, the database and the user. */
  get phpArguments(): readonly string[] {
    const { kind } = this;
    // PostgreSQL's programs want the folder.
    const socket = kind.name === "postgres" ? this.#server.folder : this.#server.socket;
    return [kind.name, socket, this.name, kind.user];
  }

  /** Rows of a query, without their types. */
  async rows(text: string): Promise<Record<string, unknown>[]> {
    return (await this.client.run(text)).rows.map((row) => ({ ...row }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.destroy();
    await this.#drop();
  }
}
