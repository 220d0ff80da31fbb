/**
 * The bundle's tests have the tables of PostgreSQL and MariaDB in files, which are the schema's own statements.
 * `UPDATE_FIXTURES=1 deno test -A tests/unit/brokers/rows/bundle_fixture_test.ts` writes them.
 */
import assert from "node:assert/strict";
import { schemaStatements } from "../../../../src/brokers/rows/fervo/schema/migrate.ts";
import { fervoTables } from "../../../../src/brokers/rows/fervo/tables.ts";
import { MYSQL_DIALECT, POSTGRES_DIALECT } from "../../../../src/sql/dialect.ts";

const FIXTURES = new URL("../../../../php/bundle/tests/Fixtures/", import.meta.url);

const FILES = [
  ["queue.postgres.sql", "PostgreSQL", POSTGRES_DIALECT],
  ["queue.mysql.sql", "MariaDB", MYSQL_DIALECT],
] as const;

for (const [file, product, dialect] of FILES) {
  Deno.test(`php/bundle/tests/Fixtures/${file} has the statements of the schema`, async () => {
    const statements = schemaStatements(product, fervoTables(dialect, "fervo_"));
    const expected =
      `-- The tables as fervo-worker creates them: tests/unit/brokers/rows/bundle_fixture_test.ts.\n${
        statements.map((statement) => `${statement};\n`).join("")
      }`;
    const url = new URL(file, FIXTURES);
    if (Deno.env.has("UPDATE_FIXTURES")) await Deno.writeTextFile(url, expected);
    assert.equal(await Deno.readTextFile(url), expected, "run this file with UPDATE_FIXTURES=1");
  });
}
