import assert from "node:assert/strict";
import { Turns } from "../../../../src/brokers/rows/turns.ts";
import { systemClock } from "../../../../src/core/time/clock.ts";
import type { SocketAddress } from "../../../../src/net/address.ts";
import { SqlDatabase } from "../../../../src/sql/database.ts";
import type { SqlDriver } from "../../../../src/sql/driver.ts";
import { MYSQL } from "../../../../src/sql/mysql.ts";
import { POSTGRES } from "../../../../src/sql/postgres.ts";
import { MariadbServer } from "../../../support/mariadb_server.ts";
import { ADMINISTRATOR } from "../../../support/postgres_programs.ts";
import { PostgresServer } from "../../../support/postgres_server.ts";

interface Kind {
  readonly driver: SqlDriver;
  readonly user: string;
  start(): Promise<
    AsyncDisposable & {
      readonly address: SocketAddress;
      database(): Promise<AsyncDisposable & { readonly name: string }>;
    }
  >;
}

const KINDS: Readonly<Record<string, Kind>> = {
  PostgreSQL: { driver: POSTGRES, user: ADMINISTRATOR, start: () => PostgresServer.start() },
  MariaDB: { driver: MYSQL, user: "root", start: () => MariadbServer.start() },
};

for (const [product, { driver, user, start }] of Object.entries(KINDS)) {
  Deno.test(`Turns.run() on ${product} makes a change again that meets a duplicate key, alone as well, and only that one`, async () => {
    await using server = await start();
    await using database = await server.database();
    const open = () =>
      new SqlDatabase({ driver, clock: systemClock }, {
        endpoints: [server.address],
        access: () =>
          Promise.resolve({ username: user, password: undefined, database: database.name, tls: undefined }),
        name: "test",
        connectTimeoutMs: 5_000,
        lockTimeoutMs: 30_000,
        statementTimeoutMs: 30_000,
        keepaliveMs: 0,
      });
    const [ours, theirs] = [open(), open()];
    await theirs.run("CREATE TABLE notes (note VARCHAR(20) PRIMARY KEY)");
    const turns = new Turns(ours);
    let attempts = 0;
    const note = async (session: Pick<SqlDatabase, "run">, text: string) =>
      await session.run("INSERT INTO notes VALUES (?)", [text]);
    await Promise.all([
      turns.run((session) => Promise.resolve({ result: note(session, "beside it") })),
      turns.run(async (session) => {
        attempts++;
        // Somebody is faster twice: in the transaction that both changes share, and in that of this one.
        if (attempts <= 2) await note(theirs, `attempt ${attempts}`);
        return { result: note(session, `attempt ${attempts}`) };
      }),
    ]);
    assert.equal(attempts, 3);
    const { rows } = await theirs.run("SELECT note FROM notes ORDER BY note");
    assert.deepEqual(rows.map((row) => row["note"]), ["attempt 1", "attempt 2", "attempt 3", "beside it"]);
    await Promise.all([ours.close(), theirs.close()]);
  });
}
