import { JobError } from "../../../core/errors.ts";
import { exactText } from "../../../core/text/payload.ts";
import type { SqlDialect } from "../../../sql/dialect.ts";

/**
 * A body as the text that the column has.
 *
 * @throws {JobError} JOB_MALFORMED when it is not UTF-8; or has a NUL, which PostgreSQL cannot store in a text
 */
export function bodyText(queue: string, body: Uint8Array, { name }: Pick<SqlDialect, "name">): string {
  const malformed = (reason: string) =>
    new JobError(
      "JOB_MALFORMED",
      `Cannot store a message in queue "${queue}": its body ${reason}; encode it, as Symfony's PhpSerializer does`,
    );
  if (name === "postgres" && body.includes(0)) {
    throw malformed("has a NUL, which PostgreSQL cannot store in a text");
  }
  try {
    return exactText(body);
  } catch {
    throw malformed("is not a text in UTF-8");
  }
}

/** The column `headers`. PHP writes no headers as `[]`. */
export function headersText(headers: Readonly<Record<string, string>>): string {
  for (const _ in headers) return JSON.stringify(headers);
  return "[]";
}
