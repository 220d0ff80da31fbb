import type { BrokerFindingId, Finding } from "../../../core/finding.ts";
import type { CheckedLayout, ColumnKind, NeededColumn, NeededIndex } from "./subject.ts";

export interface FoundColumn {
  readonly name: string;
  /** With its length, and for a text of MySQL its collation. */
  readonly type: string;
  readonly mayBeNull: boolean;
}

export interface FoundIndex {
  readonly name: string;
  readonly isUnique: boolean;
  /** False when the server does not use it: it was not built to its end, or an administrator has hidden it. */
  readonly isUsed: boolean;
  /** As in {@link NeededIndex}. */
  readonly columns: readonly string[];
  readonly where: string | undefined;
}

/** What the servers differ in. */
export interface TableRules {
  readonly columns: {
    readonly id: BrokerFindingId;
    /** The types that a column may have. */
    readonly types: Readonly<Record<ColumnKind, RegExp>>;
    /** The statement that forbids NULL, if there is a short one. */
    readonly forbidNull: (table: string, column: string) => string | undefined;
  };
  readonly indexes: {
    readonly id: BrokerFindingId;
    /** The statement that removes one. */
    readonly drop: (table: string, index: string) => string;
  };
}

/** Judges the columns of the table of jobs. */
export function columnFindings(
  { table, columns: needed }: CheckedLayout,
  found: readonly FoundColumn[],
  { id, types, forbidNull }: TableRules["columns"],
): Finding[] {
  const columns = new Map(found.map((column) => [column.name, column]));
  const missing = needed.filter(({ name }) => !columns.has(name));
  const findings: Finding[] = [];
  const compare = "compare the table with the output of `fervo-worker schema`, and alter it";
  if (missing.length > 0) {
    findings.push({
      id,
      severity: "error",
      code: "QUEUE_UNAVAILABLE",
      what: `the table ${table.name} has no ${listed(missing)}`,
      why: "no job can be pushed or taken",
      fix: compare,
    });
  }
  const ofOtherType = needed.filter(({ name, kind }) => {
    const column = columns.get(name);
    return column !== undefined && !types[kind].test(column.type);
  });
  for (const { name, kind } of ofOtherType) {
    findings.push({
      id,
      severity: "error",
      what: `the column ${name} of ${table.name} is ${columns.get(name)!.type}`,
      why: HARM[kind],
      fix: compare,
    });
  }
  for (const { name } of needed.filter(({ isRequired }) => isRequired)) {
    if (columns.get(name)?.mayBeNull !== true) continue;
    const statement = forbidNull(table.quoted, name);
    findings.push({
      id,
      severity: "warning",
      what: `the column ${name} of ${table.name} may be NULL`,
      why: "a job without this value is never taken, or becomes a dead letter",
      fix: statement ?? compare,
    });
  }
  if (findings.length > 0) return findings;
  return [{ id, severity: "ok", what: `the table ${table.name} has all columns` }];
}

/** What happens with a column of another type. */
const HARM: Readonly<Record<ColumnKind, string>> = {
  id: "ids of jobs are whole numbers of 64 bits",
  integer: "times in milliseconds and large counts do not fit into it",
  text: "long values do not fit into it, and the change that writes them is refused",
  name: "names are compared in another way than this worker's, or long ones do not fit into it",
  owner: "the names of workers do not fit into it, so they take no jobs",
  state: "the states of jobs do not fit into it",
  payload: "payloads are changed by it, or large ones do not fit into it",
};

function listed(columns: readonly NeededColumn[]): string {
  const names = columns.map(({ name }) => name).join(", ");
  return `${columns.length === 1 ? "column" : "columns"} ${names}`;
}

/** Judges the indexes of the table of jobs. One of another name serves as well. */
export function indexFindings(
  { table }: CheckedLayout,
  needed: readonly NeededIndex[],
  found: readonly FoundIndex[],
  { id, drop }: TableRules["indexes"],
): Finding[] {
  const findings = needed.flatMap((index): Finding[] => {
    if (found.some((other) => other.isUsed && isSame(index, other))) return [];
    const { name, statement, isUnique } = index;
    const why = isUnique
      ? "two jobs with one unique key can wait at a time"
      : "claims and counts read the whole table, and become slower with each job that waits";
    const namesake = found.find((other) => other.name === bare(name));
    const fix = namesake === undefined ? statement : `${drop(table.quoted, name)}; then ${statement}`;
    const common = { id, severity: isUnique ? "warning" : "error", why, fix } as const;
    if (namesake === undefined) {
      return [{ ...common, what: `the table ${table.name} lacks the index ${bare(name)}` }];
    }
    return [{
      ...common,
      what: isSame(index, namesake)
        ? `the server does not use the index ${namesake.name}: it is not complete, or was hidden`
        : `the index ${namesake.name} is of ${described(namesake)}, and ${described(index)} is needed`,
    }];
  });
  if (findings.length > 0) return findings;
  return [{ id, severity: "ok", what: `the table ${table.name} has all indexes` }];
}

type Definition = Pick<NeededIndex, "isUnique" | "columns" | "where">;

function isSame(one: Definition, other: Definition): boolean {
  return one.isUnique === other.isUnique && one.columns.join() === other.columns.join() &&
    condition(one) === condition(other);
}

function described({ isUnique, columns, where }: Definition): string {
  return `${isUnique ? "unique " : ""}(${columns.join(", ")})${where === undefined ? "" : ` WHERE ${where}`}`;
}

/** Without what a server adds to it: casts and brackets. */
function condition({ where = "" }: Definition): string {
  return where.replaceAll(/::(?:text|character varying|bpchar)|[()\s]/g, "");
}

/** A name without its quotes. */
function bare(name: string): string {
  return name.replaceAll(/^["`]|["`]$/g, "");
}
