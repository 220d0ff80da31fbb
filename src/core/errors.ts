/** What an operator needs to know of an error code. Plain sentences, in Markdown: docs/reference/errors.md is made of them. */
export interface ErrorCodeText {
  readonly cause: string;
  readonly remedy: string;
}

/**
 * The stable error codes. They appear in logs, in metric labels, in dead letters and in docs/reference/errors.md, in this order;
 * a code is never renamed or reused.
 */
const CODES = {
  CONFIG_INVALID: {
    cause: "The configuration has mistakes.",
    remedy:
      "The text names each mistake with its line. Correct the file; `fervo-worker check` reads it again.",
  },
  QUEUE_UNAVAILABLE: {
    cause: "The broker cannot be used: it is locked, full, read-only, corrupt, or it cannot be reached.",
    remedy: "The text says which. The worker tries again by itself.",
  },
  LEASE_LOST: {
    cause:
      "Another worker has taken the job, because this worker did not renew its lease in time. The job may have run twice.",
    remedy: "Look for a machine that stood still, or had no network, for longer than `lease_ms`.",
  },
  JOB_MALFORMED: {
    cause: "A message cannot be read, or it is longer than `max_payload_bytes`.",
    remedy: "`fervo-worker dead show ID` shows its bytes. Correct the producer.",
  },
  JOB_FAILED: {
    cause:
      'The job said that it failed. With `fatal_after_ack = "fail"` also: a fatal error came after its success.',
    remedy: "The job's own message and its STDERR are in the log and in the dead letter.",
  },
  JOB_POSTPONED: {
    cause: "The job asked to run again later. Nothing failed, and no attempt was counted.",
    remedy: "Nothing.",
  },
  JOB_NO_OUTCOME: {
    cause:
      "PHP ended without an outcome: a fatal error, an `exit`, or a script that never sends `X-Fervo-Outcome`.",
    remedy:
      "STDERR, in the log and in the dead letter, names the fatal error. A script of your own: docs/protocol.md.",
  },
  JOB_CRASHED: {
    cause: "The process that ran the job died, or the worker did, too often.",
    remedy:
      "php-fpm's log says why: a segmentation fault, no memory, or `request_terminate_timeout` of the pool.",
  },
  JOB_ABANDONED: {
    cause: "The workers that ran the job were lost too often: killed, or cut off from the broker.",
    remedy:
      "Look for what ends the workers. The application's framework counts this as a failure of the job.",
  },
  JOB_TIMEOUT: {
    cause: "The job took longer than `timeout_ms`.",
    remedy: "Raise `timeout_ms` of the consumer, or make the job shorter.",
  },
  FASTCGI_CONNECT_FAILED: {
    cause: "php-fpm cannot be reached, or it closes connections at once.",
    remedy:
      "Is php-fpm running? Is `address` the pool's `listen`? May the worker's user connect to the socket? With TCP: does " +
      "`listen.allowed_clients` of the pool have the worker's address? The worker tries again by itself.",
  },
  FASTCGI_OVERLOADED: {
    cause: "php-fpm's listen queue is full.",
    remedy:
      "Other clients use the pool, or `concurrency` is above its `pm.max_children`. The worker tries again by itself.",
  },
  FASTCGI_FIRST_BYTE_TIMEOUT: {
    cause: "php-fpm sent no byte of its answer within `first_byte_timeout_ms`.",
    remedy:
      "Do all children of the pool hang? Else raise the option above the time that a job takes until it first writes.",
  },
  FASTCGI_CONNECTION_LOST: {
    cause: "The connection to php-fpm ended in the middle of an answer.",
    remedy: "As for `JOB_CRASHED`: php-fpm's log says why the child ended.",
  },
  FASTCGI_PROTOCOL: {
    cause:
      "The server does not speak FastCGI, or the headers of its answer are longer than `max_header_bytes`.",
    remedy:
      "The text says which. Correct `address`, which must be php-fpm's and not a web server's; or raise the option.",
  },
  FASTCGI_PARAM_TOO_LARGE: {
    cause: "A param of the job does not fit into 64 KiB.",
    remedy: "Send the payload in the request's body: leave out `payload_param`.",
  },
  FPM_MISCONFIGURED: {
    cause:
      "php-fpm does not find or does not run the script, its pool has fewer children than its consumers run jobs, or the script " +
      "does not support batches.",
    remedy: "The text says which. The worker tries again by itself, and at once after a reload.",
  },
  APPLICATION_NOT_STARTED: {
    cause:
      "The front controller of a framework ended before it took a job: the application does not start. No attempt counts.",
    remedy:
      "Correct the application; its errors are in the log and in `/readyz`. The worker checks by itself whether it starts.",
  },
  FPM_KILL_FAILED: {
    cause: "The PHP process of a job that timed out could not be ended; it runs on.",
    remedy:
      "The text says why: the worker has no right to, or the process is on another machine or in another container.",
  },
  PROCESS_FAILED: {
    cause: "The machine cannot start a process now.",
    remedy:
      "The text says what has run out: memory, processes or open files. The worker tries again by itself.",
  },
  PROCESS_MISCONFIGURED: {
    cause: "The program of `[processes.NAME]`, or its folder, cannot be used.",
    remedy: "Correct `command` or `directory`. The worker tries again by itself, and at once after a reload.",
  },
  LISTEN_FAILED: {
    cause: "The address of `[http]`, or the control socket, cannot be used.",
    remedy: "The text says why. Jobs run all the same, and the worker tries again by itself.",
  },
  WORKER_UNAVAILABLE: {
    cause: "No worker listens at the control socket.",
    remedy: "The text names the socket. Does the worker run, with this configuration, as this user?",
  },
  CONTROL_REFUSED: {
    cause: "The worker does not do what the command asked for.",
    remedy: "The text says why.",
  },
  WORKER_FAULT: {
    cause: "A fault in fervo-worker itself. The job is put back, and no attempt is counted.",
    remedy: "Please report it, with the log line and its `stack`.",
  },
  SHUTDOWN: {
    cause: "The worker stops before the job has ended, or before it began. The job is put back.",
    remedy: "Nothing; the job runs again.",
  },
} as const satisfies Readonly<Record<string, ErrorCodeText>>;

/** A stable error code. */
export type ErrorCode = keyof typeof CODES;

/** What each code means, in the order of the documentation. */
export const ERROR_CODE_TEXTS: Readonly<Record<ErrorCode, ErrorCodeText>> = CODES;

export const ERROR_CODES = Object.keys(CODES) as readonly ErrorCode[];

/** What an error carries beside its text. Every field is safe to log and to store with a dead letter. */
export interface ErrorDetails {
  /** What the job wrote to STDERR, cut to the configured limit. */
  readonly stderr?: string;
  /** The process that ran the job, where it is known. */
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

/** An error of a job's run, with the job's STDERR unless the error has it already. */
export function withStderr(error: unknown, stderr: string): unknown {
  if (stderr === "" || !(error instanceof FervoError) || error.details.stderr !== undefined) return error;
  return new FervoError(error.code, error.message, { details: { ...error.details, stderr }, cause: error });
}

/** The broker cannot be used, or a delivery is no longer ours. Codes QUEUE_UNAVAILABLE, LEASE_LOST. */
export class QueueError extends FervoError {}

/** A job failed. Codes JOB_*. */
export class JobError extends FervoError {}

/** Characters of a stack that are kept. */
const MAX_STACK_LENGTH = 2_000;

/**
 * Anything that was thrown, as a FervoError. Any other error is an unforeseen fault of ours (WORKER_FAULT), and never a failure
 * of the job, the broker or php-fpm.
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
 * The runtime keeps some files from every program. Its own text is advice for those who compile the program, and of no use to
 * operators.
 */
const NO_ORDINARY_FILE =
  "it is not a regular file, but a device, a pipe, or a file of the system or of a process, which cannot be used here";

/** The system's words, before its number and the runtime's context. */
const SYSTEM_TEXT = /^(.+?) \(os error \d+\)/;

/** The reason of anything that was thrown, for an operator, in a sentence such as `Cannot do this: ${reasonOf(error)}`. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === "NotCapable") return NO_ORDINARY_FILE;
  const system = SYSTEM_TEXT.exec(error.message)?.[1];
  return system === undefined ? error.message : `${system[0]!.toLowerCase()}${system.slice(1)}`;
}
