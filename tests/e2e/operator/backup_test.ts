/**
 * What docs/backup.md says of servers: its commands run here as they stand, on real servers, under a worker that goes on. A database
 * is dumped by its own program.
 * The embedded queue's are run by queue_file_test.ts.
 */
import assert from "node:assert/strict";
import { basename, dirname } from "node:path";
import { Beanstalkd } from "../../support/beanstalkd.ts";
import { runDocScript } from "../../support/doc_scripts.ts";
import { eventually } from "../../support/eventually.ts";
import { type RunningCommand, Site, type SiteOptions } from "../../support/fervo_worker.ts";
import { MariadbServer } from "../../support/mariadb_server.ts";
import { ADMINISTRATOR } from "../../support/postgres_programs.ts";
import { PostgresServer } from "../../support/postgres_server.ts";
import { RedisServer } from "../../support/redis_server.ts";
import { runProgram } from "../../support/run_program.ts";

const PAGE = "docs/backup.md";
const DEADLINE_MS = 60_000;

/** A worker whose jobs leave their payloads behind; a job with "wait" in it waits for {@link Service.release}. */
class Service implements AsyncDisposable {
  readonly site: Site;
  readonly worker: RunningCommand;

  private constructor(site: Site, worker: RunningCommand) {
    this.site = site;
    this.worker = worker;
  }

  static async start(broker: SiteOptions["broker"] & object): Promise<Service> {
    const site = await Site.create();
    const { directory } = site;
    const job = `read -r name; echo "$name" >> ${directory}/ran
      case $name in *wait*) while [ ! -e ${directory}/end ]; do sleep 0.05; done;; esac`;
    await site.configure({ broker, process: { command: ["sh", "-c", job] } });
    await Deno.writeTextFile(`${directory}/ran`, "");
    const worker = site.start(["run"]);
    await worker.says("Consumer started");
    return new Service(site, worker);
  }

  async push(payload: string): Promise<void> {
    await this.site.runOk(["push", "jobs", "-"], { stdin: `${payload}\n` });
  }

  async release(): Promise<void> {
    await Deno.writeTextFile(`${this.site.directory}/end`, "");
  }

  timesRun(name: string): number {
    const ran = Deno.readTextFileSync(`${this.site.directory}/ran`).split("\n");
    return ran.filter((line) => line.includes(name)).length;
  }

  async hasRun(name: string, times = 1): Promise<void> {
    await eventually(`${name} has run ${times} times`, () => this.timesRun(name) === times, DEADLINE_MS);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
    await this.worker[Symbol.asyncDispose]();
    await this.site[Symbol.asyncDispose]();
  }
}

Deno.test("A backup of Redis and its restore as documented bring back the jobs, also those that ran, under a worker that goes on", async () => {
  await using redis = await RedisServer.start({ tcp: true, config: ["appendonly yes"] });
  const options = { cwd: redis.folder, env: { REDIS_URL: `redis://${redis.hostPort}` } };
  await using service = await Service.start({ driver: "redis", url: redis.url, lease_ms: 1_000 });
  const job = (name: string) => JSON.stringify({ class: "Job", args: [name] });
  await service.push(job("wait"));
  await service.hasRun("wait");

  await runDocScript(PAGE, "redis-cli -u", options);
  await service.release();
  await service.push(job("later"));
  await service.hasRun("later");

  await redis.stop();
  await runDocScript(PAGE, "rm -rf appendonlydir", options);
  await redis.start(["--appendonly", "no"]);
  await runDocScript(PAGE, 'redis-cli -u "$REDIS_URL" CONFIG SET appendonly yes', options);
  await eventually(
    "the append-only file is written",
    async () => /^aof_rewrite_in_progress:0\r?$/m.test(await redis.cli("INFO", "persistence")),
  );
  // It ran when the backup was made; nobody has it now, so that it is put back.
  await service.hasRun("wait", 2);
  // As after any later start.
  await redis.stop();
  await redis.start();
  await service.push(job("last"));
  await service.hasRun("last");
  assert.equal(
    service.timesRun("later"),
    1,
    "it was pushed behind the backup, and had run before the restore",
  );
  assert.equal(service.timesRun("wait"), 2);
});

Deno.test("A copy of beanstalkd's log and its restore as documented bring back the jobs, under a worker that goes on", async () => {
  await using server = await Beanstalkd.start();
  const folder = basename(server.folder);
  const options = { cwd: dirname(server.folder), replace: ["binlog", folder] as const };
  await using service = await Service.start({ driver: "beanstalkd", address: server.addressText });
  await service.site.runOk(["pause", "jobs"]);
  await service.push("saved");

  await server.kill();
  try {
    await runDocScript(PAGE, "cp -a binlog binlog.backup", options);
    await server.restart();
    // beanstalkd has forgotten the pause.
    await service.hasRun("saved");
    await service.push("later");
    await service.hasRun("later");
    await eventually(
      "all is settled",
      async () => JSON.parse(await service.site.runOk(["queues", "--json"]))[0].reserved === 0,
    );

    await server.kill();
    await runDocScript(PAGE, "rm -rf binlog\ncp -a binlog.backup binlog", options);
    await server.restart();
    await service.hasRun("saved", 2);
    await service.push("last");
    await service.hasRun("last");
    assert.equal(service.timesRun("later"), 1);
  } finally {
    await Deno.remove(`${server.folder}.backup`, { recursive: true }).catch(() => {});
  }
});

const DATABASES = [
  {
    driver: "postgres",
    user: ADMINISTRATOR,
    start: () => PostgresServer.start({ tcp: true }),
    dump: ["pg_dump", "--clean", "--if-exists", "--username", ADMINISTRATOR],
  },
  {
    driver: "mysql",
    user: "root",
    start: () => MariadbServer.start({ tcp: true }),
    dump: [
      "mariadb-dump",
      "--no-defaults",
      "--skip-ssl",
      "--hex-blob",
      "--single-transaction",
      "--user=root",
    ],
  },
];

for (const { driver, user, start, dump } of DATABASES) {
  Deno.test(`A backup of a database (${driver}) has the jobs, also those that run, and a restore brings them back under a worker that goes on`, async () => {
    await using server = await start();
    await using database = await server.database();
    const { address } = server;
    assert(address.transport === "tcp");
    const url = `${driver}://${user}@${address.hostname}:${address.port}/${database.name}`;
    await using service = await Service.start({ driver, url, lease_ms: 1_000 });
    await service.push("wait");
    await service.hasRun("wait");

    const [program, ...args] = dump;
    const where = [`--host=${address.hostname}`, `--port=${address.port}`, database.name];
    const { success, said: backup } = await runProgram(program!, ...args, ...where);
    assert.ok(success, backup);
    await service.release();
    await service.push("later");
    await service.hasRun("later");
    await eventually(
      "all is settled",
      async () => await database.sql("SELECT count(*) FROM fervo_jobs") === "0",
    );

    await database.sql(backup);
    // Its lease has ended.
    await service.hasRun("wait", 2);
    await service.push("last");
    await service.hasRun("last");
    assert.equal(service.timesRun("later"), 1, "it was pushed behind the backup");
  });
}
