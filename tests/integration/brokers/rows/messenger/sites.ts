/** Databases with Messenger's table, on every server, for tests that look into it. */
import type { RowsBroker } from "../../../../../src/brokers/rows/broker.ts";
import { systemClock } from "../../../../../src/core/time/clock.ts";
import type { SqlClient, SqlDriver, SqlRow } from "../../../../../src/sql/driver.ts";
import { sqliteDriver } from "../../../../../src/sql/sqlite.ts";
import { Database, KINDS } from "../servers.ts";
import {
  createTable,
  openMessenger,
  type OpenOptions,
  sqliteFile,
  type Where,
  withClient,
} from "./broker.ts";

/** A database with the table, a connection to it, and workers on it. */
export interface Site extends AsyncDisposable {
  readonly client: SqlClient;
  open(options?: OpenOptions): RowsBroker;
}

/** By server. */
export const SITES: Readonly<Record<string, (isEmpty?: boolean) => Promise<Site>>> = {
  PostgreSQL: (isEmpty) => serverSite("PostgreSQL", isEmpty),
  MariaDB: (isEmpty) => serverSite("MariaDB", isEmpty),
  SQLite: async (isEmpty) => {
    const folder = await Deno.makeTempDir({ prefix: "fervo-messenger-" });
    const where = sqliteFile(`${folder}/data.db`);
    await withClient(sqliteDriver(systemClock), where, (client) => client.run("SELECT 1"));
    return await siteOf(
      sqliteDriver(systemClock),
      where,
      isEmpty,
      () => Deno.remove(folder, { recursive: true }),
    );
  },
};

async function serverSite(name: string, isEmpty?: boolean): Promise<Site> {
  const kind = KINDS[name]!;
  const database = await Database.create(kind);
  return await siteOf(
    kind.driver,
    database.place,
    isEmpty,
    async () => await database[Symbol.asyncDispose](),
  );
}

async function siteOf(
  driver: SqlDriver,
  where: Where,
  isEmpty = false,
  drop: () => Promise<void>,
): Promise<Site> {
  const client = await driver.connect(
    where.address,
    { username: where.user, password: undefined, database: where.database, tls: undefined },
    { name: "test", connectTimeoutMs: 10_000, lockTimeoutMs: 30_000 },
    () => {},
  );
  if (!isEmpty) await createTable(client, "composite");
  const queueNames = new Map([["q", "default"]]);
  return {
    client,
    open: (options) => openMessenger(driver, where, { queueNames, ...options }),
    async [Symbol.asyncDispose]() {
      client.destroy();
      await drop();
    },
  };
}

/** As Symfony writes a row; the times in UTC, by default an hour ago. */
export async function insert(client: SqlClient, row: Partial<Record<string, string>> = {}): Promise<void> {
  const at = textOf(Date.now() - 3_600_000);
  const all = {
    body: "a body",
    headers: "[]",
    queue_name: "default",
    created_at: at,
    available_at: at,
    ...row,
  };
  const names = Object.keys(all);
  await client.run(
    `INSERT INTO messenger_messages (${names.join(", ")}) VALUES (${names.map(() => "?").join(", ")})`,
    Object.values(all) as string[],
  );
}

/** A time as the table has it, in UTC. */
export function textOf(atMs: number): string {
  return new Date(atMs).toISOString().slice(0, 19).replace("T", " ");
}

/** All rows. */
export async function rowsOf(client: SqlClient): Promise<readonly SqlRow[]> {
  return (await client.run("SELECT * FROM messenger_messages ORDER BY id")).rows;
}
