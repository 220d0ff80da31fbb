import { FervoError, QueueError, reasonOf } from "../core/errors.ts";

/** An answer of Redis that refuses a command: its text begins with a word in capitals. */
const ANSWER = /^([A-Z][A-Z0-9]+) /;

/** What an operator can do, by the first word of Redis's answer. */
const ADVICE: Readonly<Record<string, string>> = {
  WRONGPASS: "the user name or the password is wrong",
  NOAUTH: "it requires a password: set password or password_file",
  NOPERM: "the user lacks a right; docs/brokers/sidekiq.md lists the rights that a worker needs",
  READONLY: "it is a replica, which cannot be written to; give the master's address, or its Sentinels",
  MOVED: "the keys have moved to another server of the cluster; set cluster = true",
  LOADING: "it is loading its data after a start; the worker tries again",
  MASTERDOWN: "it is a replica whose master is unavailable; the worker tries again",
  UNBLOCKED: "it has become a replica; the worker looks for the new master",
  CLUSTERDOWN: "the cluster has no master for the keys now; the worker tries again",
  NOREPLICAS: "it has fewer replicas than min-replicas-to-write asks for; the worker tries again",
  OOM: "its memory is full: raise maxmemory, or make room",
  MISCONF: "it cannot save to its disk, so it refuses writes: see the server's log",
  CROSSSLOT:
    'the keys are on several servers of the cluster: give key_prefix a part in braces, such as "{jobs}:"',
};

/** Answers that mean: this is not, or no more, the server that we want. */
const OTHER_SERVER = new Set(["READONLY", "MOVED", "MASTERDOWN", "UNBLOCKED", "CLUSTERDOWN", "LOADING"]);

/** What happens to a socket, by the system's code: its own words would say it a second time. */
const SYSTEM_REASON: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused; is the server running there?",
  ENOENT: "no such socket; is the server running, with this unixsocket?",
  EACCES: "permission denied; this user must be allowed to read and write the socket",
  ECONNRESET: "the connection was reset",
  ETIMEDOUT: "no answer",
};

/** What Redis says for NOPERM of a command within a script: 7.0, and from 7.2 on. */
const NOT_ALLOWED_IN_SCRIPT = /The user executing the script can't |ACL failure in script: /;

/** The word with which Redis refused a command; undefined for errors that are no answer of Redis. */
export function answerCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || error instanceof FervoError) return undefined;
  if (NOT_ALLOWED_IN_SCRIPT.test(error.message)) return "NOPERM";
  // Of a script's own command some versions say "ERR Error running script …: WRONGTYPE …".
  return /\b(?:WRONGTYPE|READONLY|OOM|MISCONF|NOREPLICAS|NOPERM)\b/.exec(error.message)?.[0] ??
    ANSWER.exec(error.message)?.[1];
}

/**
 * Whether Redis refused a command for the sake of a key that it names: of another type than ours, or not allowed to this
 * user. Other commands may do well.
 */
export function isForItsKey(error: unknown): boolean {
  return refusalOf(error) === "WRONGTYPE" || isNotAllowed(error);
}

/** Whether this user may not do it. */
export function isNotAllowed(error: unknown): boolean {
  return refusalOf(error) === "NOPERM";
}

/** The word with which Redis refused what a QUEUE_UNAVAILABLE tells of. */
function refusalOf(error: unknown): string | undefined {
  return error instanceof FervoError ? answerCode(error.cause) : undefined;
}

/** Whether it is best to look for the server anew before the next command. */
export function isFromWrongServer(error: unknown): boolean {
  return OTHER_SERVER.has(answerCode(error) ?? "");
}

/**
 * What went wrong with Redis at `where`, as a QUEUE_UNAVAILABLE; Redis's or the system's own words follow in brackets.
 *
 * @param key A key that is not of the type it has to be of.
 */
export function unavailableError(where: string, error: unknown, key?: string): FervoError {
  if (error instanceof FervoError) return error;
  const reason = systemReason(error) ?? reasonOf(error);
  const advice = key === undefined
    ? adviceFor(error, reason)
    : `the key "${key}" holds data that is not Sidekiq's; another program uses this database`;
  return new QueueError(
    "QUEUE_UNAVAILABLE",
    `Cannot use Redis at "${where}": ${advice === undefined ? reason : `${advice} (${reason})`}`,
    { cause: error },
  );
}

function systemReason(error: unknown): string | undefined {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === "string" ? SYSTEM_REASON[code] : undefined;
}

function adviceFor(error: unknown, reason: string): string | undefined {
  if (/failed to lookup address/.test(reason)) return "no such host";
  if (/unknown command/i.test(reason)) return "it is too old: 6.2 or newer is needed";
  if (/invalid peer certificate: (?:UnknownIssuer|CaUsedAsEndEntity|SelfSigned)/.test(reason)) {
    return "its certificate cannot be verified: set ca_file to the authority that signed it";
  }
  return ADVICE[answerCode(error) ?? ""];
}
