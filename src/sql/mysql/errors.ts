import { reasonOf } from "../../core/errors.ts";
import { type FailureKind, SqlFailure } from "../failure.ts";
import { codeOf, connectionFailure } from "../system_errors.ts";

type Meaning = readonly [kind: FailureKind, advice?: string];

const LOGIN: Meaning = [
  "denied",
  "the user name or the password is wrong, or the user may connect only from other hosts, by TLS or with a certificate",
];
const PLUGIN: Meaning = [
  "denied",
  "this worker cannot log in by the user's plugin: use mysql_native_password or caching_sha2_password",
];
const RIGHT: Meaning = ["denied", "the user lacks a right"];
const CONNECTIONS: Meaning = [
  "lost",
  "it has too many connections: raise max_connections, or run fewer workers",
];
const USER_LIMIT: Meaning = [
  "lost",
  "the user has reached a limit of its account, such as max_user_connections",
];
const MEMORY: Meaning = ["other", "the server has no memory left; see its log"];
const DISK: Meaning = ["other", "the disk of the server is full: make room; see the server's log"];
const REPLICA: Meaning = [
  "read_only",
  "it is read-only: name the primary, or all servers of a failover, in the url",
];
const TIMEOUT: Meaning = ["other", "the statement took longer than the server allows"];
const MISFIT: Meaning = ["refused", "a value does not fit its column"];
const CONSTRAINT: Meaning = ["refused", "a constraint of the table refuses the row"];
const REQUIRED: Meaning = [
  "refused",
  "the table requires a value for a column that this worker does not write",
];
const PACKET: Meaning = [
  "refused",
  "the statement is larger than the server accepts: raise its max_allowed_packet",
];

/** By the numbers of MariaDB's and MySQL's references of errors, which agree up to 1,799. */
const MEANINGS: Readonly<Record<number, Meaning>> = {
  1020: ["again"],
  1021: DISK,
  1022: ["duplicate"],
  1037: MEMORY,
  1038: MEMORY,
  1040: CONNECTIONS,
  1041: MEMORY,
  1044: [
    "denied",
    "the user may not use this database, or lacks a right to it, or there is no such database",
  ],
  1045: LOGIN,
  1047: ["lost", "the node of the cluster is not ready; the worker tries again"],
  1048: REQUIRED,
  1049: ["denied", "there is no such database"],
  1053: ["lost", "the server stops"],
  1054: ["schema", "a column is missing: compare the table with the documented schema"],
  1062: ["duplicate"],
  1072: ["schema"],
  1114: DISK,
  1129: ["lost", "the server has blocked this host after many failed connects: run FLUSH HOSTS there"],
  1130: ["denied", "the server does not accept connections from this host"],
  1142: RIGHT,
  1143: RIGHT,
  1146: ["schema", "a table is missing: create it"],
  1153: PACKET,
  1176: ["schema", "an index is missing: compare the table with the documented schema"],
  1203: USER_LIMIT,
  1205: ["again", "another transaction holds a lock for too long: look for it by SHOW ENGINE INNODB STATUS"],
  1213: ["again", "transactions waited for each other's locks"],
  1216: CONSTRAINT,
  1217: CONSTRAINT,
  1226: USER_LIMIT,
  1227: RIGHT,
  1251: PLUGIN,
  1264: MISFIT,
  1265: MISFIT,
  1292: MISFIT,
  1301: PACKET,
  1305: ["schema"],
  1317: ["other", "an administrator has ended the statement"],
  1364: REQUIRED,
  1366: [
    "refused",
    "a value does not fit its column; all of Unicode needs utf8mb4, and binary payloads need a BLOB",
  ],
  1370: RIGHT,
  1406: ["refused", "a value is longer than its column"],
  1451: CONSTRAINT,
  1452: CONSTRAINT,
  1461: ["other", "it has too many prepared statements: raise max_prepared_stmt_count, or run fewer workers"],
  1524: PLUGIN,
  1586: ["duplicate"],
  1615: ["again"],
  1665: [
    "other",
    "the binary log has the format STATEMENT, which records no transactions of this worker: set binlog_format = ROW or MIXED",
  ],
  1698: LOGIN,
  1792: REPLICA,
  1820: ["denied", "the user's password has expired"],
  1836: REPLICA,
  1862: ["denied", "the user's password has expired"],
  1927: ["lost", "an administrator has ended the connection"],
  1969: TIMEOUT,
  3024: TIMEOUT,
  3159: ["denied", "the server accepts only encrypted connections: set tls = true"],
  3572: ["again"],
  3819: CONSTRAINT,
  4025: CONSTRAINT,
  4031: ["lost", "the server has ended a connection that was idle; see wait_timeout"],
};

/** Errors of the library itself while it connects. */
const BY_CODE: Readonly<Record<string, Meaning>> = {
  AUTH_SWITCH_PLUGIN_ERROR: PLUGIN,
  HANDSHAKE_NO_SSL_SUPPORT: ["denied", "it does not accept TLS: set it up there, or remove tls = true"],
  MYSQL_CLEAR_PASSWORD_NOT_ENABLED: PLUGIN,
};

/** An error of the server, of the library or of the system, as a failure. */
export function mysqlFailure(error: unknown): SqlFailure {
  if (error instanceof SqlFailure) return error;
  const code = codeOf(error);
  // It stands for the error of TLS.
  if (code === "HANDSHAKE_SSL_ERROR") return connectionFailure((error as Error).cause ?? error);
  const meaning = meaningOf(error) ?? BY_CODE[code ?? ""];
  if (meaning !== undefined) return new SqlFailure(meaning[0], { cause: error, code, advice: meaning[1] });
  if (code === "PROTOCOL_CONNECTION_LOST") return lossFailure();
  return connectionFailure(error);
}

/** The connection ended, and the server has not said why. */
export function lossFailure(): SqlFailure {
  return new SqlFailure("lost", { cause: new Error("the server has closed the connection") });
}

/** Undefined for what is not of the server. */
function meaningOf(error: unknown): Meaning | undefined {
  const { errno, sqlState } = (error ?? {}) as { errno?: unknown; sqlState?: unknown };
  if (typeof errno !== "number" || typeof sqlState !== "string") return undefined;
  const message = reasonOf(error);
  if (/No space left|errno: 28\b/i.test(message)) return DISK;
  // For other options of the server, too.
  if (errno === 1290) return /read.only/i.test(message) ? REPLICA : ["other"];
  return MEANINGS[errno] ?? ["other"];
}
