import type { SchemaScript } from "../../../broker_type.ts";
import type { Clock } from "../../../../core/time/clock.ts";
import { SqlDatabase, type SqlServerOptions } from "../../../../sql/database.ts";
import type { SqlDriver } from "../../../../sql/driver.ts";
import { hasTables, schemaStatements, schemaVersion } from "./migrate.ts";
import { MIGRATIONS, type Product } from "./versions.ts";
import { fervoTables } from "../tables.ts";

/** The servers of a driver, by what people call them on a command line. */
export type Products = Readonly<Record<string, Product>>;

/**
 * Our tables as a script for the server's own client.
 *
 * @param serverOf Where the database of a broker's settings is.
 */
export function fervoScript<Settings extends { readonly tablePrefix: string }>(
  { driver, products }: { readonly driver: SqlDriver; readonly products: Products },
  serverOf: (settings: Settings) => SqlServerOptions,
): SchemaScript<Settings> {
  const tablesOf = ({ tablePrefix }: Settings) => fervoTables(driver.dialect, tablePrefix);
  const newest = MIGRATIONS.length;
  return {
    products: Object.keys(products),
    version: newest,
    write(settings, { product, from }) {
      const name = products[product]!;
      if (from === newest) {
        return `-- Tables of fervo-worker on ${name}: version ${from} is the newest one.\n`;
      }
      const statements = schemaStatements(name, tablesOf(settings), from).map((statement) => `${statement};`);
      return [
        `-- Tables of fervo-worker on ${name}, from version ${from} to version ${newest}.`,
        // The other servers commit each statement that creates or changes a table.
        ...(name === "PostgreSQL" ? ["BEGIN;", ...statements, "COMMIT;"] : statements),
      ].map((line) => `${line}\n`).join("");
    },
    async ask(clock, settings) {
      const found = await look({ driver, clock }, serverOf(settings), tablesOf(settings));
      const product = Object.keys(products).find((key) => products[key] === found.product)!;
      return { product, from: found.version };
    },
  };
}

/** The server's product and the version of the tables; looks only. */
async function look(
  deps: { readonly driver: SqlDriver; readonly clock: Clock },
  options: SqlServerOptions,
  tables: ReturnType<typeof fervoTables>,
): Promise<{ readonly product: Product; readonly version: number }> {
  let version = 0;
  const database = new SqlDatabase({
    ...deps,
    onConnect: async (client) => {
      // Without one of them, the statements from the beginning make what is missing.
      version = await hasTables(client, tables) ? await schemaVersion(client, tables) : 0;
    },
  }, options);
  try {
    const { product } = await database.facts();
    return { product, version };
  } finally {
    await database.close();
  }
}
