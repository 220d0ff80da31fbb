/** A whole worker in this process, on any broker, whose messages a framework reads on a php-fpm of its own. */
import { systemClock } from "../../src/core/time/clock.ts";
import type { Broker } from "../../src/core/broker.ts";
import {
  DEFAULT_FASTCGI_EXECUTOR_OPTIONS,
  FastCgiExecutor,
  type FastCgiExecutorOptions,
} from "../../src/executors/fastcgi/executor.ts";
import { parseAddress } from "../../src/fastcgi/address.ts";
import { DEFAULT_POOL_OPTIONS, Pool } from "../../src/fastcgi/pool.ts";
import {
  Consumer,
  type ConsumerOptions,
  DEFAULT_CONSUMER_OPTIONS,
} from "../../src/worker/consumer/consumer.ts";
import { type RunResult, Worker } from "../../src/worker/worker.ts";
import { EventLog } from "./event_log.ts";
import { eventually } from "./eventually.ts";
import { PhpFpm, type PhpFpmOptions } from "./php_fpm.ts";

export const QUEUE = "default";
/** The framework in PHP. */
export const FRAMEWORK_FILE = new URL("framework.php", import.meta.url).pathname;

/** What a message of the framework has handlers do at its tries, and as it hears of its deaths; nothing where that is not told. */
export interface FrameworkMessage {
  readonly name: string;
  /** Tries that it has. 3 when absent. */
  readonly max?: number;
  readonly do?: readonly ("kill" | "segv" | "exit" | "memory" | "sleep" | "hold" | "nothing")[];
  readonly died?: readonly ("kill" | "nothing")[];
}

export function messageBytes(message: FrameworkMessage): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ tries: 0, max: 3, do: [], died: [], ...message }));
}

export interface FrameworkSiteSettings {
  readonly fpm?: PhpFpmOptions;
  readonly consumer?: Partial<ConsumerOptions>;
  readonly executor?: Partial<FastCgiExecutorOptions>;
  /** Of the front controller, where it is another one. */
  readonly code?: string;
}

export async function startFrameworkSite(
  open: (folder: string) => Broker,
  { fpm: fpmOptions, consumer: options, executor: executorOptions, code }: FrameworkSiteSettings = {},
) {
  await using opened = new AsyncDisposableStack();
  const concurrency = options?.concurrency ?? 2;
  const children = fpmOptions?.children ?? concurrency;
  const fpm = opened.use(
    await PhpFpm.start({ ...fpmOptions, children, statusListen: true, ini: { memory_limit: "32M" } }),
  );
  const file = (name: string) => `${fpm.directory}/${name}`;
  const script = await fpm.writeScript(
    "front.php",
    code ?? `<?php require '${FRAMEWORK_FILE}'; serve(__DIR__);`,
  );
  const broker = opened.use(open(fpm.directory));
  const pool = new Pool({ address: parseAddress(fpm.address), clock: systemClock }, {
    ...DEFAULT_POOL_OPTIONS,
    maxConnections: concurrency,
  });
  const control = fpm.control();
  // What ends in php-fpm's first second would be php-fpm's doing; its page counts in whole ones.
  await eventually("php-fpm has started its children, a while ago", async () => {
    const { processes, uptimeS } = (await fpm.control().status())!;
    return processes.filter(({ pid }) => pid > 0).length === children && uptimeS >= 2;
  });
  await control.status();
  const log = new EventLog();
  const executor = opened.use(
    new FastCgiExecutor({ pool, fpm: control, clock: systemClock, observe: log.observe }, {
      ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS,
      script,
      killOnTimeout: true,
      ...executorOptions,
    }),
  );
  const consumer = new Consumer(
    { broker, executor, clock: systemClock, observe: log.observe, random: Math.random },
    {
      ...DEFAULT_CONSUMER_OPTIONS,
      name: "main",
      queues: [{ name: QUEUE, weight: 1 }],
      concurrency,
      retry: { ...DEFAULT_CONSUMER_OPTIONS.retry, delayMs: 1, maxDelayMs: 1 },
      ...options,
    },
  );
  const worker = new Worker({ consumers: [consumer], clock: systemClock, observe: log.observe }, {
    shutdownTimeoutMs: 60_000,
  });
  let running: Promise<RunResult> | undefined;
  opened.defer(async () => {
    worker.stop();
    worker.stop();
    await running;
    await fpm.stop();
  });
  const resources = opened.move();
  const linesOf = async (name: string) =>
    (await Deno.readTextFile(file(name)).catch(() => "")).split("\n").slice(0, -1);
  return {
    fpm,
    broker,
    consumer,
    log,
    worker,
    file,
    run: () => running = worker.run({ untilEmpty: false }),
    async push(...messages: FrameworkMessage[]): Promise<void> {
      for (const message of messages) await broker.push(QUEUE, messageBytes(message));
    },
    /** `name tries` of each run of a handler. */
    runs: () => linesOf("runs"),
    /** `name tries code` of each death that was told. */
    deaths: async () => (await linesOf("deaths")).map((line) => line.split(" ").slice(0, 3).join(" ")),
    /** The id of the failure, of each death that was told. */
    failureIds: async () => (await linesOf("deaths")).map((line) => line.split(" ")[3]!),
    /** The names of those that the framework keeps as failed. */
    failed: () => linesOf("failed"),
    /** What became of each delivery, in order: `outcome code`. */
    settles: () =>
      log.of("job_settled").map(({ verdict }) =>
        verdict.kind === "ack" ? "ack" : `${verdict.kind} ${verdict.error.code}`
      ),
    /** Resolves when this many deliveries have come to their end: done, or failed for good. */
    ended: (count: number) =>
      log.count("job_settled", count, ({ verdict }) => ["ack", "handled", "bury"].includes(verdict.kind)),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}
