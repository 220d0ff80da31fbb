import type { SqlSession } from "../../../sql/driver.ts";

/** The names of all queues with jobs in a state, each by a search in an index: else all entries would be read. */
export async function queuesIn(session: SqlSession, jobs: string, state: string): Promise<string[]> {
  const { rows } = await session.run(`
    WITH RECURSIVE q (queue) AS (
      SELECT min(queue) FROM ${jobs} WHERE state = '${state}'
      UNION ALL
      SELECT (SELECT min(j.queue) FROM ${jobs} AS j WHERE j.state = '${state}' AND j.queue > q.queue) FROM q
      WHERE q.queue IS NOT NULL)
    SELECT queue FROM q WHERE queue IS NOT NULL`);
  return rows.map((row) => String(row["queue"]));
}
