/** Runs the messages of a trial: by `messenger:consume` under a supervisor, or by fervo-worker. */
import { reasonOf } from "../../../src/core/errors.ts";
import { eventually } from "../eventually.ts";
import { RunningCommand } from "../fervo_worker.ts";
import { PhpFpm } from "../php_fpm.ts";
import { MEMORY_LIMIT } from "./messenger_app.ts";
import type { Trial } from "./trial.ts";

/** In the table, of the transports php and json. */
const QUEUES = "'default', 'json_tasks'";
/** A message that has lost its consumer as often is left in the table, as nothing else would ever end it. */
const LOSSES_MAX = 3;
/** On MariaDB and MySQL, older versions of Symfony mark a row that is done, and delete it a little later. */
const DELETED_AT = "9999-12-31 23:59:59";
/** Nothing takes nearly as long. */
const DEADLINE_MS = 120_000;

/**
 * Runs `messenger:consume` until nothing more can happen. As under supervisord, a process that has ended is started again.
 *
 * A message whose consumer died waits until `redeliver_timeout` is over, which is an hour: its row is made older instead. After
 * three times it stays as it is.
 */
export async function consumeByMessenger(trial: Trial, processes: number): Promise<void> {
  const poison = new Set<number>();
  const stop = new AbortController();
  const supervisors = Array.from({ length: processes }, async () => {
    while (!stop.signal.aborted) {
      const pid = await consumeOnce(trial, stop.signal);
      await letTimePass(trial, pid, poison);
    }
  });
  try {
    await Promise.race([Promise.all(supervisors), everythingIsDone(trial, poison)]);
  } finally {
    stop.abort();
    await Promise.all(supervisors);
  }
}

/** Runs one process to its end. Returns its process id. */
async function consumeOnce(trial: Trial, stop: AbortSignal): Promise<number> {
  const process = trial.app.start("messenger:consume", "php", "json", "--sleep=0.1", "--no-interaction")
    .spawn();
  const end = () => {
    try {
      process.kill("SIGTERM");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // It has ended.
    }
  };
  stop.addEventListener("abort", end);
  await process.stdin.close();
  await process.output();
  stop.removeEventListener("abort", end);
  return process.pid;
}

async function letTimePass(trial: Trial, consumer: number, poison: Set<number>): Promise<void> {
  const rows = await trial.database.run(
    `SELECT id, body FROM messenger_messages WHERE queue_name IN (${QUEUES}) AND delivered_at < '${DELETED_AT}'`,
  );
  for (const { id, body } of rows) {
    const lines = await trial.ledger(nameIn(body));
    const last = lines.at(-1);
    if (last?.process !== consumer) continue;
    const begins = lines.filter(({ what }) => what === "begin").length;
    if (begins >= LOSSES_MAX) poison.add(Number(id));
    else {await trial.database.run(
        "UPDATE messenger_messages SET delivered_at = '2000-01-01 00:00:00' WHERE id = ?",
        id!,
      );}
  }
}

/** A job that runs longer is killed. The messages of the trial that run too long take 3 s. */
const TIMEOUT_MS = 1_500;

/** Runs fervo-worker, on a php-fpm of its own, until nothing more can happen. Returns what it has logged. */
export async function consumeByFervoWorker(trial: Trial): Promise<string> {
  await using fpm = await PhpFpm.start({
    children: 3,
    statusListen: true,
    ini: { memory_limit: MEMORY_LIMIT },
    poolLines: Object.entries(trial.app.env).map(([name, value]) => `env[${name}] = "${value}"`),
  });
  const file = `${trial.app.directory}/fervo-worker.toml`;
  await Deno.writeTextFile(file, configuration(trial, fpm));
  await Deno.chmod(file, 0o600);
  await using worker = RunningCommand.start(["run", "--config", file]);
  await Promise.race([
    everythingIsDone(trial, new Set()).catch((error) => {
      throw new Error(`${reasonOf(error)}\n${worker.stderr}`);
    }),
    worker.ended.then(({ stderr }) => {
      throw new Error(`fervo-worker ended:\n${stderr}`);
    }),
  ]);
  worker.kill("SIGTERM");
  return (await worker.ended).stderr;
}

function configuration(trial: Trial, fpm: PhpFpm): string {
  const broker = Object.entries(trial.database.broker).map(([key, value]) =>
    `${key} = ${JSON.stringify(value)}`
  );
  return `
[brokers.shop]
${broker.join("\n")}
format = "messenger"
queue_names = { php = "default", json = "json_tasks" }

[fpm.shop]
address = "${fpm.address}"
status_path = "${fpm.statusPath}"
status_address = "${fpm.statusAddress}"
script = "${trial.app.frontController}"
kill_on_timeout = true

[[consumers]]
broker = "shop"
fpm = "shop"
queues = ["php", "json"]
concurrency = 2
timeout_ms = ${TIMEOUT_MS}
`;
}

async function everythingIsDone(trial: Trial, poison: ReadonlySet<number>): Promise<void> {
  const rows = `FROM messenger_messages WHERE queue_name IN (${QUEUES})`;
  const isDone = async () => await trial.database.count(`SELECT count(*) ${rows}`) === poison.size;
  try {
    await eventually("all messages are done", isDone, DEADLINE_MS);
  } catch (error) {
    const left = await trial.database.run(`SELECT body, delivered_at ${rows}`);
    const ledgers = await Promise.all(left.map(async ({ body, delivered_at }) => {
      const name = nameIn(body);
      return [name, `delivered at ${delivered_at}`, ...await trial.ledgerText(name)];
    }));
    throw new Error(`${reasonOf(error)}; left are: ${ledgers.join("\n")}`);
  }
}

function nameIn(body: unknown): string {
  return /\b\d{3}-[a-z][a-z0-9-]+/.exec(String(body))?.[0] ?? "unknown";
}
