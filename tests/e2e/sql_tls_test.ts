/** Encrypted databases in the compiled program, whose runtime checks certificates in another way than that of the tests. */
import assert from "node:assert/strict";
import { formatAddress } from "../../src/net/address.ts";
import { Authority } from "../support/certificates.ts";
import { Site } from "../support/fervo_worker.ts";
import { MariadbServer } from "../support/mariadb_server.ts";
import { PostgresServer } from "../support/postgres_server.ts";

const KINDS = [
  {
    driver: "postgres",
    user: "postgres",
    start: (authority: Authority) =>
      PostgresServer.start({ tcp: true, tls: { authority, needsClientCertificate: true } }),
    refusal: /requires a client certificate: set cert_file and key_file/,
  },
  {
    driver: "mysql",
    user: "worker",
    start: async (authority: Authority) => {
      const server = await MariadbServer.start({ tcp: true, tls: { authority } });
      await server.sql("CREATE USER worker@'%' REQUIRE X509; GRANT ALL ON *.* TO worker@'%'");
      return server;
    },
    refusal: /by TLS or with a certificate/,
  },
] as const;

for (const { driver, user, start, refusal } of KINDS) {
  Deno.test(`The binary uses a database by TLS, and says which certificate it misses: ${driver}`, async () => {
    await using authority = await Authority.create();
    await using stranger = await Authority.create();
    await using server = await start(authority);
    await using database = await server.database();
    const { certFile, keyFile } = await authority.issue("worker");
    const { keyFile: otherKey } = await authority.issue("other");
    const url = `${driver}://${user}@${formatAddress(server.address)}/${database.name}`;
    await using site = await Site.create();

    const files = { ca_file: authority.caFile, cert_file: certFile, key_file: keyFile };
    const configure = (changed: Partial<typeof files>) =>
      site.configure({ broker: { driver, url, tls: true, ...files, ...changed } });
    await configure({});
    await site.runOk(["push", "jobs", "payload"]);
    const [row] = JSON.parse(await site.runOk(["queues", "--json"]));
    assert.deepEqual([row.queue, row.ready], ["jobs", 1]);

    const refused = async (words: RegExp) => {
      const { code, stderr } = await site.run(["queues"]);
      assert.notEqual(code, 0);
      assert.match(stderr, words);
    };
    await configure({ ca_file: stranger.caFile });
    await refused(/certificate cannot be verified: set ca_file to the authority that signed it/);
    await configure({ key_file: otherKey });
    await refused(/the key is another certificate's/);
    await site.configure({ broker: { driver, url, tls: true, ca_file: authority.caFile } });
    await refused(refusal);
  });
}
