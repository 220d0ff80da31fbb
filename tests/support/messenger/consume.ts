/** Runs the messages of a trial to their end: by `messenger:consume`, or by fervo-worker. */
import { reasonOf } from "../../../src/core/errors.ts";
import { eventually } from "../eventually.ts";
import { MessengerConsumers, WorkerAndPool } from "./consumers.ts";
import type { Trial } from "./trial.ts";

/** In the table, of the transports php and json. */
const QUEUES = "'default', 'json_tasks'";
/** A message that has lost its consumer as often is left in the table, as nothing else would ever end it. */
const LOSSES_MAX = 3;
/**
 * On MariaDB and MySQL, older versions of Symfony mark a row that is done so, and delete it when they look for the next message: one
 * may stay for ever where nothing consumes by them any more.
 */
const DONE_AT = "9999-12-31 23:59:59";
/** For WHERE. */
export const IS_NOT_DONE = `(delivered_at IS NULL OR delivered_at < '${DONE_AT}')`;
/** Nothing takes nearly as long. */
const DEADLINE_MS = 120_000;

/**
 * Runs `messenger:consume` until nothing more can happen.
 *
 * A message whose consumer died waits until `redeliver_timeout` is over, which is an hour: its row is made older instead. After
 * three times it stays as it is.
 */
export async function consumeByMessenger(trial: Trial, processes: number): Promise<void> {
  const poison = new Set<number>();
  await using consumers = new MessengerConsumers(trial, processes, (pid) => letTimePass(trial, pid, poison));
  await Promise.race([consumers.ended, everythingIsDone(trial, poison)]);
}

async function letTimePass(trial: Trial, consumer: number, poison: Set<number>): Promise<void> {
  const rows = await trial.database.run(
    `SELECT id, body FROM messenger_messages WHERE queue_name IN (${QUEUES}) AND delivered_at < '${DONE_AT}'`,
  );
  const older = "UPDATE messenger_messages SET delivered_at = '2000-01-01 00:00:00' WHERE id = ?";
  for (const { id, body } of rows) {
    const lines = await trial.ledger(nameIn(body));
    if (lines.at(-1)?.process !== consumer) continue;
    const begins = lines.filter(({ what }) => what === "begin").length;
    if (begins >= LOSSES_MAX) poison.add(Number(id));
    else await trial.database.run(older, id!);
  }
}

/** Runs fervo-worker, on a php-fpm of its own, until nothing more can happen. */
export async function consumeByFervoWorker(trial: Trial, batchSize = 1): Promise<void> {
  await using site = await WorkerAndPool.create(trial, { batchSize });
  await using worker = site.start();
  const ended = worker.ended.then(({ stderr }) => {
    throw new Error(`fervo-worker ended:\n${stderr}`);
  });
  const done = everythingIsDone(trial).catch((error) => {
    throw new Error(`${reasonOf(error)}\n${worker.stderr}`);
  });
  await Promise.race([done, ended]);
  ended.catch(() => {});
  worker.kill("SIGTERM");
  await worker.ended;
}

/** Resolves when the transports have no message, but for those that no consumer can end. */
export async function everythingIsDone(trial: Trial, poison: ReadonlySet<number> = new Set()): Promise<void> {
  const rows = `FROM messenger_messages WHERE queue_name IN (${QUEUES}) AND ${IS_NOT_DONE}`;
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
  return /\b\d{3,}-[a-z][a-z0-9-]+/.exec(String(body))?.[0] ?? "unknown";
}
