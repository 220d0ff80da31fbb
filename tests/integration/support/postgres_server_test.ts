import assert from "node:assert/strict";
import { Authority, type Certificate } from "../../support/certificates.ts";
import { eventually } from "../../support/eventually.ts";
import { findPostgres } from "../../support/postgres_programs.ts";
import { PostgresServer } from "../../support/postgres_server.ts";
import { runProgram } from "../../support/run_program.ts";
import { soon } from "../../support/soon.ts";

const HOUR_MS = 3_600_000;

/** What the server says by psql over TCP, or why it does not. */
async function ask(server: PostgresServer, parameters: Readonly<Record<string, string>>): Promise<string> {
  if (server.address.transport !== "tcp") throw new TypeError("not on TCP");
  const { hostname, port } = server.address;
  const all = { host: hostname, port: `${port}`, user: "postgres", dbname: "postgres", ...parameters };
  const where = Object.entries(all).map(([name, value]) => `${name}=${value}`).join(" ");
  const query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
  const { said } = await runProgram(`${await findPostgres()}/psql`, "-XAtw", where, "-c", query);
  return said.trim();
}

/** Runs a statement that lasts; resolves once the server runs it, with how it ends. */
async function begin(
  server: PostgresServer,
  text: string,
  database?: string,
): Promise<{ end: Promise<string> }> {
  const end = server.sql(text, database);
  end.catch(() => {}); // whoever waits for it hears of that
  const running = `SELECT count(*) FROM pg_stat_activity WHERE query = '${text}' AND state = 'active'`;
  await eventually(text, async () => await server.sql(running) === "1");
  return { end };
}

function withCertificate({ certFile, keyFile }: Certificate): Record<string, string> {
  return { sslcert: certFile, sslkey: keyFile };
}

Deno.test("PostgresServer.database() is one of one's own, and is dropped with the connections to it", async () => {
  await using server = await PostgresServer.start();
  const databases = () => server.sql("SELECT datname FROM pg_database WHERE datname LIKE 'test%' ORDER BY 1");
  let lasting;
  {
    await using one = await server.database();
    await using other = await server.database();
    assert.equal(await databases(), [one.name, other.name].sort().join("\n"));
    await one.sql("CREATE TABLE jobs (id bigint); INSERT INTO jobs VALUES (1), (2)");
    assert.equal(await one.sql("SELECT id, 'a' FROM jobs"), "1|a\n2|a");
    await assert.rejects(other.sql("SELECT id FROM jobs"), /relation "jobs" does not exist/);
    lasting = await begin(server, "SELECT pg_sleep(1000)", one.name);
  }
  assert.equal(await databases(), "");
  await soon("the statement ends", assert.rejects(lasting.end, /terminating connection|server closed/));
});

Deno.test("PostgresServer.kill() ends all processes, and restart() has the committed data", async () => {
  await using server = await PostgresServer.start({ tcp: true });
  const { address, folder } = server;
  await server.sql("CREATE TABLE jobs (id bigint)");
  // A process that waits ends by itself when the first one has ended; one that computes does not.
  const lasting = await begin(server, "SELECT count(*) FROM generate_series(1, 1000000000)");
  await server.sql("INSERT INTO jobs VALUES (1)");
  await server.kill();
  await soon("the connection is lost", assert.rejects(lasting.end, /server closed the connection/));
  assert.equal((await runProgram("pgrep", "--full", folder)).said, "");
  await assert.rejects(server.sql("SELECT 1"), /could not connect|connection to server .* failed/);

  await server.restart();
  assert.equal(await server.sql("SELECT id FROM jobs"), "1");
  assert.match(await server.log(), /database system was not properly shut down/);
  await server.stop();
  await server.restart();
  assert.equal(await ask(server, {}), "f");
  assert.deepEqual(server.address, address);
});

Deno.test("A PostgresServer that was killed and not started again leaves nothing in the kernel", async () => {
  const server = await PostgresServer.start();
  const lines = (await Deno.readTextFile(`${server.folder}/data/postmaster.pid`)).split("\n");
  const [, id] = /^\s*\d+\s+(\d+)/.exec(lines[6]!)!;
  // Its columns are the key, the id and others.
  const isThere = async () =>
    new RegExp(`^ *-?\\d+ +${id} `, "m").test(await Deno.readTextFile("/proc/sysvipc/shm"));
  assert.ok(await isThere(), id!);
  await server.kill();
  await server[Symbol.asyncDispose]();
  assert.ok(!await isThere(), id!);
});

Deno.test("PostgresServer.signal() has all of its processes hang and go on", async () => {
  await using server = await PostgresServer.start();
  await server.signal("SIGSTOP");
  const said = server.sql("SELECT 1");
  const { said: states } = await runProgram(
    "ps",
    "-o",
    "stat=",
    "--pid",
    `${server.pid}`,
    "--ppid",
    `${server.pid}`,
  );
  assert.match(states, /^(T\S*\s+){3,}$/);
  await server.signal("SIGCONT");
  assert.equal(await soon("it answers", said), "1");
});

Deno.test("PostgresServer.replica() follows its primary, refuses writes, and takes them once it is promoted", async () => {
  await using primary = await PostgresServer.start();
  await primary.sql("CREATE TABLE jobs (id bigint)");
  await using replica = await primary.replica({ tcp: true });
  await primary.sql("INSERT INTO jobs VALUES (1)");
  await replica.catchUp();
  assert.equal(await replica.sql("SELECT id FROM jobs"), "1");
  await assert.rejects(replica.sql("INSERT INTO jobs VALUES (2)"), /read-only transaction/);

  await primary.kill();
  await replica.promote();
  await replica.sql("INSERT INTO jobs VALUES (2)");
  assert.equal(await replica.sql("SELECT id FROM jobs"), "1\n2");
});

Deno.test("A replica of a promoted PostgresServer takes the address of the primary that died", async () => {
  await using dead = await PostgresServer.start({ tcp: true });
  await using primary = await dead.replica();
  await dead.kill();
  await primary.promote();
  if (dead.address.transport !== "tcp") throw new TypeError("not on TCP");
  await using replica = await primary.replica({ tcp: dead.address.hostname });
  assert.deepEqual(replica.address, dead.address);
  const { hostname, port } = dead.address;
  using connection = await Deno.connect({ hostname, port });
  assert.equal(connection.remoteAddr.transport, "tcp");
});

Deno.test("PostgresServer.passTime() moves the server's clock at once, and timeouts and waits go on", async () => {
  await using server = await PostgresServer.start({ hasMovableClock: true });
  await using database = await server.database();
  const aheadHours = async () => {
    const ahead = `extract(epoch FROM clock_timestamp()) * 1000 - ${Date.now()}`;
    return await database.sql(
      `SELECT round((${ahead}) / ${HOUR_MS}), clock_timestamp() - now() < interval '1 minute'`,
    );
  };
  assert.equal(await aheadHours(), "0|t");
  const lasting = await begin(server, "SELECT pg_sleep(0.5)");
  await server.passTime(HOUR_MS);
  assert.equal(await aheadHours(), "1|t");
  await soon("the server has slept", lasting.end);
  const late = database.sql("SET statement_timeout = '20ms'; SELECT pg_sleep(1000)");
  await soon("a timeout after the step", assert.rejects(late, /due to statement timeout/));

  await server.passTime(HOUR_MS);
  await server.kill();
  await server.restart();
  assert.equal(await aheadHours(), "2|t");
});

Deno.test("A PostgresServer with TLS takes nothing else on TCP, and asks for client certificates if told to", async () => {
  await using authority = await Authority.create();
  await using server = await PostgresServer.start({ tcp: true, tls: { authority } });
  const verified = { sslmode: "verify-full", sslrootcert: authority.caFile };
  assert.equal(await ask(server, verified), "t");
  assert.match(await ask(server, { sslmode: "disable" }), /no encryption/);

  await using strict = await PostgresServer.start({
    tcp: true,
    tls: { authority, needsClientCertificate: true },
  });
  assert.match(await ask(strict, verified), /valid client certificate/);
  assert.equal(await ask(strict, { ...verified, ...withCertificate(await authority.issue("worker")) }), "t");
  await using stranger = await Authority.create();
  const own = withCertificate(await stranger.issue("worker"));
  assert.match(await ask(strict, { ...verified, ...own }), /unknown ca/);
});

Deno.test("PostgresServer.start() has the lines of postgresql.conf and pg_hba.conf, and shows why it does not start", async () => {
  await using server = await PostgresServer.start({
    config: ["max_connections = 7"],
    access: ["local all worker scram-sha-256"],
    syncs: true,
  });
  assert.equal(await server.sql("SHOW max_connections; SHOW fsync"), "7\non");
  await server.sql("CREATE USER worker PASSWORD 'secret'");
  const where = `host=${server.folder} user=worker dbname=postgres`;
  const psql = `${await findPostgres()}/psql`;
  assert.match((await runProgram(psql, "-XAtw", where, "-c", "SELECT 1")).said, /no password supplied/);
  assert.equal((await runProgram(psql, "-XAtw", `${where} password=secret`, "-c", "SELECT 1")).said, "1\n");

  const wrong = PostgresServer.start({ config: ["max_connections = many"] });
  await assert.rejects(wrong, /did not start:[^]*invalid value for parameter "max_connections"/);
});
