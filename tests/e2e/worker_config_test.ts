/** `bin/console fervo:worker:config`: the worker runs with what it prints, at once, and `check` finds nothing to change. */
import assert from "node:assert/strict";
import { fervoWorker, fervoWorkerOk } from "../support/fervo_worker.ts";
import { PhpFpm } from "../support/php_fpm.ts";
import { type PostgresDatabase, PostgresServer } from "../support/postgres_server.ts";
import { SymfonyApp } from "../support/symfony_app.ts";

const OVERLAY = new URL("./symfony_doctrine", import.meta.url).pathname;

/** An application with Messenger in PostgreSQL and in a file of SQLite, the printed configuration, and the printed pool. */
class Shop implements AsyncDisposable {
  readonly #resources: AsyncDisposableStack;

  private constructor(
    readonly app: SymfonyApp,
    readonly config: string,
    readonly fpm: PhpFpm,
    readonly database: PostgresDatabase,
    resources: AsyncDisposableStack,
  ) {
    this.#resources = resources;
  }

  static async create(): Promise<Shop> {
    await using resources = new AsyncDisposableStack();
    const server = resources.use(await PostgresServer.start());
    const database = resources.use(await server.database());
    assert.ok(server.address.transport === "unix");
    const folder = server.address.path.replace(/\/[^/]*$/, "");
    const app = resources.use(
      await SymfonyApp.create({
        env: {
          APP_QUEUE: "sqlite",
          MAIN_HOST: folder,
          MAIN_DATABASE: database.name,
          MAIN_PASSWORD: "not needed",
        },
        overlays: [OVERLAY],
      }),
    );
    await app.console("messenger:setup-transports");
    const fpm = resources.use(await PhpFpm.start({ children: 8, ini: {} }));
    const pool = await app.console("fervo:worker:config", "--pool", "--fpm", fpm.address);
    await fpm.reload({
      poolLines: pool.split("\n").filter((line) =>
        /^(?:php_admin_(?:value|flag)\[|clear_env|pm\.status_listen)/.test(line)
      ),
    });
    const config = `${app.directory}/fervo-worker.printed.toml`;
    await Deno.writeTextFile(config, await app.console("fervo:worker:config", "--fpm", fpm.address));
    return new Shop(app, config, fpm, database, resources.move());
  }

  /** As a person changes the file. */
  async change(text: string, other: string): Promise<void> {
    const before = await Deno.readTextFile(this.config);
    assert.ok(before.includes(text), before);
    await Deno.writeTextFile(this.config, before.replace(text, other));
  }

  /** The findings about the application behind the pool, or about another subject, whose id begins so. */
  async check(
    prefix: string,
    about = "fpm.default",
  ): Promise<{ id: string; severity: string; what: string; fix: string | null }[]> {
    const { stdout, stderr } = await fervoWorker([
      "check",
      "--call-script",
      "--json",
      "--config",
      this.config,
    ], {
      env: { MAIN_PASSWORD: "not needed" },
    });
    assert.equal(stderr, "");
    return JSON.parse(stdout).filter(({ id, subject }: { id: string; subject: string }) =>
      subject.startsWith(about) && id.startsWith(prefix)
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

Deno.test("The worker runs the application's messages with the printed configuration as it is", async () => {
  await using shop = await Shop.create();
  await shop.app.console("app:note", "first", "fails", "last");
  await fervoWorkerOk(["run", "--until-empty", "--config", shop.config], {
    env: { MAIN_PASSWORD: "not needed" },
    exitCode: 0,
  });
  const journal = (await shop.app.journal()).filter(({ text }) => text.startsWith("note "));
  assert.deepEqual(journal.map(({ text, sapi }) => `${text} ${sapi}`).toSorted(), [
    "note fails fpm-fcgi",
    "note fails fpm-fcgi",
    "note first fpm-fcgi",
    "note last fpm-fcgi",
  ]);
  // After max_retries = 1 of the application, its own failure transport has the message.
  assert.equal(await shop.database.sql("SELECT queue_name FROM messenger_messages"), "failed");
});

Deno.test("Messages that hang in all children of the printed pool are ended in time, and the application counts them", async () => {
  await using shop = await Shop.create();
  await shop.change("\ntimeout_ms = 60000", "\ntimeout_ms = 2000");
  // One consumer is left, with as many children as it has messages at the same time.
  const files = /\[\[consumers\]\]\nbroker = "files"[^]*?\[consumers\.retry\]\nattempts = 5\n/;
  const printed = await Deno.readTextFile(shop.config);
  assert.match(printed, files);
  await Deno.writeTextFile(shop.config, printed.replace(files, ""));
  await shop.fpm.reload({ children: 4 });
  await shop.app.console("app:note", "hangs 1", "hangs 2", "hangs 3", "hangs 4");
  const { code, stderr } = await fervoWorker(["run", "--until-empty", "--config", shop.config], {
    env: { MAIN_PASSWORD: "not needed" },
  });
  assert.equal(code, 0, stderr);
  assert.doesNotMatch(stderr, /Cannot end the PHP process|FASTCGI_OVERLOADED/);
  // A first run and max_retries = 1 of each, none of which has ended by itself.
  const runs = (await shop.app.journal()).filter(({ text }) => text.startsWith("note hangs"));
  assert.equal(runs.length, 8);
  const failed = await shop.database.sql("SELECT queue_name, count(*) FROM messenger_messages GROUP BY 1");
  assert.equal(failed, "failed|4");
});

Deno.test("check finds nothing that differs between the printed configuration and the application", async () => {
  await using shop = await Shop.create();
  const findings = [...await shop.check("messenger."), ...await shop.check("php.command_line")];
  assert.deepEqual(findings.filter(({ severity }) => severity !== "ok"), []);
  assert.deepEqual([...new Set(findings.map(({ id }) => id))].toSorted(), [
    "messenger.files",
    "messenger.transport",
    "php.command_line",
  ]);
});

Deno.test("check leaves a failure transport without a consumer, and warns of one that takes from it", async () => {
  await using shop = await Shop.create();
  await shop.app.console("app:note", "fails");
  await fervoWorkerOk(["run", "--until-empty", "--config", shop.config], {
    env: { MAIN_PASSWORD: "not needed" },
    exitCode: 0,
  });
  assert.equal(await shop.database.sql("SELECT queue_name FROM messenger_messages"), "failed");
  assert.deepEqual(await shop.check("queue.unconsumed", "brokers."), []);
  assert.deepEqual(await shop.check("messenger.failure_transport"), []);
  await shop.change('queues = ["high", "async"]', 'queues = ["high", "async", "failed"]');
  assert.deepEqual(
    (await shop.check("messenger.failure_transport")).map(({ severity, what }) => `${severity}: ${what}`),
    ['warning: a consumer takes from "failed", which is a failure transport of the application'],
  );
});

Deno.test("check finds what a person has changed in the printed configuration", async () => {
  await using shop = await Shop.create();
  await shop.change('queue_names = { async = "default" }', 'queue_names = { async = "elsewhere" }');
  await shop.change("redeliver_timeout_ms = 600000", "redeliver_timeout_ms = 700000");
  const whats = (await shop.check("messenger.transport")).map(({ what }) => what);
  assert.equal(whats.length, 2, whats.join("\n"));
  assert.match(whats[0]!, /"async": its queue_name is "default" in the application, and "elsewhere"/);
  assert.match(
    whats[1]!,
    /"files": its redeliver_timeout is 600 s in the application, and redeliver_timeout_ms is 700000/,
  );
});

Deno.test("check finds settings of PHP that differ from the command line", async () => {
  await using shop = await Shop.create();
  await shop.fpm.reload({
    poolLines: ["php_admin_value[precision] = 5", "php_admin_value[memory_limit] = 64M"],
  });
  const findings = await shop.check("php.command_line");
  assert.deepEqual(
    findings.map(({ severity, what }) => `${severity}: ${what}`).filter((text) =>
      /precision|memory/.test(text)
    ).toSorted(),
    [
      'notice: memory_limit is "64M" in the pool, and "-1" on the command line',
      'warning: precision is "5" in the pool, and "14" on the command line',
    ],
  );
});
