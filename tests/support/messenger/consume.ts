/** Runs the messages of a trial: by `messenger:consume` under a supervisor, or by fervo-worker. */
import { reasonOf } from "../../../src/core/errors.ts";
import { eventually } from "../eventually.ts";
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
