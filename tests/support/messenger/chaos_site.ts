/** An application of Messenger whose parts a test kills: the database's server, php-fpm and its workers. */
import { MYSQL } from "../../../src/sql/mysql.ts";
import { POSTGRES } from "../../../src/sql/postgres.ts";
import { eventually } from "../eventually.ts";
import { RunningCommand } from "../fervo_worker.ts";
import { MariadbServer } from "../mariadb_server.ts";
import { PhpFpm } from "../php_fpm.ts";
import { PostgresServer } from "../postgres_server.ts";
import { AppDatabase } from "./databases.ts";
import { MEMORY_LIMIT, MessengerApp, type SymfonyVersion } from "./messenger_app.ts";

/** What a message does: see chaos_app/src/Handler/DoJob.php. */
export type Action = "ok" | "fails once" | "fails" | "kills the machine";

/** What the producer knows of a message. One whose dispatch was not confirmed may be in the table or not. */
export interface Produced {
  readonly name: string;
  readonly action: Action;
  readonly isConfirmed: boolean;
}

/** One run of a message's handler. */
export interface Run {
  readonly beginMs: number;
  /** Absent when its process died. */
  endMs?: number;
  hasFailed: boolean;
}

/** After this time a message whose worker died runs again. */
export const LEASE_MS = 2_000;

const OVERLAY = new URL("chaos_app", import.meta.url).pathname;
/** Of a line of the ledger. */
const LINE_LENGTH = 35;

export interface ChaosSiteOptions {
  readonly symfony?: SymfonyVersion;
  /** Of the worker's only consumer; 2 when absent. */
  readonly concurrency?: number;
  /** Further lines of it. */
  readonly consumer?: readonly string[];
}

export class ChaosSite implements AsyncDisposable {
  readonly app: MessengerApp;
  readonly server: PostgresServer | MariadbServer;
  readonly fpm: PhpFpm;
  readonly #database: string;
  readonly #ledger: string;
  readonly #resources: AsyncDisposableStack;

  private constructor(
    parts: Pick<ChaosSite, "app" | "server" | "fpm"> & { database: string; ledger: string },
    resources: AsyncDisposableStack,
  ) {
    this.app = parts.app;
    this.server = parts.server;
    this.fpm = parts.fpm;
    this.#database = parts.database;
    this.#ledger = parts.ledger;
    this.#resources = resources;
  }

  /** @throws {Error} when a part of it is not installed, with what to run. */
  static async create(
    kind: "postgres" | "mysql",
    { symfony = "7.4", concurrency = 2, consumer = [] }: ChaosSiteOptions = {},
  ): Promise<ChaosSite> {
    await using opened = new AsyncDisposableStack();
    const server = opened.use(
      kind === "postgres"
        ? await PostgresServer.start({ tcp: true })
        : await MariadbServer.start({ tcp: true }),
    );
    const { name: database } = await server.database();
    const ledger = await Deno.makeTempDir({ prefix: "fervo-ledger-" });
    opened.defer(() => Deno.remove(ledger, { recursive: true }));
    const { address } = server;
    if (address.transport !== "tcp") throw new TypeError("the server listens on TCP");
    const user = kind === "postgres" ? "postgres" : "root";
    const url = `${kind}://${user}@${address.hostname}:${address.port}/${database}`;
    let env: Record<string, string>;
    {
      using seen = await AppDatabase.open(url, kind === "postgres" ? POSTGRES : MYSQL);
      env = { APP_DATABASE: seen.doctrineUrl, APP_LEDGER: ledger };
    }
    const app = opened.use(await MessengerApp.create({ symfony, hasBundle: true, env, overlays: [OVERLAY] }));
    await app.console("messenger:setup-transports");
    const fpm = opened.use(
      await PhpFpm.start({
        children: 6,
        statusListen: true,
        ini: { memory_limit: MEMORY_LIMIT },
        poolLines: poolLines(app),
      }),
    );
    const site = new ChaosSite({ app, server, fpm, database, ledger }, opened.move());
    await site.#configure(kind, url, [`concurrency = ${concurrency}`, ...consumer]);
    return site;
  }

  /** The pool's environment. */
  get poolLines(): string[] {
    return poolLines(this.app);
  }

  /** Whether a message of another class than the ledger's has run to its end. */
  async handled(name: string): Promise<boolean> {
    const lines = await Deno.readTextFile(`${this.#ledger}/${name}`).catch(() => "");
    return /^end /m.test(lines);
  }

  /** Dispatches messages by the application's bus, each until it is confirmed. */
  async produce(messages: readonly Pick<Produced, "name" | "action">[]): Promise<Produced[]> {
    const said = await this.app.consoleWith(JSON.stringify(messages), "app:produce");
    return said.split("\n").slice(0, -1).map((line) => {
      const [, word, name, action] = /^(confirmed|unconfirmed) (\S+) (.+)$/.exec(line)!;
      return { name: name!, action: action as Action, isConfirmed: word === "confirmed" };
    });
  }

  /** A worker, which the test may kill. It is gone at the end of the scope in any case. */
  startWorker(): RunningCommand {
    return RunningCommand.start(["run", "--config", this.#configFile]);
  }

  /** The same for a worker that a message may kill, and php-fpm with it. */
  startKillableWorker(): RunningCommand {
    const worker = this.startWorker();
    // Before it has read its configuration.
    Deno.writeTextFileSync(`${this.#ledger}/machine`, `${worker.pid}\n${this.fpm.pid}\n`);
    return worker;
  }

  /** The number of lines in the ledger: a message that runs well has two. */
  async ledgerLength(): Promise<number> {
    return await Deno.stat(`${this.#ledger}/runs`).then(({ size }) => size / LINE_LENGTH, () => 0);
  }

  /** What the handlers have done, by the message's name. */
  async runs(): Promise<Map<string, Run[]>> {
    const byName = new Map<string, Run[]>();
    const text = await Deno.readTextFile(`${this.#ledger}/runs`).catch(() => "");
    for (const line of text.split("\n").slice(0, -1)) {
      if (line.length !== LINE_LENGTH - 1) throw new Error(`not a line of the ledger: ${line}`);
      const [what, name, at] = line.split(/ +/) as [string, string, string];
      const runs = byName.get(name) ?? [];
      byName.set(name, runs);
      if (what === "begin") runs.push({ beginMs: Number(at), hasFailed: false });
      else {
        // Two workers may run it at once; each has its end.
        const open = runs.find(({ endMs }) => endMs === undefined)!;
        open.endMs = Number(at);
        open.hasFailed = what === "fail";
      }
    }
    return byName;
  }

  /** The answer of the database's server, in which columns are divided by `|` or a tab. */
  sql(text: string): Promise<string> {
    return this.server.sql(text, this.#database);
  }

  /** The names of the messages in a queue of the table, in order; a name may be there twice. */
  async namesIn(queueName: string): Promise<string[]> {
    const bodies = await this.sql(`SELECT body FROM messenger_messages WHERE queue_name = '${queueName}'`);
    // A serialized property.
    return [...bodies.matchAll(/name\\?";s:\d+:\\?"([a-z]+-\d+\.\d+)/g)].map(([, name]) => name!).sort();
  }

  /** The number of rows of each queue_name. */
  async rows(): Promise<Record<string, number>> {
    const lines = await this.sql("SELECT queue_name, count(*) FROM messenger_messages GROUP BY 1 ORDER BY 1");
    return Object.fromEntries(
      lines.split("\n").filter((line) => line !== "").map((line) => {
        const [queue, count] = line.split(/[|\t]/);
        return [queue!, Number(count)];
      }),
    );
  }

  /** Resolves when no message waits or runs any more. */
  async isDone(limitMs: number): Promise<void> {
    await eventually("all messages are done", async () => !("default" in await this.rows()), limitMs);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#resources.disposeAsync();
  }

  get #configFile(): string {
    return `${this.app.directory}/fervo-worker.toml`;
  }

  async #configure(kind: string, url: string, consumer: readonly string[]): Promise<void> {
    const text = `
[brokers.shop]
driver = "${kind}"
format = "messenger"
url = "${url}"
queue_names = { php = "default" }
lease_ms = ${LEASE_MS}

[fpm.shop]
address = "${this.fpm.address}"
status_path = "${this.fpm.statusPath}"
status_address = "${this.fpm.statusAddress}"
script = "${this.app.frontController}"
kill_on_timeout = true

[[consumers]]
broker = "shop"
fpm = "shop"
queues = ["php"]
${consumer.join("\n")}
`;
    await Deno.writeTextFile(this.#configFile, text);
    await Deno.chmod(this.#configFile, 0o600);
  }
}

function poolLines({ env }: MessengerApp): string[] {
  return Object.entries(env).map(([name, value]) => `env[${name}] = "${value}"`);
}
