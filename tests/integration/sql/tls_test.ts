/** Encrypted connections to databases: who is trusted, and what is said when nobody is. */
import assert from "node:assert/strict";
import type { SqlDriver } from "../../../src/sql/driver.ts";
import { MYSQL } from "../../../src/sql/mysql.ts";
import { POSTGRES } from "../../../src/sql/postgres.ts";
import { Authority } from "../../support/certificates.ts";
import { MariadbServer } from "../../support/mariadb_server.ts";
import { PostgresServer } from "../../support/postgres_server.ts";
import { soon } from "../../support/soon.ts";
import { failsWith, openSql, single, type SqlClientOptions, tlsOf } from "../../support/sql_client.ts";

interface Kind {
  readonly driver: SqlDriver;
  readonly login: SqlClientOptions;
  /** The cipher of this connection. */
  readonly cipher: string;
  start(authority?: Authority): Promise<MariadbServer | PostgresServer>;
}

const KINDS: readonly Kind[] = [
  {
    driver: POSTGRES,
    login: { username: "postgres", database: "postgres" },
    cipher: "SELECT cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    start: (authority) => PostgresServer.start({ tcp: true, ...(authority && { tls: { authority } }) }),
  },
  {
    driver: MYSQL,
    login: { username: "root", database: "mysql" },
    cipher: "SELECT variable_value FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher'",
    start: (authority) => MariadbServer.start({ tcp: true, ...(authority && { tls: { authority } }) }),
  },
];

for (const { driver, login, cipher, start } of KINDS) {
  Deno.test(`${driver.product}: a connection is encrypted, and the server's certificate is verified`, async () => {
    await using authority = await Authority.create();
    await using stranger = await Authority.create();
    await using server = await start(authority);
    const connect = (options: SqlClientOptions) => openSql(driver, server.address, { ...login, ...options });
    const tls = await tlsOf(authority);

    await using opened = await connect({ tls });
    assert.match(String(await single(opened.client, cipher)), /^TLS_|GCM|CHACHA/);
    const payload = new Uint8Array(1_000_000).fill(7);
    const echo = driver === POSTGRES ? "SELECT ?::bytea" : "SELECT ?";
    assert.deepEqual(await single(opened.client, echo, [payload]), payload);

    await failsWith(
      connect({ tls: await tlsOf(stranger) }),
      "lost",
      /certificate cannot be verified: set ca_file/,
    );
    await failsWith(
      connect({ tls: { ...tls, ca: undefined } }),
      "lost",
      /certificate cannot be verified: set ca_file/,
    );
    await failsWith(connect({}), "denied", /pg_hba\.conf|by TLS|only encrypted connections/);
    for (const ca of ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]) {
      await failsWith(connect({ tls: { ...tls, ca } }), "denied", /ca_file has no certificate/);
    }
  });

  Deno.test(`${driver.product}: a certificate of another host is refused`, async () => {
    await using authority = await Authority.create();
    await using server = await start(authority);
    const { address } = server;
    assert(address.transport === "tcp");
    // A name of the same address: "localhost" would be another one.
    const hostname = `::ffff:${address.hostname}`;
    const connecting = openSql(driver, { ...address, hostname }, { ...login, tls: await tlsOf(authority) });
    await failsWith(connecting, "lost", /certificate is for another host/);
  });

  Deno.test(`${driver.product}: an encrypted connection is lost when its server is killed, and ends when it is destroyed`, async () => {
    await using authority = await Authority.create();
    await using server = await start(authority);
    const tls = await tlsOf(authority);
    await using destroyed = await openSql(driver, server.address, { ...login, tls });
    const waits = driver === POSTGRES ? "SELECT pg_sleep(60)" : "SELECT sleep(60)";
    const pending = destroyed.client.run(waits);
    destroyed.client.destroy();
    await failsWith(soon("it rejects", pending), "lost", /this worker has closed/);

    await using opened = await openSql(driver, server.address, { ...login, tls });
    await server.kill();
    await soon("the loss is reported", opened.lost);
    assert.equal(opened.client.isLost, true);
  });

  Deno.test(`${driver.product}: a server without TLS is refused`, async () => {
    await using authority = await Authority.create();
    await using server = await start();
    const connecting = openSql(driver, server.address, { ...login, tls: await tlsOf(authority) });
    await failsWith(connecting, "denied", /remove tls = true/);
  });

  Deno.test(`${driver.product}: a unix socket needs no TLS`, async () => {
    await using authority = await Authority.create();
    await using server = await start(authority);
    const address = { transport: "unix", path: server.socket } as const;
    await using opened = await openSql(driver, address, { ...login, tls: await tlsOf(authority) });
    assert.equal(await single(opened.client, "SELECT 1"), 1);
  });
}

Deno.test("PostgreSQL: a client's certificate is shown, and must have its own key", async () => {
  await using authority = await Authority.create();
  await using server = await PostgresServer.start({
    tcp: true,
    tls: { authority, needsClientCertificate: true },
  });
  const login = { username: "postgres", database: "postgres" };
  const certificate = await authority.issue("worker");
  const tls = await tlsOf(authority, certificate);
  await using opened = await openSql(POSTGRES, server.address, { ...login, tls });
  assert.match(
    String(await single(opened.client, "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()")),
    /worker/,
  );
  const refused = (options: SqlClientOptions, words: RegExp) =>
    failsWith(openSql(POSTGRES, server.address, { ...login, ...options }), "denied", words);
  await refused({ tls: await tlsOf(authority) }, /requires a client certificate: set cert_file/);
  const other = await tlsOf(authority, await authority.issue("other"));
  await refused({ tls: { ...tls, key: other.key } }, /the key is another certificate's/);
  await refused({ tls: { ...tls, key: "no key" } }, /cert_file and key_file must be/);
});

Deno.test("MariaDB: a client's certificate is shown where the user requires one", async () => {
  await using authority = await Authority.create();
  await using server = await MariadbServer.start({ tcp: true, tls: { authority } });
  await server.sql("CREATE USER worker@'%' REQUIRE X509; GRANT SELECT ON mysql.* TO worker@'%'");
  const login = { username: "worker", database: "mysql" };
  const tls = await tlsOf(authority, await authority.issue("worker"));
  await using opened = await openSql(MYSQL, server.address, { ...login, tls });
  assert.equal(await single(opened.client, "SELECT 1"), 1);
  const without = openSql(MYSQL, server.address, { ...login, tls: await tlsOf(authority) });
  await failsWith(without, "denied", /with a certificate/);
});
