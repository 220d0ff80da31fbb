/**
 * The columns `headers`, `error` and `errors` of the tables of jobs, which are JSON. A person may have written something else there.
 */
import type { Failure } from "../core/admin.ts";

/** The `headers` column: a JSON object, or NULL without headers. */
export function headersColumn(headers: Readonly<Record<string, string>>): string | null {
  for (const _ in headers) return JSON.stringify(headers);
  return null;
}

/** The headers of a dead letter. One that died of its headers has a value that is not a text: it is left out. */
export function listedHeaders(column: string): Record<string, string> {
  const entries = Object.entries(parsed(column) ?? {}).filter((entry): entry is [string, string] =>
    typeof entry[1] === "string"
  );
  return Object.fromEntries(entries);
}

/** The `error` column. A person may have set the state by hand, without an error or with another text. */
export function storedError(column: string): Failure {
  return toFailure(parsed(column)) ?? { code: "JOB_FAILED", message: column || "No error was recorded" };
}

/** The `errors` column: the failures before the last one. */
export function earlierErrors(column: string): Failure[] {
  const earlier = parsed(column);
  return Array.isArray(earlier) ? earlier.flatMap((error) => toFailure(error) ?? []) : [];
}

/** Undefined when it is not JSON. */
export function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function toFailure(value: unknown): Failure | undefined {
  const { code, message, stderr, attempt, at } = (value ?? {}) as Record<string, unknown>;
  if (typeof code !== "string" || typeof message !== "string") return undefined;
  return {
    code,
    message,
    ...(typeof stderr === "string" && { stderr }),
    ...(typeof attempt === "number" && { attempt }),
    ...(typeof at === "number" && { atMs: at }),
  };
}
