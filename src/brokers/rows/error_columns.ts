import type { Failure } from "../../core/admin.ts";
import type { FervoError } from "../../core/errors.ts";
import { parsed } from "../job_columns.ts";

/** A job keeps this many failures before the last one, the latest. */
const MAX_EARLIER = 9;
/** How much is kept of the beginning, and of the end, of each STDERR of an earlier failure, characters. */
const EARLIER_STDERR = 1_000;

/**
 * The `error` and `errors` columns after a failure: `{"code", "message", "attempt", "stderr"?, "at"}`, and a JSON array of the
 * earlier ones.
 *
 * @param row The columns before it.
 */
export function errorsColumns(
  { error, errors, attempt }: {
    readonly error: string | null;
    readonly errors: string | null;
    readonly attempt: number;
  },
  { code, message, details }: FervoError,
  nowMs: number,
): [error: string, errors: string | null] {
  const failure: Failure = { code, message, attempt, ...(details.stderr && { stderr: details.stderr }) };
  return [JSON.stringify({ ...failure, at: nowMs }), earlierErrors(error, errors)];
}

/** A person may have written something else there: then it stays. */
function earlierErrors(error: string | null, errors: string | null): string | null {
  const latest = error === null ? undefined : parsed(error);
  const earlier = errors === null ? [] : parsed(errors);
  if (typeof latest !== "object" || latest === null || !Array.isArray(earlier)) return errors;
  const { stderr } = latest as { stderr?: unknown };
  const kept = typeof stderr === "string" ? { ...latest, stderr: shortened(stderr) } : latest;
  return JSON.stringify([...earlier.slice(-MAX_EARLIER + 1), kept]);
}

function shortened(stderr: string): string {
  if (stderr.length <= 2 * EARLIER_STDERR) return stderr;
  const left = stderr.length - 2 * EARLIER_STDERR;
  return `${stderr.slice(0, EARLIER_STDERR)}\n… ${left} characters left out …\n${
    stderr.slice(-EARLIER_STDERR)
  }`;
}
