import { createHash } from "node:crypto";
import type { SqlSession } from "../../../sql/driver.ts";
import type { MessengerTable } from "./table.ts";

/** Of the column `queue_name`, characters. */
export const MAX_QUEUE_NAME_LENGTH = 190;

/** Behind the queue_name of dead letters; nobody consumes it. */
const DEAD = "__fervo_dead";
const HASH_LENGTH = 16;

/** Transports by their names, and what is in `queue_name` for them. */
export class QueueNames {
  readonly #byTransport: ReadonlyMap<string, string>;
  readonly #transports: ReadonlyMap<string, string>;

  constructor(byTransport: ReadonlyMap<string, string>) {
    this.#byTransport = byTransport;
    // Of two transports with the same queue_name the first one names its messages.
    this.#transports = new Map([...byTransport].toReversed().map(([transport, name]) => [name, transport]));
  }

  of(transport: string): string {
    return this.#byTransport.get(transport) ?? transport;
  }

  /** The transport with a queue_name; undefined for a name that none can have, as its own name is another transport's. */
  transportOf(queueName: string): string | undefined {
    return this.#transports.get(queueName) ?? (this.#byTransport.has(queueName) ? undefined : queueName);
  }
}

/** The queue_name of the dead letters of another one; shortened, with a hash, where it would not fit. */
export function deadNameOf(queueName: string): string {
  if (length(queueName + DEAD) <= MAX_QUEUE_NAME_LENGTH) return queueName + DEAD;
  const hash = createHash("sha256").update(queueName).digest("hex").slice(0, HASH_LENGTH);
  const kept = [...queueName].slice(0, MAX_QUEUE_NAME_LENGTH - DEAD.length - HASH_LENGTH - 1).join("");
  return `${kept}_${hash}${DEAD}`;
}

/** Whether a queue_name is one of dead letters. */
export function isDeadName(queueName: string): boolean {
  return queueName.endsWith(DEAD);
}

/** All values of `queue_name`, each by a search in an index: else all entries would be read. */
export async function queueNamesIn(session: SqlSession, { quoted }: MessengerTable): Promise<string[]> {
  const { rows } = await session.run(`
    WITH RECURSIVE q (name) AS (
      SELECT min(queue_name) FROM ${quoted}
      UNION ALL
      SELECT (SELECT min(t.queue_name) FROM ${quoted} AS t WHERE t.queue_name > q.name) FROM q WHERE q.name IS NOT NULL)
    SELECT name FROM q WHERE name IS NOT NULL`);
  return rows.map((row) => String(row["name"]));
}

function length(text: string): number {
  return [...text].length;
}
