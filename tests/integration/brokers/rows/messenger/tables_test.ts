/** Whether the tests' table of Symfony before 7.4 is the one that Symfony itself creates; its character set is the application's. */
import assert from "node:assert/strict";
import type { SqlClient } from "../../../../../src/sql/driver.ts";
import { MYSQL } from "../../../../../src/sql/mysql.ts";
import { POSTGRES } from "../../../../../src/sql/postgres.ts";
import { MariadbServer } from "../../../../support/mariadb_server.ts";
import { MessengerApp } from "../../../../support/messenger/messenger_app.ts";
import { PostgresServer } from "../../../../support/postgres_server.ts";
import { createTable, withClient } from "./broker.ts";

const COLUMNS = {
  postgres:
    `SELECT column_name, data_type, character_maximum_length AS length, datetime_precision AS digits, is_nullable
     FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = 'messenger_messages'
     ORDER BY ordinal_position`,
  mysql: `SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, EXTRA FROM information_schema.COLUMNS
     WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'messenger_messages' ORDER BY ORDINAL_POSITION`,
};
const INDEXES = {
  postgres: `SELECT regexp_replace(indexdef, 'INDEX .* ON \\S+ ', 'INDEX ') AS text FROM pg_indexes
     WHERE schemaname = current_schema() AND tablename = 'messenger_messages' ORDER BY text`,
  mysql: `SELECT GROUP_CONCAT(COLUMN_NAME ORDER BY SEQ_IN_INDEX) AS text FROM information_schema.STATISTICS
     WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'messenger_messages' GROUP BY INDEX_NAME ORDER BY text`,
};
const SERVERS = {
  postgres: { driver: POSTGRES, user: "postgres", start: () => PostgresServer.start({ tcp: true }) },
  mysql: { driver: MYSQL, user: "root", start: () => MariadbServer.start({ tcp: true }) },
};
async function tableOf(client: SqlClient, kind: "postgres" | "mysql"): Promise<unknown> {
  const [columns, indexes] = [await client.run(COLUMNS[kind]), await client.run(INDEXES[kind])];
  return { columns: columns.rows, indexes: indexes.rows };
}

for (const kind of ["postgres", "mysql"] as const) {
  Deno.test(`The tests' table on ${kind} has the columns and indexes that messenger:setup-transports gives it`, async () => {
    const { driver, user, start } = SERVERS[kind];
    await using server = await start();
    const { address } = server;
    assert.ok(address.transport === "tcp");
    const [theirs, ours] = [await server.database(), await server.database()];
    const version = await withClient(
      driver,
      { address, user, database: theirs.name },
      ({ facts: { version: { major, minor } } }) => Promise.resolve(`${major}.${minor}`),
    );
    const suffix = kind === "mysql" ? ".0-MariaDB" : "";
    const url =
      `${kind}://${user}@${address.hostname}:${address.port}/${theirs.name}?serverVersion=${version}${suffix}`;
    await using app = await MessengerApp.create({
      symfony: "Debian's",
      hasBundle: false,
      env: { APP_DATABASE: url, APP_LEDGER: "/nonexistent" },
    });
    await app.console("messenger:setup-transports");
    const expected: unknown = await withClient(
      driver,
      { address, user, database: theirs.name },
      (client) => tableOf(client, kind),
    );
    const actual: unknown = await withClient(
      driver,
      { address, user, database: ours.name },
      async (client) => {
        await createTable(client, "single");
        return await tableOf(client, kind);
      },
    );
    assert.deepEqual(actual, expected);
  });
}
