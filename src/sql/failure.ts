import { FervoError, QueueError, reasonOf } from "../core/errors.ts";

/**
 * Why a statement or a connect failed:
 *
 * - `lost`: the connection, or it could not be made; whether the statement was carried out is unknown.
 * - `again`: a deadlock, a serialization failure or a lock timeout: the transaction was rolled back, and may succeed at once.
 * - `read_only`: the server refuses writes: it is a replica, or was set so; another server may be the right one.
 * - `refused`: by a value or a rule of the table, such as a constraint; other rows are not concerned.
 * - `duplicate`: a unique key exists.
 * - `schema`: a table or a column is missing or of another type.
 * - `denied`: the login, or a right.
 * - `other`: of the server as a whole, such as a full disk.
 */
export type FailureKind =
  | "lost"
  | "again"
  | "read_only"
  | "refused"
  | "duplicate"
  | "schema"
  | "denied"
  | "other";

/** A failure of a server or of its connection, with the driver's error as its cause. */
export class SqlFailure extends Error {
  readonly kind: FailureKind;
  /** What happened and what to do, as a clause without a full stop; undefined when the server's own words must do. */
  readonly advice: string | undefined;
  /** The server's own code, such as `40P01` or `ER_LOCK_DEADLOCK`. */
  readonly code: string | undefined;

  constructor(
    kind: FailureKind,
    { cause, code, advice }: { cause: unknown; code?: string | undefined; advice?: string | undefined },
  ) {
    super(reasonOf(cause), { cause });
    this.name = "SqlFailure";
    this.kind = kind;
    this.code = code;
    this.advice = advice;
  }
}

/**
 * A step of a transaction that looks for a unique key before it enters one. A duplicate means that somebody has entered the key
 * in between. So the transaction is to be made `again`, and its next look finds the key.
 *
 * @throws {SqlFailure}
 */
export async function againAfterDuplicate<T>(step: Promise<T>): Promise<T> {
  try {
    return await step;
  } catch (error) {
    if (!(error instanceof SqlFailure) || error.kind !== "duplicate") throw error;
    throw new SqlFailure("again", { cause: error.cause, code: error.code, advice: error.advice });
  }
}

/**
 * A failure as QUEUE_UNAVAILABLE; the server's own words follow in brackets.
 *
 * @param where The server and its address.
 * @param schemaAdvice The advice about a failure of the kind `schema`, instead of its own.
 */
export function unavailableError(where: string, error: unknown, schemaAdvice?: string): FervoError {
  if (error instanceof FervoError) return error;
  const reason = reasonOf(error);
  const failure = error instanceof SqlFailure ? error : undefined;
  const advice = (failure?.kind === "schema" ? schemaAdvice : undefined) ?? failure?.advice;
  return new QueueError(
    "QUEUE_UNAVAILABLE",
    `Cannot use ${where}: ${advice === undefined ? reason : `${advice} (${reason})`}`,
    { cause: error },
  );
}
