/** Numbers that the columns have no place for. */
import assert from "node:assert/strict";
import { POSTGRES } from "../../../../src/sql/postgres.ts";
import { MYSQL } from "../../../../src/sql/mysql.ts";
import { bytes, FAILED, takeOne } from "../../../conformance/fixture.ts";
import { MariadbServer } from "../../../support/mariadb_server.ts";
import { ADMINISTRATOR } from "../../../support/postgres_programs.ts";
import { PostgresServer } from "../../../support/postgres_server.ts";
import { RELEASE, retry } from "../../../support/verdicts.ts";
import { openRows } from "./broker.ts";

for (
  const [product, driver, user, start] of [
    ["PostgreSQL", POSTGRES, ADMINISTRATOR, () => PostgresServer.start()],
    ["MariaDB", MYSQL, "root", () => MariadbServer.start()],
  ] as const
) {
  Deno.test(`${product}: a running job whose attempts a person sets to 0 is released; a part of a millisecond counts as one`, async () => {
    await using server = await start();
    await using database = await server.database();
    await using broker = openRows(driver, { address: server.address, user, database: database.name });
    await broker.push("q", bytes("a job"));
    const released = await takeOne(broker);
    await database.sql("UPDATE fervo_jobs SET attempts = 0");
    await released.settle(RELEASE);
    assert.equal(await database.sql("SELECT attempts FROM fervo_jobs"), "0");
    const retried = await takeOne(broker);
    await retried.settle(retry(0.5, FAILED));
    assert.equal((await takeOne(broker)).attempt, 2);
    await broker.push("later", bytes("a job"), { delayMs: 0.5 });
    await takeOne(broker, { queues: ["later"] });
  });
}
