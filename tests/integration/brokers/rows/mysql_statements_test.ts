/** What is done another way on MySQL, on MariaDB: MySQL itself is not run. */
import assert from "node:assert/strict";
import type { SqlDriver } from "../../../../src/sql/driver.ts";
import { MYSQL } from "../../../../src/sql/mysql.ts";
import { bytes, pushAll, rejectsWith, take } from "../../../conformance/fixture.ts";
import { MariadbServer } from "../../../support/mariadb_server.ts";
import { ACK } from "../../../support/verdicts.ts";
import { openRows } from "./broker.ts";

/** Takes MariaDB for a MySQL, whose DELETE returns no rows. */
const TAKEN_FOR_MYSQL: SqlDriver = {
  ...MYSQL,
  async connect(...args) {
    const client = await MYSQL.connect(...args);
    Object.defineProperty(client, "facts", { value: { ...client.facts, product: "MySQL" } });
    return client;
  },
};

Deno.test("On MySQL the acknowledgements of a turn remove the rows that are ours, and no others", async () => {
  await using server = await MariadbServer.start();
  await using database = await server.database();
  const where = { address: server.address, user: "root", database: database.name };
  {
    await using first = openRows(MYSQL, where);
    await first.push("other", bytes("stays"));
  }
  await using broker = openRows(TAKEN_FOR_MYSQL, where);
  await pushAll(broker, ["a", "b", "c", "d"]);
  const deliveries = await take(broker, { max: 4 });
  await database.sql(`UPDATE fervo_jobs SET lease = 'somebody else' WHERE id = ${deliveries[1]!.id}`);
  await database.sql(`DELETE FROM fervo_jobs WHERE id = ${deliveries[2]!.id}`);
  const [a, b, c, d] = deliveries.map((delivery) => delivery.settle(ACK));
  await Promise.all([a, rejectsWith("LEASE_LOST", b!), rejectsWith("LEASE_LOST", c!), d]);
  assert.equal(await database.sql("SELECT payload FROM fervo_jobs ORDER BY id"), "stays\nb");
});
