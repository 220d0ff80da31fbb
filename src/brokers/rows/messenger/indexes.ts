import type { SqlSession } from "../../../sql/driver.ts";

/** The columns of the index that doctrine-messenger creates since 7.4; before, it has an index on each of the first three. */
export const COMPOSITE = ["queue_name", "available_at", "delivered_at", "id"] as const;

export interface FoundIndex {
  readonly name: string;
  readonly columns: readonly string[];
}

/** The indexes that a server uses for the table. @param name As it is written in the configuration. */
export async function foundIndexes(
  session: SqlSession,
  quoted: string,
  name: string,
): Promise<FoundIndex[]> {
  const { rows } = await session.run(...STATEMENTS[session.dialect.name](quoted, name));
  const byName = Map.groupBy(rows, (row) => String(row["name"]));
  return [...byName].map(([name, columns]) => ({
    name,
    columns: columns.map((row) => String(row["column_name"])),
  }));
}

type Statement = [text: string, values: string[]];

const STATEMENTS = {
  postgres: (quoted: string): Statement => [
    `SELECT relname::text AS name, attname::text AS column_name
     FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
       CROSS JOIN LATERAL generate_series(0, indnkeyatts - 1) AS i
       JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[i]
     WHERE indrelid = to_regclass(?) AND indisvalid AND indpred IS NULL ORDER BY relname, i`,
    [quoted],
  ],
  mysql: (_quoted: string, name: string): Statement => {
    const [table, schema] = name.split(".").toReversed();
    return [
      `SELECT INDEX_NAME AS name, COLUMN_NAME AS column_name FROM information_schema.STATISTICS
       WHERE TABLE_SCHEMA = ${
        schema === undefined ? "DATABASE()" : "?"
      } AND TABLE_NAME = ? AND SUB_PART IS NULL
       ORDER BY INDEX_NAME, SEQ_IN_INDEX`,
      schema === undefined ? [table!] : [schema, table!],
    ];
  },
  sqlite: (_quoted: string, name: string): Statement => [
    `SELECT l.name AS name, i.name AS column_name FROM pragma_index_list(?) AS l, pragma_index_info(l.name) AS i
     WHERE l.partial = 0 ORDER BY l.name, i.seqno`,
    [name],
  ],
};
