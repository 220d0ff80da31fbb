/** A table of Messenger, or messages in it, that are not as they should be: what the worker says, and what it keeps. */
import assert from "node:assert/strict";
import { formatAddress, type SocketAddress } from "../../src/net/address.ts";
import { Site } from "../support/fervo_worker.ts";
import { MariadbServer } from "../support/mariadb_server.ts";
import { consumeByFervoWorker } from "../support/messenger/consume.ts";
import { DATABASE_KINDS, startDatabases } from "../support/messenger/databases.ts";
import { Trial } from "../support/messenger/trial.ts";
import { PostgresServer } from "../support/postgres_server.ts";
import { TABLES } from "../integration/brokers/rows/messenger/tables.ts";

// tests/slow/messenger_bad_input_test.ts has what takes longer: signatures, and an application that does not start.

const READ_ONLY =
  /it is a replica, or set to be read-only; name the primary, or all servers of a failover, in the url/;

const SERVERS = {
  postgres: {
    start: () =>
      PostgresServer.start({
        tcp: true,
        access: ["host all shop all scram-sha-256", "host all all all trust"],
      }),
    user: `CREATE ROLE shop LOGIN PASSWORD 'right'`,
    rights: "GRANT SELECT, INSERT, UPDATE, DELETE ON messenger_messages TO shop",
  },
  mysql: {
    start: () => MariadbServer.start({ tcp: true }),
    user: "CREATE USER shop@'%' IDENTIFIED BY 'right'",
    rights: "GRANT SELECT, INSERT, UPDATE, DELETE ON messenger_messages TO shop@'%'",
  },
} as const;

/** What differs from the right one. */
interface Access {
  readonly password?: string;
  readonly address?: SocketAddress;
}

for (const kind of ["postgres", "mysql"] as const) {
  Deno.test(`The worker says what is wrong with a table of Messenger on ${kind}, and what to do`, async () => {
    await using server = await SERVERS[kind].start();
    await using database = await server.database();
    await using site = await Site.create();
    const configure = ({ password = "right", address = server.address }: Access) =>
      site.configure({
        broker: {
          driver: kind,
          format: "messenger",
          url: `${kind}://shop@${formatAddress(address)}/${database.name}`,
          password,
        },
        fpm: { kill_on_timeout: true, status_path: "/status" },
      });
    /** A command fails with this reason, and a worker says it. */
    const says = async (reason: RegExp, access: Access = {}) => {
      await configure(access);
      const { code, stderr } = await site.run(["queues"]);
      assert.equal(code, 4, stderr);
      assert.match(stderr, reason);
      await using worker = site.start(["run"]);
      await worker.says("QUEUE_UNAVAILABLE");
      // Lines of JSON.
      assert.match(worker.stderr.replaceAll('\\"', '"'), reason);
    };
    await database.sql(SERVERS[kind].user);
    if (kind === "mysql") await database.sql(`GRANT SELECT ON ${database.name}.* TO shop@'%'`);
    await says(/user name or the password is wrong|Access denied/, { password: "wrong" });
    await says(
      /the table "messenger_messages" of Symfony Messenger is missing.*run `bin\/console messenger:setup-transports`/,
    );

    for (const statement of TABLES[kind].composite) await database.sql(statement);
    await database.sql(SERVERS[kind].rights);
    await database.sql("ALTER TABLE messenger_messages RENAME COLUMN delivered_at TO taken_at");
    await says(/or a column of it is missing.*run `bin\/console messenger:setup-transports`.*delivered_at/);
    await database.sql("ALTER TABLE messenger_messages RENAME COLUMN taken_at TO delivered_at");

    if (server instanceof PostgresServer) {
      await using replica = await server.replica({ tcp: true });
      await replica.catchUp();
      await says(READ_ONLY, { address: replica.address });
    } else {
      await server.sql("SET GLOBAL read_only = 1");
      await says(READ_ONLY);
      await server.sql("SET GLOBAL read_only = 0");
    }
    await configure({});
    await site.runOk(["queues"]);
  });
}

/** Rows that nobody has produced in this way: `headers`, `body`, and what the dead letter says. */
const BAD_ROWS: readonly { headers: string; body: string; reason: RegExp }[] = [
  { headers: '{"type":5}', body: "901-number", reason: /JOB_MALFORMED/ },
  { headers: "no JSON", body: "902-text", reason: /JOB_MALFORMED/ },
  { headers: "[]", body: "903-garbage", reason: /DECODE_FAILED/ },
  { headers: '{"type":"App\\\\Message\\\\Gone"}', body: "904-nul \0 in it", reason: /DECODE_FAILED/ },
];

for (const kind of DATABASE_KINDS) {
  Deno.test(`A message that cannot be read is kept as it is on ${kind}, and those behind it run`, async () => {
    await using databases = await startDatabases(kind);
    await using trial = await Trial.create(databases, { symfony: "Debian's", hasBundle: true });
    const { database } = trial;
    // PostgreSQL stores no NUL in a text.
    const rows = BAD_ROWS.filter(({ body }) => kind !== "postgres" || !body.includes("\0"));
    const now = "'2020-01-01 00:00:00'";
    for (const { headers, body } of rows) {
      await database.run(
        `INSERT INTO messenger_messages (body, headers, queue_name, created_at, available_at) VALUES (?, ?, 'default', ${now}, ${now})`,
        body,
        headers,
      );
    }
    const gone = { name: "001-class-gone", class: "Task", transport: "php", action: "class gone" } as const;
    const good = Array.from(
      { length: 5 },
      (_, at) => ({ name: `01${at}-good`, class: "Task", transport: "php", action: "ok" }) as const,
    );
    await trial.dispatch([gone, ...good]);
    await consumeByFervoWorker(trial);

    for (const { name } of good) {
      assert.deepEqual((await trial.ledger(name)).map(({ what }) => what), ["begin", "end"]);
    }
    const hex = kind === "postgres" ? "encode(convert_to(body, 'UTF8'), 'hex')" : "lower(hex(body))";
    const left = await database.run(
      `SELECT ${hex} AS body, headers, queue_name FROM messenger_messages ORDER BY id`,
    );
    assert.deepEqual(left.map(({ queue_name }) => queue_name), left.map(() => "default__fervo_dead"));
    assert.deepEqual(
      left.slice(0, -1).map(({ body }) => body),
      rows.map(({ body }) => new TextEncoder().encode(body).toHex()),
    );
    for (const [at, { reason, headers }] of rows.entries()) {
      const facts = JSON.parse(JSON.parse(String(left[at]!["headers"]))["X-Fervo-Worker"]);
      assert.match(JSON.stringify(facts), reason);
      assert.equal(facts.dead.headers, headers);
    }
    assert.match(String(left.at(-1)!["headers"]), /DECODE_FAILED.*Gone/);
  });
}
