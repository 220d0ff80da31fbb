import type { SqlClient, SqlSession } from "../../../../sql/driver.ts";
import { SqlFailure } from "../../../../sql/failure.ts";
import { type Migration, MIGRATIONS, type Product, versionTable } from "./versions.ts";
import type { FervoTables, Table } from "../tables.ts";

/** The advice to a worker that is older than the tables. */
export const UPGRADE = "upgrade fervo-worker";

/** How long a worker waits for another one that migrates, before it is told and asks again, seconds. */
const LOCK_WAIT_S = 10;

/** Columns that tables of ours have in every version; a table without one belongs to another program. */
const OUR_COLUMNS: Readonly<Record<keyof FervoTables, readonly string[]>> = {
  jobs: ["id", "queue", "payload", "state", "due_at", "lease", "unique_key", "taken_key"],
  paused: ["queue", "paused_at"],
  schedule: ["name", "rule", "claimed_to"],
  schema: ["version"],
};

/** What MySQL and MariaDB say of a change of a table that an earlier, half-done migration has made already. */
const MADE_BEFORE: ReadonlySet<string> = new Set([
  "ER_DUP_FIELDNAME",
  "ER_DUP_KEYNAME",
  "ER_CANT_DROP_FIELD_OR_KEY",
]);

/**
 * The statements from a version to the newest one. Each version is entered behind its own migration, so a half-done migration
 * begins where it ended.
 *
 * @param from 0 is a database without our tables.
 */
export function schemaStatements(
  product: Product,
  tables: FervoTables,
  from = 0,
  migrations: readonly Migration[] = MIGRATIONS,
): string[] {
  return [
    versionTable(product, tables),
    ...migrations.slice(from).flatMap((migration, i) => [
      ...migration(product, tables),
      `INSERT INTO ${tables.schema.quoted} (version) VALUES (${from + i + 1})`,
    ]),
  ];
}

/**
 * The version of the tables in the database; 0 without them.
 *
 * @throws {SqlFailure}
 */
export async function schemaVersion(session: SqlSession, { schema }: FervoTables): Promise<number> {
  try {
    const { rows } = await session.run(`SELECT max(version) AS version FROM ${schema.quoted}`);
    return Number(rows[0]?.["version"] ?? 0);
  } catch (error) {
    if (error instanceof SqlFailure && error.kind === "schema") return 0;
    throw error;
  }
}

/**
 * Brings the tables to the newest version. Several workers may do so at once: one of them does it.
 *
 * @param mayMigrate Else an older version is an error.
 * @throws {SqlFailure}
 */
export async function migrate(
  client: SqlClient,
  tables: FervoTables,
  mayMigrate: boolean,
  migrations: readonly Migration[] = MIGRATIONS,
): Promise<void> {
  const newest = migrations.length;
  const version = await schemaVersion(client, tables);
  if (version === newest) return;
  if (version > newest) {
    throw wrongSchema(
      `the tables have version ${version}, and this fervo-worker supports up to ${newest}`,
      [UPGRADE],
    );
  }
  if (!mayMigrate) {
    throw wrongSchema(
      version === 0
        ? `the table ${tables.schema.name} does not exist`
        : `the tables have version ${version}, and ${newest} is needed`,
      ["run the output of `fervo-worker schema` as an administrator", "or set create_tables = true"],
    );
  }
  await alone(client, tables, async () => {
    // Another worker may have done it while this one waited.
    const hasVersion = (await columnsOf(client, tables.schema)).has("version");
    const from = hasVersion ? await schemaVersion(client, tables) : 0;
    if (from >= newest) return;
    if (from === 0) await refuseForeign(client, tables);
    for (const statement of schemaStatements(client.facts.product, tables, from, migrations)) {
      await make(client, statement);
    }
  });
}

async function make(client: SqlClient, statement: string): Promise<void> {
  try {
    await client.run(statement);
  } catch (error) {
    const isMade = client.dialect.name === "mysql" && error instanceof SqlFailure &&
      MADE_BEFORE.has(error.code ?? "");
    if (!isMade) throw error;
  }
}

/** Under a lock of the server. PostgreSQL and SQLite also undo a migration that fails. */
async function alone(client: SqlClient, tables: FervoTables, work: () => Promise<void>): Promise<void> {
  await (client.dialect.name === "mysql" ? underLock : inTransaction)(client, tables.schema.name, work);
}

async function underLock(client: SqlClient, name: string, work: () => Promise<void>): Promise<void> {
  // The server has one space of names for all databases, and takes up to 64 characters.
  const lock = "CONCAT('fervo ', MD5(CONCAT(DATABASE(), ' ', ?)))";
  const { rows } = await client.run(`SELECT GET_LOCK(${lock}, ${LOCK_WAIT_S}) AS is_ours`, [name]);
  if (rows[0]?.["is_ours"] !== 1) {
    throw new SqlFailure("again", { cause: new Error(`another worker migrates the tables with ${name}`) });
  }
  try {
    await work();
  } finally {
    if (!client.isLost) await client.run(`SELECT RELEASE_LOCK(${lock}) AS released`, [name]);
  }
}

async function inTransaction(client: SqlClient, name: string, work: () => Promise<void>): Promise<void> {
  try {
    await client.run("BEGIN");
    if (client.dialect.name === "postgres") {
      await client.run("SELECT pg_advisory_xact_lock(hashtext(?))", [name]);
    }
    await work();
    await client.run("COMMIT");
  } catch (error) {
    if (!client.isLost) await client.run("ROLLBACK");
    throw error;
  }
}

/** `CREATE TABLE IF NOT EXISTS` would take another program's table for ours. */
async function refuseForeign(client: SqlClient, tables: FervoTables): Promise<void> {
  for (const [key, ours] of Object.entries(OUR_COLUMNS)) {
    const table = tables[key as keyof FervoTables];
    const columns = await columnsOf(client, table);
    const missing = ours.find((column) => !columns.has(column));
    if (columns.size === 0 || missing === undefined) continue;
    throw wrongSchema(
      `the table ${table.name} has no column ${missing}: it belongs to another program, or is damaged`,
      ["set another table_prefix, or rename that table"],
    );
  }
}

/**
 * PostgreSQL writes bytes into a column of texts as another text, and says nothing.
 *
 * @throws {SqlFailure}
 */
export async function refuseTextPayloads(client: SqlClient, { jobs }: FervoTables): Promise<void> {
  if (client.dialect.name !== "postgres") return;
  const { rows } = await client.run(
    `SELECT format_type(atttypid, NULL) AS type FROM pg_attribute
     WHERE attrelid = to_regclass(?) AND attname = 'payload'`,
    [jobs.quoted],
  );
  const type = rows[0]?.["type"];
  if (type === undefined || type === "bytea") return;
  throw wrongSchema(`the column payload of ${jobs.name} is ${type}, and must be bytea`, [
    "compare the table with the output of `fervo-worker schema`",
  ]);
}

/** Whether all of our tables are there, as far as this user can see. */
export async function hasTables(client: SqlClient, tables: FervoTables): Promise<boolean> {
  for (const table of Object.values<Table>({ ...tables })) {
    if ((await columnsOf(client, table)).size === 0) return false;
  }
  return true;
}

/** The names of a table's columns; empty when there is no such table. */
async function columnsOf(client: SqlClient, { name }: Table): Promise<ReadonlySet<string>> {
  const columns = {
    postgres: `SELECT column_name AS name FROM information_schema.columns
      WHERE table_schema = current_schema() AND table_name = ?`,
    mysql: `SELECT column_name AS name FROM information_schema.columns
      WHERE table_schema = DATABASE() AND table_name = ?`,
    sqlite: "SELECT name FROM pragma_table_info(?)",
  };
  const { rows } = await client.run(columns[client.dialect.name], [name]);
  return new Set(rows.map((row) => String(row["name"])));
}

function wrongSchema(what: string, remedies: readonly string[]): SqlFailure {
  return new SqlFailure("schema", { cause: new Error(what), advice: remedies.join(", ") });
}
