import assert from "node:assert/strict";
import { POSTGRES } from "../../../../src/sql/postgres.ts";
import { ACK } from "../../../support/verdicts.ts";
import { PgBouncer } from "../../../support/pgbouncer.ts";
import { ADMINISTRATOR } from "../../../support/postgres_programs.ts";
import { PostgresServer } from "../../../support/postgres_server.ts";
import { bytes, FAILED, takeOne, textOf } from "../../../conformance/fixture.ts";
import { retry } from "../../../support/verdicts.ts";
import { openRows } from "./broker.ts";

Deno.test("The postgres broker runs jobs behind PgBouncer, several workers over one connection of the server", async () => {
  await using server = await PostgresServer.start();
  await using database = await server.database();
  await using pooler = await PgBouncer.start(server);
  const where = { address: pooler.address, user: ADMINISTRATOR, database: database.name };
  await using one = openRows(POSTGRES, where);
  await using other = openRows(POSTGRES, where);
  const names = Array.from({ length: 40 }, (_, i) => `job ${i}`);
  await Promise.all(names.map((name, i) => (i % 2 === 0 ? one : other).push("q", bytes(name))));
  const seen: string[] = [];
  for (let i = 0; i < names.length; i++) {
    const delivery = await takeOne(i % 3 === 0 ? one : other);
    seen.push(textOf(delivery));
    await delivery.lease!.extend();
    if (i < names.length - 1) {
      await delivery.settle(ACK);
      continue;
    }
    await delivery.settle(retry(0, FAILED));
    const again = await takeOne(other);
    assert.deepEqual([textOf(again), again.attempt], [textOf(delivery), 2]);
    await again.settle(ACK);
  }
  assert.deepEqual(seen.toSorted(), names.toSorted());
  assert.equal(await database.sql("SELECT count(*) FROM fervo_jobs"), "0");
});
