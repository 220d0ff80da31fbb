/** The Symfony example with a queue, a worker's configuration and an HTTP server: all that a deferred event passes. */
import assert from "node:assert/strict";
import { Beanstalkd } from "../support/beanstalkd.ts";
import { Site, type SiteOptions } from "../support/fervo_worker.ts";
import { MariadbServer } from "../support/mariadb_server.ts";
import { PhpFpm } from "../support/php_fpm.ts";
import { PostgresServer } from "../support/postgres_server.ts";
import { RedisServer } from "../support/redis_server.ts";
import { type JournalEntry, SymfonyApp } from "../support/symfony_app.ts";

/** The listeners and the controller that only tests need. */
const OVERLAY = new URL("./symfony", import.meta.url).pathname;

/** Each queue that the example can have. */
export const BROKER_KINDS = ["sqlite", "redis", "beanstalkd", "postgres", "mysql"] as const;

export type BrokerKind = (typeof BROKER_KINDS)[number];

/** What the tests' controller takes: see symfony/src/Controller/TaskController.php. */
export interface Task {
  readonly name: string;
  readonly action?: "work" | "exit" | "throw" | "bury";
  readonly options?: {
    readonly delay?: number;
    readonly queue?: string;
    readonly priority?: number;
    readonly attempts?: number;
  };
}

/** What the tests' controller for Messenger takes: see symfony_messenger/src/Controller/MessageController.php. */
export interface Message {
  readonly name: string;
  readonly action?: "work" | "exit" | "exit first" | "kill" | "throw" | "throw first" | "bury";
  /** Base64. */
  readonly data?: string;
  readonly delayMs?: number;
  /** Of the transport that has a failure transport. */
  readonly isPayment?: boolean;
}

/** What the tests' listener has written of one run of a task. */
export interface TaskRun {
  readonly name: string;
  readonly queue: string;
  readonly attempt: number;
  readonly attempts: number;
  readonly ageMs: number;
  /** How many events its request was for; 0 when not in a batch. */
  readonly batch: number;
}

export class SymfonySite implements AsyncDisposable {
  readonly app: SymfonyApp;
  readonly worker: Site;
  readonly fpm: PhpFpm;
  readonly redis: RedisServer | undefined;
  readonly #url: string;
  readonly #broker: SiteOptions["broker"];
  readonly #resources: AsyncDisposableStack;

  private constructor(parts: {
    app: SymfonyApp;
    worker: Site;
    fpm: PhpFpm;
    redis: RedisServer | undefined;
    url: string;
    broker: SiteOptions["broker"];
    resources: AsyncDisposableStack;
  }) {
    this.app = parts.app;
    this.worker = parts.worker;
    this.fpm = parts.fpm;
    this.redis = parts.redis;
    this.#url = parts.url;
    this.#broker = parts.broker;
    this.#resources = parts.resources;
  }

  /** @param overlays folders with further files of the application. */
  static async create(
    kind: BrokerKind,
    options: SiteOptions = {},
    overlays: readonly string[] = [],
  ): Promise<SymfonySite> {
    await using resources = new AsyncDisposableStack();
    const redis = kind === "redis" ? resources.use(await RedisServer.start({ tcp: true })) : undefined;
    const beanstalkd = kind === "beanstalkd" ? resources.use(await Beanstalkd.start()) : undefined;
    const database = kind === "postgres" || kind === "mysql"
      ? await applicationDatabase(kind, resources)
      : undefined;
    const dsn = redis?.url ?? (beanstalkd && `beanstalkd://${beanstalkd.addressText}`) ?? database?.dsn ?? "";
    const app = resources.use(
      await SymfonyApp.create({
        env: {
          APP_QUEUE: kind,
          APP_QUEUE_DSN: dsn,
          ...(redis && { APP_FAILED: `redis://${redis.hostPort}/failed` }),
        },
        overlays: [OVERLAY, ...overlays],
      }),
    );
    const brokers: Record<BrokerKind, NonNullable<SiteOptions["broker"]>> = {
      sqlite: { driver: "sqlite", path: app.queueFile },
      redis: { driver: "redis", url: dsn },
      beanstalkd: { driver: "beanstalkd", address: beanstalkd?.addressText ?? "", format: "envelope" },
      postgres: { driver: "postgres", url: database?.url ?? "" },
      mysql: { driver: "mysql", url: database?.url ?? "" },
    };
    const fpm = resources.use(await PhpFpm.start({ children: 4 }));
    const worker = resources.use(await Site.create(fpm));
    const url = await app.serve();
    const broker = brokers[kind];
    const site = new SymfonySite({ app, worker, fpm, redis, url, broker, resources: resources.move() });
    await site.configure(options);
    // It creates the embedded queue, and the tables in a database.
    await worker.runOk(["queues"]);
    return site;
  }

  /** Writes the worker's configuration (anew), with what differs from the common case. */
  async configure(options: SiteOptions): Promise<void> {
    await this.worker.configure({
      ...options,
      broker: { ...this.#broker, ...options.broker },
      fpm: { script: this.app.frontController, ...options.fpm },
      consumer: { queues: ["default", "mail"], ...options.consumer },
    });
  }

  /** After a change of the application's files: as after any deployment, opcache has to learn of it. */
  async deployed(): Promise<void> {
    // To cache:clear a container that was built in this second is a fresh one.
    await Deno.remove(`${this.app.directory}/var/cache`, { recursive: true });
    await this.app.console("cache:clear");
    await this.fpm.reload();
  }

  /** Sends a request to the application. */
  async post(path: string, body?: unknown): Promise<unknown> {
    const response = await fetch(`${this.#url}${path}`, {
      method: "POST",
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    assert.ok(response.ok, text);
    return JSON.parse(text);
  }

  /** Has the application defer events, in one request. */
  async defer(...tasks: Task[]): Promise<void> {
    await this.post("/tasks", tasks);
  }

  /** Runs all there is; returns what the worker logged, one object a line. */
  async runAll(): Promise<Record<string, unknown>[]> {
    const { code, stderr } = await this.worker.run(["run", "--until-empty"]);
    const log = stderr.trim().split("\n").map((line) => JSON.parse(line));
    assert.equal(code, log.some(({ msg }) => msg === "Job is dead") ? 5 : 0, stderr);
    return log;
  }

  /** The dead letters, the most recent first. */
  async deadLetters(): Promise<
    { id: string; attempts: number; error: { code: string; message: string; stderr?: string } }[]
  > {
    return JSON.parse(await this.worker.runOk(["dead", "list", "--json"]));
  }

  journal(): Promise<JournalEntry[]> {
    return this.app.journal();
  }

  /** Every run of a task so far, in order. */
  async runs(): Promise<TaskRun[]> {
    const pattern =
      /^task (?<name>\S+), queue (?<queue>\S*), attempt (?<attempt>\d+) of (?<attempts>\d+), (?<ageMs>\d+) ms .* of (?<batch>\d+)$/;
    return (await this.journal()).flatMap(({ text }) => {
      const found = pattern.exec(text)?.groups;
      if (found === undefined) return [];
      const { name, queue, ...numbers } = found as Record<keyof TaskRun, string>;
      const [attempt, attempts, ageMs, batch] = [
        numbers.attempt,
        numbers.attempts,
        numbers.ageMs,
        numbers.batch,
      ]
        .map(Number) as [number, number, number, number];
      return [{ name, queue, attempt, attempts, ageMs, batch }];
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

/** A database of the application's own: its address for PDO, and for the worker. */
async function applicationDatabase(
  kind: "postgres" | "mysql",
  resources: AsyncDisposableStack,
): Promise<{ readonly dsn: string; readonly url: string }> {
  const { server, scheme, user } = kind === "postgres"
    ? { server: await PostgresServer.start({ tcp: true }), scheme: "pgsql", user: "postgres" }
    : { server: await MariadbServer.start({ tcp: true }), scheme: "mysql", user: "root" };
  resources.use(server);
  const { name } = resources.use(await server.database());
  const { address } = server;
  assert.ok(address.transport === "tcp");
  const host = address.hostname;
  return {
    dsn: `${scheme}:host=${host};dbname=${name};user=${user}`,
    url: `${kind}://${user}@${host}/${name}`,
  };
}
