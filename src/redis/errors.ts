import { FervoError, QueueError, reasonOf } from "../core/errors.ts";

/** A refusal of Redis begins with a word in capitals. */
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

/** Answers from a server that is not, or no longer, the right one. */
const OTHER_SERVER = new Set(["READONLY", "MOVED", "MASTERDOWN", "UNBLOCKED", "CLUSTERDOWN", "LOADING"]);

/** Socket errors by the system's code; the system's own words would repeat them. */
const SYSTEM_REASON: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused; is the server running there?",
  ENOENT: "no such socket; is the server running, with this unixsocket?",
  EACCES: "permission denied; this user must be allowed to read and write the socket",
  ECONNRESET: "the connection was reset",
  ETIMEDOUT: "no answer",
};

/** Redis's NOPERM text for a command within a script: 7.0, and from 7.2 on. */
const NOT_ALLOWED_IN_SCRIPT = /The user executing the script can't |ACL failure in script: /;

/** The first word of Redis's refusal; undefined for other errors. */
export function answerCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || error instanceof FervoError) return undefined;
  if (NOT_ALLOWED_IN_SCRIPT.test(error.message)) return "NOPERM";
  // For a script's command some versions answer "ERR Error running script …: WRONGTYPE …".
  return /\b(?:WRONGTYPE|READONLY|OOM|MISCONF|NOREPLICAS|NOPERM)\b/.exec(error.message)?.[0] ??
    ANSWER.exec(error.message)?.[1];
}

/**
 * Whether Redis refused a command because of its key: of another type than ours, or not allowed to this user. Commands on other
 * keys may succeed.
 */
export function isForItsKey(error: unknown): boolean {
  return refusalOf(error) === "WRONGTYPE" || isNotAllowed(error);
}

/** Whether this user lacks the right. */
export function isNotAllowed(error: unknown): boolean {
  return refusalOf(error) === "NOPERM";
}

/** The first word of the refusal behind a QUEUE_UNAVAILABLE. */
function refusalOf(error: unknown): string | undefined {
  return error instanceof FervoError ? answerCode(error.cause) : undefined;
}

/** Whether to find the server again before the next command. */
export function isFromWrongServer(error: unknown): boolean {
  return OTHER_SERVER.has(answerCode(error) ?? "");
}

/**
 * A failure of Redis at `where` as QUEUE_UNAVAILABLE; Redis's or the system's own words follow in brackets.
 *
 * @param key A key with a wrong type.
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
