import type { FervoError } from "../../../core/errors.ts";
import { SqlFailure } from "../../../sql/failure.ts";
import { OptionFileError } from "../../../system/option_file.ts";

/** What the advice is about. */
export interface FixSubject {
  /** What starts the server. */
  readonly start: string;
  /** The page of docs/brokers with the rights of the user. */
  readonly page: string;
  /** Said of the rights, beside the page; "" for nothing. */
  readonly rightsNote: string;
  /** What makes the tables right. @param advice The failure's own. */
  tables(advice: string | undefined): string;
}

const CONNECTIONS =
  "as an administrator: raise the limit of connections of the server or of the user, or end those that nobody uses";

/** Failures whose kind does not say what to change, by the server's code. */
const FIXES: Readonly<Record<string, (place: string, subject: FixSubject) => string>> = {
  "3D000": noDatabase,
  ER_BAD_DB_ERROR: noDatabase,
  "42501": noRight,
  ER_DBACCESS_DENIED_ERROR: noRight,
  ER_TABLEACCESS_DENIED_ERROR: noRight,
  ER_COLUMNACCESS_DENIED_ERROR: noRight,
  "53300": () => CONNECTIONS,
  ER_CON_COUNT_ERROR: () => CONNECTIONS,
  ER_TOO_MANY_USER_CONNECTIONS: () => CONNECTIONS,
  ER_USER_LIMIT_REACHED: () => CONNECTIONS,
};

/** What to change when the database cannot be used. */
export function fixOf(
  error: FervoError,
  place: string,
  subject: FixSubject,
): string {
  if (error instanceof OptionFileError) return error.fix;
  const { start, page } = subject;
  const { cause } = error;
  const failure = cause instanceof SqlFailure ? cause : undefined;
  const fix = FIXES[failure?.code ?? ""];
  if (fix !== undefined) return fix(place, subject);
  switch (failure?.kind) {
    case "denied":
      return `${place} username, and password or password_file, of a user with the rights in docs/brokers/${page}.md`;
    case "schema":
      return subject.tables(failure.advice);
    case "read_only":
      return `${place} url = the primary, or all servers of a failover`;
    default:
      return `start it, for instance with: ${start}; or ${place} url = where it listens`;
  }
}

function noDatabase(place: string): string {
  return `${place} url = an address that ends with the name of a database`;
}

function noRight(_place: string, { page, rightsNote }: FixSubject): string {
  return `as an administrator: give the user the rights in docs/brokers/${page}.md${rightsNote}`;
}
