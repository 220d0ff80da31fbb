import type { ServerFacts } from "../../../sql/driver.ts";
import type { CheckedLayout, NeededColumn, NeededRight } from "../check/subject.ts";
import { addIndex, jobIndexes, versionTable } from "./schema/versions.ts";
import type { FervoTables, Table } from "./tables.ts";

const COLUMNS: readonly NeededColumn[] = [
  { name: "id", kind: "id", isRequired: true },
  { name: "queue", kind: "name", isRequired: true },
  { name: "payload", kind: "payload", isRequired: true },
  { name: "headers", kind: "text", isRequired: false },
  { name: "priority", kind: "integer", isRequired: true },
  { name: "max_attempts", kind: "integer", isRequired: false },
  { name: "created_at", kind: "integer", isRequired: true },
  { name: "due_at", kind: "integer", isRequired: true },
  { name: "state", kind: "state", isRequired: true },
  { name: "attempts", kind: "integer", isRequired: true },
  { name: "lease", kind: "owner", isRequired: false },
  { name: "error", kind: "text", isRequired: false },
  { name: "errors", kind: "text", isRequired: false },
  { name: "unique_key", kind: "name", isRequired: false },
  { name: "taken_key", kind: "name", isRequired: false },
];

/** The columns that a push writes. */
const PUSHED = "queue, payload, headers, priority, max_attempts, created_at, due_at, state, unique_key";

/** What `check` looks for in the tables of the layout `fervo`. */
export function checkedLayout(
  tables: FervoTables,
  { createTables, maxPayloadBytes }: { readonly createTables: boolean; readonly maxPayloadBytes: number },
): CheckedLayout {
  const { jobs, paused, schedule, schema } = tables;
  return {
    table: { name: jobs.name, quoted: jobs.quoted },
    columns: COLUMNS,
    indexes: (product) =>
      jobIndexes(product, jobs).map((index) => ({ ...index, statement: addIndex(product, jobs, index) })),
    rights: (product) => [
      ...rightsOf(jobs, { insert: PUSHED, update: "state" }, "run jobs of it"),
      ...rightsOf(paused, { insert: "queue, paused_at" }, "pause and resume queues"),
      ...rightsOf(schedule, { insert: "name, rule, claimed_to", update: "rule" }, "push jobs of schedules"),
      right("SELECT", schema, `SELECT 1 FROM ${schema.quoted} WHERE 1 = 0`, "start"),
      ...(createTables ? [creation(product, tables)] : []),
    ],
    maxPayloadBytes,
  };
}

/** @param columns Those of an insert, and one of an update; without it no row is updated. */
function rightsOf(
  table: Table,
  { insert, update }: { readonly insert: string; readonly update?: string },
  use: string,
): NeededRight[] {
  const { quoted } = table;
  const none = `FROM ${quoted} WHERE 1 = 0`;
  return [
    right("SELECT", table, `SELECT 1 ${none}`, use),
    right("INSERT", table, `INSERT INTO ${quoted} (${insert}) SELECT ${insert} ${none}`, use),
    ...(update === undefined
      ? []
      : [right("UPDATE", table, `UPDATE ${quoted} SET ${update} = ${update} WHERE 1 = 0`, use)]),
    right("DELETE", table, `DELETE ${none}`, use),
  ];
}

function right(name: string, { name: table }: Table, trial: string, use: string): NeededRight {
  return { right: name, table, trial, use, isVital: true };
}

function creation(product: ServerFacts["product"], tables: FervoTables): NeededRight {
  return {
    right: "CREATE",
    table: product === "PostgreSQL" ? "the schema of the tables" : "the database",
    trial: versionTable(product, tables),
    use:
      "create or migrate tables, such as after an upgrade; with create_tables = false an administrator does it",
    isVital: false,
  };
}
