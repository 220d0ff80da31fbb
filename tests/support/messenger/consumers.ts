/** What consumes an application's messages: processes of `messenger:consume`, or fervo-worker with a php-fpm. */
import { fervoWorkerOk, RunningCommand } from "../fervo_worker.ts";
import { PhpFpm } from "../php_fpm.ts";
import { MEMORY_LIMIT } from "./messenger_app.ts";
import type { Trial } from "./trial.ts";

/** Processes of `messenger:consume`. As under supervisord, each one that ends is started again, until the scope ends. */
export class MessengerConsumers implements AsyncDisposable {
  /** Rejects when an `onEnd` does. */
  readonly ended: Promise<unknown>;
  readonly #stop = new AbortController();

  /** @param onEnd Runs before a process is started again, with the id of the one that has ended. */
  constructor(
    trial: Trial,
    processes: number,
    onEnd: (pid: number) => Promise<void> = () => Promise.resolve(),
  ) {
    this.ended = Promise.all(Array.from({ length: processes }, async () => {
      while (!this.#stop.signal.aborted) await onEnd(await this.#runOne(trial));
    }));
  }

  /** SIGTERM: each process ends the message that it runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.ended;
  }

  async #runOne(trial: Trial): Promise<number> {
    const process = trial.app
      .start("messenger:consume", "php", "json", "--sleep=0.1", "--no-interaction").spawn();
    const end = () => {
      try {
        process.kill("SIGTERM");
      } catch (error) {
        if (!(error instanceof TypeError)) throw error; // It has ended.
      }
    };
    this.#stop.signal.addEventListener("abort", end);
    await process.stdin.close();
    await process.output();
    this.#stop.signal.removeEventListener("abort", end);
    return process.pid;
  }
}

/** A job that runs longer is killed. The messages of the conformance test that run too long take 3 s. */
const TIMEOUT_MS = 1_500;

/** A configuration of fervo-worker for an application, with a php-fpm. */
export class WorkerAndPool implements AsyncDisposable {
  readonly fpm: PhpFpm;
  readonly #file: string;

  private constructor(fpm: PhpFpm, file: string) {
    this.fpm = fpm;
    this.#file = file;
  }

  /** @param script The front controller, where it is not the application's. */
  static async create(
    trial: Trial,
    { script = trial.app.frontController, batchSize = 1 }: { script?: string; batchSize?: number } = {},
  ): Promise<WorkerAndPool> {
    const fpm = await PhpFpm.start({
      children: 3,
      statusListen: true,
      ini: { memory_limit: MEMORY_LIMIT },
      poolLines: Object.entries(trial.app.env).map(([name, value]) => `env[${name}] = "${value}"`),
    });
    const file = `${trial.app.directory}/fervo-worker.toml`;
    const broker = Object.entries(trial.database.broker).map(([key, value]) =>
      `${key} = ${JSON.stringify(value)}`
    );
    await Deno.writeTextFile(
      file,
      `
[brokers.shop]
${broker.join("\n")}
format = "messenger"
queue_names = { php = "default", json = "json_tasks" }

[fpm.shop]
address = "${fpm.address}"
status_path = "${fpm.statusPath}"
status_address = "${fpm.statusAddress}"
script = "${script}"
kill_on_timeout = true

[[consumers]]
broker = "shop"
fpm = "shop"
queues = ["php", "json"]
concurrency = 2
batch_size = ${batchSize}
timeout_ms = ${TIMEOUT_MS}
`,
    );
    await Deno.chmod(file, 0o600);
    return new WorkerAndPool(fpm, file);
  }

  /** Starts the worker. Its scope kills it; SIGTERM before that has it end its jobs. */
  start(): RunningCommand {
    return RunningCommand.start(["run", "--config", this.#file]);
  }

  /** The output of another command. */
  run(...args: readonly string[]): Promise<string> {
    return fervoWorkerOk([...args, "--config", this.#file]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.fpm[Symbol.asyncDispose]();
  }
}
