import type { FervoError } from "../../../core/errors.ts";
import { errorsColumns } from "../error_columns.ts";
import { parsed } from "../../job_columns.ts";

/** The header of a message that has facts of this worker, as JSON. Symfony ignores a header that it does not know. */
const NAME = "X-Fervo-Worker";
/** The header at the end of a JSON object, as {@link withFacts} writes it. */
const AT_END = /,?"X-Fervo-Worker":("(?:[^"\\]|\\.)*")(\s*\}\s*)$/;
/** What PHP writes for no headers. */
const NONE = "[]";

/** What the worker must remember of a message, beside what the table has. An absent number is 0. */
export interface Facts {
  /** Attempts that have failed and were retried by the worker. */
  readonly attempts?: number;
  /** Holders that were lost. */
  readonly lost?: number;
  /** The message's own limit of attempts. */
  readonly maxAttempts?: number;
  /** An earlier run may not have ended. */
  readonly isRepeat?: boolean;
  /** The last failure, and a JSON array of those before it, as the columns of our own table have them. */
  readonly error?: string;
  readonly errors?: string;
  /** Of a dead letter. */
  readonly dead?: DeadFacts;
}

/** What restores a dead letter. */
export interface DeadFacts {
  readonly queue: string;
  readonly queueName: string;
  /** The whole text of the column. */
  readonly headers: string;
  /** Epoch milliseconds. */
  readonly at: number;
}

/** The column `headers` without the worker's header, byte for byte as it was, and the facts in that header. */
export function splitHeaders(column: string): { readonly headers: string; readonly facts: Facts } {
  const match = AT_END.exec(column);
  if (match === null) return { headers: column, facts: {} };
  const found = parsed(String(parsed(match[1]!)));
  const { none = NONE, ...facts } = (typeof found === "object" && found !== null ? found : {}) as Stored;
  const rest = column.slice(0, match.index) + match[2];
  return { headers: hasHeaders(rest) ? rest : none, facts };
}

/** The column with these facts. A column that is not a JSON object can have none, and stays as it is. */
export function withFacts(headers: string, facts: Facts): string {
  if (JSON.stringify(facts) === "{}") return headers;
  const value = parsed(headers);
  if (typeof value !== "object" || value === null) return headers;
  if (Object.keys(value).length === 0) {
    return `{${header({ ...facts, ...(headers !== NONE && { none: headers }) })}}`;
  }
  if (Array.isArray(value)) return headers;
  const end = headers.lastIndexOf("}");
  return `${headers.slice(0, end)},${header(facts)}${headers.slice(end)}`;
}

/** The facts after a failure. */
export function failed(
  facts: Facts,
  { error, attempt, nowMs }: { readonly error: FervoError; readonly attempt: number; readonly nowMs: number },
): Facts {
  const before = { error: facts.error ?? null, errors: facts.errors ?? null, attempt };
  const [last, earlier] = errorsColumns(before, error, nowMs);
  return { ...facts, error: last, ...(earlier !== null && { errors: earlier }) };
}

/** Facts as they are stored. `none` is a column without headers that is not PHP's. */
type Stored = Facts & { readonly none?: string };

function header(facts: Stored): string {
  return `"${NAME}":${JSON.stringify(JSON.stringify(facts))}`;
}

function hasHeaders(text: string): boolean {
  return Object.keys(parsed(text) ?? {}).length > 0;
}
