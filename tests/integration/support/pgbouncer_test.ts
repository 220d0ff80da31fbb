import assert from "node:assert/strict";
import { PgBouncer } from "../../support/pgbouncer.ts";
import { PostgresServer } from "../../support/postgres_server.ts";

Deno.test("PgBouncer has transactions on whichever connection is free, and answers again after kill() and restart()", async () => {
  await using server = await PostgresServer.start();
  await using database = await server.database();
  await using pooler = await PgBouncer.start(server, { tcp: true, config: ["default_pool_size = 1"] });
  const own = "SELECT current_database(), pg_backend_pid()";
  const first = await pooler.sql(own, database.name);
  assert.match(first, new RegExp(`^${database.name}\\|\\d+$`));
  assert.equal(await pooler.sql(own, database.name), first, "the one connection of the pool");
  assert.match(
    await pooler.console("SHOW POOLS"),
    new RegExp(`^${database.name}\\|postgres\\|.*\\|transaction\\b`, "m"),
  );

  const { address } = pooler;
  await pooler.kill();
  await assert.rejects(pooler.sql("SELECT 1"), /could not connect|connection to server .* failed/);
  await pooler.restart();
  assert.equal(await pooler.sql("SELECT 1"), "1");
  assert.deepEqual(pooler.address, address);
});
