import type { ServerFacts } from "../../../sql/driver.ts";

/** What the type of a column must be able to hold. */
export type ColumnKind = "id" | "integer" | "text" | "name" | "owner" | "state" | "payload";

export interface NeededColumn {
  readonly name: string;
  readonly kind: ColumnKind;
  /** A row without a value would never be taken, or only as a dead letter. */
  readonly isRequired: boolean;
}

export interface NeededIndex {
  /** Quoted. */
  readonly name: string;
  readonly isUnique: boolean;
  /** Such as `priority DESC`. */
  readonly columns: readonly string[];
  readonly where: string | undefined;
  /** The statement that adds it while the table is in use. */
  readonly statement: string;
}

/** A right that a worker needs. */
export interface NeededRight {
  /** As in SQL, such as `INSERT`. */
  readonly right: string;
  /** The name of the table, for people. */
  readonly table: string;
  /** A statement that needs the right, and changes nothing. */
  readonly trial: string;
  /** What a worker without it cannot do, as the end of "it cannot …". */
  readonly use: string;
  /** Else jobs run without it. */
  readonly isVital: boolean;
}

/** What a layout needs of a database. */
export interface CheckedLayout {
  /** The table of jobs: its name for people, and quoted. */
  readonly table: { readonly name: string; readonly quoted: string };
  readonly columns: readonly NeededColumn[];
  indexes(product: ServerFacts["product"]): readonly NeededIndex[];
  rights(product: ServerFacts["product"]): readonly NeededRight[];
  readonly maxPayloadBytes: number;
}
