/**
 * The stable error codes. They appear in logs, in metric labels, in dead letters and in docs/operations.md;
 * a code is never renamed or reused.
 */
export const ERROR_CODES = [
  "CONFIG_INVALID",
  "QUEUE_UNAVAILABLE",
  "LEASE_LOST",
  "JOB_MALFORMED",
  "JOB_FAILED",
  "JOB_POSTPONED",
  "JOB_NO_OUTCOME",
  "JOB_CRASHED",
  "JOB_ABANDONED",
  "JOB_TIMEOUT",
  "FASTCGI_CONNECT_FAILED",
  "FASTCGI_OVERLOADED",
  "FASTCGI_FIRST_BYTE_TIMEOUT",
  "FASTCGI_CONNECTION_LOST",
  "FASTCGI_PROTOCOL",
  "FASTCGI_PARAM_TOO_LARGE",
  "FPM_MISCONFIGURED",
  "APPLICATION_NOT_STARTED",
  "FPM_KILL_FAILED",
  "PROCESS_FAILED",
  "PROCESS_MISCONFIGURED",
  "LISTEN_FAILED",
  "WORKER_UNAVAILABLE",
  "CONTROL_REFUSED",
  "WORKER_FAULT",
  "SHUTDOWN",
] as const;

/** One of {@link ERROR_CODES}. */
export type ErrorCode = typeof ERROR_CODES[number];

/** What an error may carry beside its text. Every field is safe to log and to store with a dead letter. */
export interface ErrorDetails {
  /** What the job wrote to STDERR, cut to the configured limit. */
  readonly stderr?: string;
  /** Of the process that ran the job, where that is known. */
  readonly pid?: number;
  /** Where in our code a WORKER_FAULT came from. */
  readonly stack?: string;
  /** Other facts, by name. */
  readonly [fact: string]: string | number | boolean | undefined;
}

/**
 * Every failure that fervo-worker foresees.
 *
 * The text is a sentence without a full stop: what happened, the value it happened to in quotes, then the state,
 * e.g. `Cannot connect to php-fpm at "/run/php/fervo.sock": connection refused`.
 */
export class FervoError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, options: { details?: ErrorDetails; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** An error of a job's run, with what the job had written to STDERR by then where it does not tell that already. */
export function withStderr(error: unknown, stderr: string): unknown {
  if (stderr === "" || !(error instanceof FervoError) || error.details.stderr !== undefined) return error;
  return new FervoError(error.code, error.message, { details: { ...error.details, stderr }, cause: error });
}

/** The broker cannot be used, or a delivery is no longer ours. Codes QUEUE_UNAVAILABLE, LEASE_LOST. */
export class QueueError extends FervoError {}

/** A job failed by itself. Codes JOB_*. */
export class JobError extends FervoError {}

/** Characters of a stack that are kept. */
const MAX_STACK_LENGTH = 2_000;

/**
 * Anything that was thrown, as a FervoError. What is none was not foreseen: that is a fault of ours, and is told as one
 * (WORKER_FAULT), never as a failure of the job, the broker or php-fpm that it met.
 */
export function asFervoError(error: unknown): FervoError {
  if (error instanceof FervoError) return error;
  const [name, stack] = error instanceof Error ? [`${error.name}: `, error.stack] : [""];
  return new FervoError(
    "WORKER_FAULT",
    `This is a fault in fervo-worker itself; please report it: ${name}${reasonOf(error)}`,
    { cause: error, details: stack === undefined ? {} : { stack: stack.slice(0, MAX_STACK_LENGTH) } },
  );
}

/**
 * What the runtime keeps from every program that is made with it; it gives advice to whoever compiles the program, which is of
 * no use to those who run it.
 */
const NO_ORDINARY_FILE =
  "it is no ordinary file, but a device, a pipe, or a file of the system or of a process, which cannot be used here";

/** What the system says, before its number and what the runtime was doing. */
const SYSTEM_TEXT = /^(.+?) \(os error \d+\)/;

/** The text of anything that was thrown, in words for an operator, for a sentence such as `Cannot do this: ${reasonOf(error)}`. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === "NotCapable") return NO_ORDINARY_FILE;
  const system = SYSTEM_TEXT.exec(error.message)?.[1];
  return system === undefined ? error.message : `${system[0]!.toLowerCase()}${system.slice(1)}`;
}
