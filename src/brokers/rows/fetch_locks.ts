import type { SqlDatabase } from "../../sql/database.ts";
import type { ServerFacts } from "../../sql/driver.ts";

/**
 * One fetcher a queue, on MariaDB and MySQL without SKIP LOCKED: there claims of several workers would wait for each other's
 * rows, and deadlock. A lock of the server has the name of the queue, and its holder claims. Nobody waits for it, because the
 * settles of a worker would wait behind that: a worker without it has found nothing, and looks again.
 *
 * No job is taken twice without the lock either; so it may be lost with the connection.
 */
export class FetchLocks {
  readonly #database: SqlDatabase;
  readonly #table: string;

  /** @param deps.table Its name, which keeps several tables of a database apart. */
  constructor(deps: { readonly database: SqlDatabase; readonly table: string }) {
    this.#database = deps.database;
    this.#table = deps.table;
  }

  /** Claims from those of the queues that no other worker claims from now. */
  async during<T>(
    queues: readonly string[],
    claim: (queues: readonly string[]) => Promise<T[]>,
  ): Promise<T[]> {
    if (!isNeeded(await this.#database.facts())) return await claim(queues);
    const ours = await this.#lock(queues);
    if (ours.length === 0) return [];
    try {
      return await claim(ours);
    } finally {
      // Without a connection there is no lock.
      await this.#call("RELEASE_LOCK", "", ours).catch(() => {});
    }
  }

  async #lock(queues: readonly string[]): Promise<string[]> {
    const results = await this.#call("GET_LOCK", ", 0", queues);
    return queues.filter((_, i) => results[i] === 1);
  }

  async #call(name: string, rest: string, queues: readonly string[]): Promise<unknown[]> {
    // The server has one space of names for all databases, and takes up to 64 characters.
    const calls = queues.map((_, i) =>
      `${name}(CONCAT('fervo ', MD5(CONCAT(DATABASE(), ' ', ?, ' ', ?)))${rest}) AS l${i}`
    );
    const { rows } = await this.#database.run(
      `SELECT ${calls.join(", ")}`,
      queues.flatMap((queue) => [this.#table, queue]),
    );
    return queues.map((_, i) => rows[0]?.[`l${i}`]);
  }
}

function isNeeded({ product, hasSkipLocked }: ServerFacts): boolean {
  return !hasSkipLocked && (product === "MariaDB" || product === "MySQL");
}
