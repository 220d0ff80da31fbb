import assert from "node:assert/strict";
import { Authority, type Certificate } from "../../support/certificates.ts";
import { eventually } from "../../support/eventually.ts";
import { MariadbServer } from "../../support/mariadb_server.ts";
import { runProgram } from "../../support/run_program.ts";
import { soon } from "../../support/soon.ts";

const HOUR_MS = 3_600_000;

/** What the server says by the program mariadb over TCP, or why it does not. */
async function ask(server: MariadbServer, user: string, ...options: readonly string[]): Promise<string> {
  if (server.address.transport !== "tcp") throw new TypeError("not on TCP");
  const { hostname, port } = server.address;
  const where = ["--no-defaults", `--host=${hostname}`, `--port=${port}`, `--user=${user}`];
  const query = "SHOW STATUS LIKE 'Ssl_version'";
  const { said } = await runProgram(
    "mariadb",
    ...where,
    ...options,
    "--batch",
    "--skip-column-names",
    "-e",
    query,
  );
  return said.trim();
}

/** Runs a statement that lasts; resolves once the server runs it, with how it ends. */
async function begin(server: MariadbServer, text: string): Promise<{ end: Promise<string> }> {
  const end = server.sql(text);
  end.catch(() => {}); // whoever waits for it hears of that
  const running = `SELECT count(*) FROM information_schema.processlist WHERE info = '${text}'`;
  await eventually(text, async () => await server.sql(running) === "1");
  return { end };
}

function withCertificate({ certFile, keyFile }: Certificate): string[] {
  return [`--ssl-cert=${certFile}`, `--ssl-key=${keyFile}`];
}

Deno.test("MariadbServer.database() is one of one's own, and is dropped", async () => {
  await using server = await MariadbServer.start();
  const databases = () => server.sql("SHOW DATABASES LIKE 'test%'");
  {
    await using one = await server.database();
    await using other = await server.database();
    assert.equal(await databases(), [one.name, other.name].sort().join("\n"));
    await one.sql("CREATE TABLE jobs (id bigint); INSERT INTO jobs VALUES (1), (2)");
    assert.equal(await one.sql("SELECT id, 'a' FROM jobs"), "1\ta\n2\ta");
    await assert.rejects(other.sql("SELECT id FROM jobs"), /Table '.*jobs' doesn't exist/);
  }
  assert.equal(await databases(), "");
});

Deno.test("MariadbServer.kill() loses connections, and restart() has the committed data", async () => {
  await using server = await MariadbServer.start({ tcp: true });
  await using database = await server.database();
  const { address } = server;
  await database.sql("CREATE TABLE jobs (id bigint)");
  const lasting = await begin(server, "SELECT sleep(1000)");
  await database.sql("INSERT INTO jobs VALUES (1)");
  await server.kill();
  await soon("the connection is lost", assert.rejects(lasting.end, /Lost connection/));
  await assert.rejects(server.sql("SELECT 1"), /Can't connect/);

  await server.restart();
  assert.equal(await database.sql("SELECT id FROM jobs"), "1");
  assert.match(await server.log(), /crash recovery/i);
  await server.stop();
  await server.restart();
  assert.equal(await ask(server, "root", "--skip-ssl"), "Ssl_version");
  assert.deepEqual(server.address, address);
});

Deno.test("MariadbServer.signal() has the server hang and go on", async () => {
  await using server = await MariadbServer.start();
  await server.signal("SIGSTOP");
  const said = server.sql("SELECT 1");
  assert.match((await runProgram("ps", "-o", "stat=", "--pid", `${server.pid}`)).said, /^T/);
  await server.signal("SIGCONT");
  assert.equal(await soon("it answers", said), "1");
});

Deno.test("MariadbServer.passTime() moves the server's clock at once, and timeouts and waits go on", async () => {
  await using server = await MariadbServer.start({ hasMovableClock: true });
  await using database = await server.database();
  const aheadHours = async () => {
    const ahead = `unix_timestamp(sysdate(3)) * 1000 - ${Date.now()}`;
    return await database.sql(
      `SELECT round((${ahead}) / ${HOUR_MS}), timestampdiff(MINUTE, now(3), sysdate(3))`,
    );
  };
  assert.equal(await aheadHours(), "0\t0");
  const lasting = await begin(server, "SELECT sleep(0.5)");
  await server.passTime(HOUR_MS);
  assert.equal(await aheadHours(), "1\t0");
  await soon("the server has slept", lasting.end);
  assert.equal(await soon("a wait after the step", database.sql("SELECT sleep(0.02)")), "0");
  const late = database.sql("SET max_statement_time = 0.02; SELECT sleep(1000)");
  await soon("a timeout after the step", assert.rejects(late, /max_statement_time exceeded/));

  await server.passTime(HOUR_MS);
  await server.kill();
  await server.restart();
  assert.equal(await aheadHours(), "2\t0");
});

Deno.test("A MariadbServer with TLS takes nothing else on TCP, and asks a user for a certificate if told to", async () => {
  await using authority = await Authority.create();
  await using server = await MariadbServer.start({ tcp: true, tls: { authority } });
  await server.sql("CREATE USER worker REQUIRE X509");
  const verified = [`--ssl-ca=${authority.caFile}`, "--ssl-verify-server-cert"];
  assert.match(await ask(server, "root", ...verified), /TLSv1/);
  assert.match(await ask(server, "root", "--skip-ssl"), /Access denied|insecure transport/);
  assert.match(await ask(server, "worker", ...verified), /Access denied/);
  const own = withCertificate(await authority.issue("worker"));
  assert.match(await ask(server, "worker", ...verified, ...own), /TLSv1/);
});

Deno.test("MariadbServer.start() has the lines of my.cnf, and shows why it does not start", async () => {
  await using server = await MariadbServer.start({ config: ["max_connections = 11"], syncs: true });
  assert.equal(await server.sql("SELECT @@max_connections, @@innodb_flush_log_at_trx_commit"), "11\t1");
  const wrong = MariadbServer.start({ config: ["max_connection_count = 11"] });
  await assert.rejects(wrong, /did not start:[^]*unknown variable 'max_connection_count=11'/);
});
