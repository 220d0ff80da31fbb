import assert from "node:assert/strict";
import { Turns } from "../../../../src/brokers/rows/turns.ts";
import { systemClock } from "../../../../src/core/time/clock.ts";
import { SqlDatabase } from "../../../../src/sql/database.ts";
import { Database, KINDS } from "./servers.ts";

function open(
  { driver }: typeof KINDS[keyof typeof KINDS],
  { name, place: { address, user } }: Database,
): SqlDatabase {
  return new SqlDatabase({ driver, clock: systemClock }, {
    endpoints: [address],
    access: () => Promise.resolve({ username: user, password: undefined, database: name, tls: undefined }),
    name: "test",
    connectTimeoutMs: 5_000,
    lockTimeoutMs: 30_000,
    statementTimeoutMs: 30_000,
    keepaliveMs: 0,
  });
}

for (const [product, kind] of Object.entries(KINDS)) {
  Deno.test(`Turns.run() on ${product} makes a change again that meets a duplicate key, alone as well, and only that one`, async () => {
    await using database = await Database.create(kind);
    const [ours, theirs] = [open(kind, database), open(kind, database)];
    await theirs.run("CREATE TABLE notes (note VARCHAR(20) PRIMARY KEY)");
    const turns = new Turns({ database: ours, clock: systemClock });
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

  Deno.test(`Turns.run() on ${product} rejects a change that fails, when the result of another one fails with it`, async () => {
    await using database = await Database.create(kind);
    const ours = open(kind, database);
    await ours.run("CREATE TABLE notes (note VARCHAR(20) NOT NULL PRIMARY KEY)");
    const turns = new Turns({ database: ours, clock: systemClock });
    const [gives, given, good] = await Promise.allSettled([
      turns.run(async (session) => {
        await session.run("INSERT INTO notes VALUES (?)", [null]);
        return { result: Promise.resolve() };
      }),
      turns.run((session) =>
        Promise.resolve({ result: session.run("INSERT INTO notes VALUES (?)", [null]) })
      ),
      turns.run((session) =>
        Promise.resolve({ result: session.run("INSERT INTO notes VALUES (?)", ["good"]) })
      ),
    ]);
    assert.deepEqual(
      [gives, given, good].map(({ status }) => status),
      ["rejected", "rejected", "fulfilled"],
    );
    const { rows } = await ours.run("SELECT note FROM notes ORDER BY note");
    assert.deepEqual(rows.map((row) => row["note"]), ["good"]);
    await ours.close();
  });

  Deno.test(`Turns.run() on ${product} makes a change again whose statement came behind the failed one of another change`, async () => {
    await using database = await Database.create(kind);
    const ours = open(kind, database);
    await ours.run("CREATE TABLE notes (note VARCHAR(20) NOT NULL PRIMARY KEY)");
    const turns = new Turns({ database: ours, clock: systemClock });
    const [first, second] = await Promise.allSettled([
      turns.run(async (session) => {
        await session.run("SELECT 1");
        return { result: session.run("INSERT INTO notes VALUES (?)", ["first"]) };
      }),
      turns.run((session) =>
        Promise.resolve({ result: session.run("INSERT INTO notes VALUES (?)", [null]) })
      ),
    ]);
    assert.deepEqual([first.status, second.status], ["fulfilled", "rejected"]);
    await ours.close();
  });
}
