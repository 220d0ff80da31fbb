import type { Given } from "../../../sql/database.ts";
import type { SqlSession } from "../../../sql/driver.ts";
import type { MessengerTable } from "./table.ts";
import { idOf } from "../row_values.ts";

/** A new message. */
export interface NewMessage {
  readonly queueName: string;
  readonly body: string;
  /** The column. */
  readonly headers: string;
  readonly delayMs: number;
}

/** Inserts a message as Symfony does, and notifies on PostgreSQL; its id. */
// deno-lint-ignore require-await -- so that a failure rejects
export async function insert(
  session: SqlSession,
  table: MessengerTable,
  { queueName, body, headers, delayMs }: NewMessage,
): Promise<Given<string>> {
  const created = table.times.second();
  const available = table.times.second(delayMs);
  const text = `INSERT INTO ${table.quoted} (body, headers, queue_name, created_at, available_at)
    VALUES (?, ?, ?, ${created.sql}, ${available.sql})`;
  const values = [body, headers, queueName, created.value, available.value];
  if (session.dialect.name === "mysql") {
    // Right behind it, before the statements of other changes.
    const both = Promise.all([session.run(text, values), session.run("SELECT LAST_INSERT_ID() AS id")]);
    return { result: both.then(([, { rows }]) => idOf(rows[0]!)) };
  }
  const inserted = session.run(`${text} RETURNING id`, values);
  const notified = notify(session, table, queueName);
  return { result: Promise.all([inserted, notified]).then(([{ rows }]) => idOf(rows[0]!)) };
}

/** Tells consumers of a queue that there is something to take, as Symfony does, where the server can. */
export async function notify(session: SqlSession, table: MessengerTable, queueName: string): Promise<void> {
  if (session.dialect.name !== "postgres") return;
  await session.run("SELECT pg_notify(?, ?)", [table.name, queueName]);
}
