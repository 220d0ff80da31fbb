import { type FailureKind, SqlFailure } from "../failure.ts";
import { codeOf, connectionFailure } from "../system_errors.ts";

type Meaning = readonly [kind: FailureKind, advice?: string];

const LACKS_RIGHT = "the user lacks a right";
const REPLICA = "it is read-only: name the primary, or all servers of a failover, in the url";
const WRONG_TYPE = "a column has another type than expected: compare the table with the documented schema";
const FULL_DISK = "the disk of the server is full: make room; see the server's log";

/** By SQLSTATE (PostgreSQL, appendix A, "PostgreSQL Error Codes"), or by its first two characters, which are its class. */
const MEANINGS: Readonly<Record<string, Meaning>> = {
  "08": ["lost"],
  "0A000": ["other"],
  "22": ["refused", "a value does not fit its column"],
  "22021": ["refused", "a text has a NUL byte or is not UTF-8; binary payloads need a column of type bytea"],
  "23": ["refused", "a constraint of the table refuses the row"],
  "23502": ["refused", "the table requires a value for a column that this worker does not write"],
  "23505": ["duplicate"],
  "25006": ["read_only", REPLICA],
  "25P03": ["lost", "the server has ended a transaction that stood still; did this machine stand still?"],
  "26": ["lost", "a prepared statement is gone: a pooler or an administrator has reset the connection"],
  "28": ["denied", "the login was refused"],
  "28000": [
    "denied",
    "the login was refused: see pg_hba.conf of the server for this user, database and host",
  ],
  "28P01": ["denied", "the user name or the password is wrong"],
  "3D000": ["denied", "there is no such database"],
  "3F000": ["schema", "there is no such schema: create the tables, or set search_path of the user"],
  "40": ["again"],
  "40001": ["again", "transactions conflicted with each other"],
  "40003": ["lost"],
  "40P01": ["again", "transactions waited for each other's locks"],
  "42501": ["denied", LACKS_RIGHT],
  "42703": ["schema", "a column is missing: compare the table with the documented schema"],
  "42704": ["schema"],
  "42804": ["schema", WRONG_TYPE],
  "42846": ["schema", WRONG_TYPE],
  "42883": ["schema", WRONG_TYPE],
  "42P01": [
    "schema",
    "a table is missing: create it, or set search_path of the user, and GRANT USAGE ON SCHEMA",
  ],
  "42P10": ["schema", "a unique index is missing: compare the table with the documented schema"],
  "53100": ["other", FULL_DISK],
  "53200": ["other", "the server has no memory left; see its log"],
  "53300": ["lost", "it has too many connections: raise max_connections, run fewer workers, or use a pooler"],
  "54": ["refused", "a value is too large for the server"],
  "55006": ["again"],
  "55P03": ["again", "another transaction holds a lock for too long: look for it in pg_locks"],
  "57014": [
    "other",
    "the statement was canceled: it took longer than statement_timeout, or an administrator did it",
  ],
  "57P01": ["lost", "the connection was ended: by an administrator, or because the server stops"],
  "57P02": ["lost", "the server restarts after a crash of one of its processes; see its log"],
  "57P03": ["lost", "the server is starting, stopping or recovering; the worker tries again"],
  "57P05": ["lost", "the server has ended a connection that was idle; see idle_session_timeout"],
  "58": ["other", "the server has a problem with its files; see its log"],
  "XX001": ["other", "the server's files are damaged; see its log"],
  "XX002": ["other", "an index is damaged: see the server's log, and REINDEX"],
};

/** The advice without a user's name. */
export const NO_USER = "no user: set username, or a user in the url";

/** Words of errors that share their code with others. */
const BY_WORDS: readonly (readonly [code: string, words: RegExp, meaning: Meaning])[] = [
  // A table was changed; outside of a transaction the library prepares the statement anew by itself.
  ["0A000", /cached plan must not change result type/, ["again"]],
  ["28000", /no pg_hba\.conf entry/, [
    "denied",
    "pg_hba.conf of the server has no line for this user, database and host",
  ]],
  ["28000", /not permitted to log in/, ["denied", "the user may not log in: ALTER ROLE … LOGIN"]],
  ["28000", /role .* does not exist/, ["denied", "there is no such user"]],
  ["28000", /no PostgreSQL user name/, ["denied", NO_USER]],
  ["28000", /client certificate/, ["denied", "it requires a client certificate: set cert_file and key_file"]],
  ["08P01", /pooler|no such (?:user|database)|auth/i, ["denied", "the pooler refused the login"]],
  ["58030", /No space left/i, ["other", FULL_DISK]],
];

/** An error of the server, of the library or of the system, as a failure. */
export function postgresFailure(error: unknown): SqlFailure {
  if (error instanceof SqlFailure) return error;
  const code = codeOf(error);
  // By its fields: its name is another one once it is bundled.
  const isOfServer = error instanceof Error && "severity_local" in error && code !== undefined;
  if (!isOfServer) return connectionFailure(error);
  const [kind, advice] = meaningOf(code, error.message);
  return new SqlFailure(kind, { cause: error, code, advice });
}

function meaningOf(code: string, message: string): Meaning {
  const byWords = BY_WORDS.find(([of, words]) => of === code && words.test(message));
  return byWords?.[2] ?? MEANINGS[code] ?? MEANINGS[code.slice(0, 2)] ?? ["other"];
}

/** What the server says before it closes a connection: the fields of ErrorResponse that are never translated. */
const LAST_WORDS = /VFATAL\0C([0-9A-Z]{5})\0M([^\0]*)\0/;

/**
 * Why a connection has ended, which the library does not tell.
 *
 * @param last The last bytes that came from the server.
 * @param error The error of the socket.
 */
export function lossFailure(last: Uint8Array | undefined, error: unknown): SqlFailure {
  const [, code, message] = LAST_WORDS.exec(new TextDecoder().decode(last?.subarray(-1_000))) ?? [];
  if (code !== undefined) {
    return new SqlFailure("lost", { cause: new Error(message), code, advice: MEANINGS[code]?.[1] });
  }
  return connectionFailure(error ?? new Error("the server has closed the connection"));
}
