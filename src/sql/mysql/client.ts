import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { setImmediate } from "node:timers";
import { MYSQL_DIALECT } from "../dialect.ts";
import type { ConnectOptions, ServerFacts, SqlClient, SqlResult, SqlRow } from "../driver.ts";
import type { SqlValue } from "../value.ts";
import { SqlFailure } from "../failure.ts";
import { numberPlaceholders } from "../placeholders.ts";
import { lossFailure, mysqlFailure } from "./errors.ts";
import type { Connection, FieldPacket, TypedParameter } from "./library.ts";
import { areShort, withLiterals } from "./literals.ts";

/** A worker that hangs in a transaction must not hold its locks for ever, seconds. Only MariaDB has such a limit. */
const IDLE_TRANSACTION_S = 60;

/** A value that does not fit is refused, never cut; `"` and `\` keep their usual meaning. */
const SQL_MODE = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION";

/** The type of a column, MYSQL_TYPE_LONGLONG. */
const BIGINT = 8;

/** What a packet has beside the values, with room to spare, bytes. */
const PACKET_HEAD_BYTES = 65_536;

interface Statement {
  readonly text: string;
  readonly values: readonly SqlValue[];
  readonly resolve: (result: SqlResult) => void;
  readonly reject: (failure: SqlFailure) => void;
}

/**
 * One connection.
 *
 * 1. Sends a statement when the one before it is answered, because the protocol has no pipelining. Statements that wait together
 *    and have only numbers and short texts as values travel as one text ({@link withLiterals}).
 * 2. Sends all other values as parameters of prepared statements. A statement without values is not prepared.
 * 3. After a failed statement of a transaction the later ones fail as well, up to ROLLBACK.
 * 4. Is lost as soon as the connection closes; pending statements reject.
 */
export class MysqlClient implements SqlClient {
  readonly dialect = MYSQL_DIALECT;
  readonly #connection: Connection;
  readonly #socket: Socket;
  readonly #onLost: () => void;
  readonly #integer: typeof TypedParameter.LONGLONG;
  #facts: ServerFacts | undefined;
  #maxPacketBytes = Infinity;
  /** Statements that were not sent. */
  #waiting: Statement[] = [];
  /** Statements were sent, and are not answered. */
  #isBusy = false;
  #isInTransaction = false;
  /** Why the statements of the transaction fail now. */
  #failed: SqlFailure | undefined;
  #loss: SqlFailure | undefined;

  /** @param deps.connection It is logged in. */
  constructor(
    deps: {
      connection: Connection;
      socket: Socket;
      onLost: () => void;
      integer: typeof TypedParameter.LONGLONG;
    },
  ) {
    this.#connection = deps.connection;
    this.#socket = deps.socket;
    this.#onLost = deps.onLost;
    this.#integer = deps.integer;
    this.#socket.once("close", () => this.#lose());
  }

  get facts(): ServerFacts {
    return this.#facts!;
  }

  get isLost(): boolean {
    return this.#loss !== undefined;
  }

  /**
   * Learns the facts and prepares the session, in three round trips.
   *
   * @param greeting The version in the server's greeting.
   * @throws {SqlFailure}
   */
  async open(greeting: string, { lockTimeoutMs }: ConnectOptions): Promise<void> {
    const isMariaDb = /mariadb/i.test(greeting);
    const version = versionOf(greeting);
    const lockTimeoutS = Math.max(1, Math.ceil(lockTimeoutMs / 1_000));
    const settings = [
      "NAMES utf8mb4",
      `sql_mode = '${SQL_MODE}'`,
      "time_zone = '+00:00'",
      "autocommit = 1",
      `innodb_lock_wait_timeout = ${lockTimeoutS}`,
      // For locks of tables, such as that of an ALTER TABLE.
      `lock_wait_timeout = ${lockTimeoutS}`,
      ...(isMariaDb ? [`idle_transaction_timeout = ${IDLE_TRANSACTION_S}`] : []),
    ];
    const [found] = await Promise.all([
      this.run("SELECT @@global.read_only AS read_only, @@max_allowed_packet AS max_packet"),
      this.run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"),
      this.run(`SET ${settings.join(", ")}`),
    ]);
    const { read_only, max_packet } = found.rows[0]!;
    this.#maxPacketBytes = Number(max_packet);
    this.#facts = {
      product: isMariaDb ? "MariaDB" : "MySQL",
      version,
      // A number, or a word since MariaDB 12.
      isReadOnly: read_only !== 0 && read_only !== "OFF",
      hasSkipLocked: isMariaDb
        ? isAtLeast(version, 10, 6)
        : isAtLeast(version, 8, 0) && !/^8\.0\.0\b/.test(greeting),
      hasPooler: false,
    };
  }

  run(text: string, values: readonly SqlValue[] = []): Promise<SqlResult> {
    return new Promise((resolve, reject) => {
      if (this.#loss !== undefined) return reject(this.#loss);
      numberPlaceholders(text, values.length);
      if (text.includes(";")) return reject(severalStatements());
      this.#waiting.push({ text, values, resolve, reject });
      // After the turn, in which others may come.
      if (this.#waiting.length === 1 && !this.#isBusy) setImmediate(() => this.#send());
    });
  }

  destroy(): void {
    if (this.#loss !== undefined) return;
    this.#loss = new SqlFailure("lost", { cause: new Error("this worker has closed the connection") });
    if (this.#isBusy || this.#waiting.length > 0) {
      this.#socket.destroy();
      this.#rejectWaiting(this.#loss);
    } else {
      // Says goodbye, or else the server logs an aborted connection.
      this.#connection.end();
      this.#socket.end(() => this.#socket.destroy());
    }
  }

  #send(): void {
    if (this.#isBusy || this.#waiting.length === 0) return;
    const sent = this.#takeTogether();
    if (sent.length === 0) return this.#send();
    this.#isBusy = true;
    const settle = (error: unknown, results: unknown, fields: unknown) => {
      this.#isBusy = false;
      if (error) this.#reject(sent, this.#loss ?? mysqlFailure(error));
      else this.#resolve(sent, results, fields);
      this.#send();
    };
    const [first] = sent as [Statement];
    if (sent.length > 1 || first.values.length === 0) {
      const text = sent.map(({ text, values }) => withLiterals(text, values)).join(";");
      this.#connection.query(text, settle as never);
      return;
    }
    try {
      this.#connection.execute(first.text, this.#parametersOf(first.values) as never[], settle as never);
    } catch (error) {
      settle(error, undefined, undefined);
    }
  }

  /** The next statements that can travel together; rejects those that cannot succeed. */
  #takeTogether(): Statement[] {
    const sent: Statement[] = [];
    while (this.#waiting.length > 0) {
      const [next] = this.#waiting as [Statement];
      if (next.text === "BEGIN" || next.text === "ROLLBACK") this.#failed = undefined;
      if (this.#failed !== undefined) {
        this.#waiting.shift();
        next.reject(this.#failed);
        continue;
      }
      if (sent.length > 0 && !areShort(next.values)) break;
      this.#waiting.shift();
      sent.push(next);
      if (next.text === "BEGIN") this.#isInTransaction = true;
      if (!areShort(next.values)) break;
    }
    return sent;
  }

  /** @param results Of one statement; of several: a list of their results. */
  #resolve(sent: readonly Statement[], results: unknown, fields: unknown): void {
    for (const [i, { text, resolve }] of sent.entries()) {
      if (text === "COMMIT" || text === "ROLLBACK") this.#isInTransaction = false;
      const [result, columns] = sent.length === 1
        ? [results, fields]
        : [(results as unknown[])[i], (fields as unknown[])[i]];
      resolve(resultOf(result, columns as readonly FieldPacket[] | undefined));
    }
  }

  /** The server stops at the failed one, and does not say which it is. */
  #reject(sent: readonly Statement[], failure: SqlFailure): void {
    if (this.#isInTransaction) this.#failed = failure;
    for (const { reject } of sent) reject(failure);
  }

  #rejectWaiting(failure: SqlFailure): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { reject } of waiting) reject(failure);
  }

  #parametersOf(values: readonly SqlValue[]): unknown[] {
    let bytes = PACKET_HEAD_BYTES;
    const parameters = values.map((value) => {
      // A short text is not measured: a character has at most three bytes for each unit of its length.
      if (typeof value === "string") {
        bytes += value.length < 1_000 ? value.length * 3 : Buffer.byteLength(value);
      }
      if (value instanceof Uint8Array) {
        bytes += value.length;
        return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
      }
      // The library would send a float or a text, with which a server compares in another way, and without an index.
      if (isWhole(value)) return this.#integer(value);
      return typeof value === "bigint" ? String(value) : value;
    });
    if (bytes > this.#maxPacketBytes) throw tooLarge(bytes, this.#maxPacketBytes);
    return parameters;
  }

  #lose(): void {
    if (this.#loss !== undefined) return;
    this.#loss = lossFailure();
    this.#rejectWaiting(this.#loss);
    // A connection that was never open is told by the connect itself.
    if (this.#facts !== undefined) this.#onLost();
  }
}

/** Whether it is a whole number of 64 bits, with a sign. */
function isWhole(value: SqlValue): value is number | bigint {
  return typeof value === "bigint" ? BigInt.asIntN(64, value) === value : Number.isSafeInteger(value);
}

/** Of a statement with rows, or of another one. */
function resultOf(result: unknown, fields: readonly FieldPacket[] = []): SqlResult {
  if (!Array.isArray(result)) return { rows: [], changes: (result as { affectedRows: number }).affectedRows };
  const rows: Record<string, SqlValue>[] = result;
  for (const { name, columnType } of fields) {
    for (const row of rows) {
      const value = row[name];
      // A number that JavaScript does not have exactly comes as a text.
      if (columnType === BIGINT && typeof value === "string") row[name] = BigInt(value);
      else if (Buffer.isBuffer(value)) {
        row[name] = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
      }
    }
  }
  return { rows: rows as readonly SqlRow[], changes: rows.length };
}

/** `10.6.16-MariaDB`, or with a `5.5.5-` before it: so MariaDB 10 greets clients that know no 10. */
function versionOf(greeting: string): ServerFacts["version"] {
  const [, major, minor] = /^(?:5\.5\.5-(?=\d))?(\d+)\.(\d+)/.exec(greeting) ?? [];
  return { major: Number(major ?? 0), minor: Number(minor ?? 0) };
}

function isAtLeast(version: ServerFacts["version"], major: number, minor: number): boolean {
  return version.major > major || (version.major === major && version.minor >= minor);
}

/** Several statements in one text are ours alone: {@link withLiterals}. */
function severalStatements(): SqlFailure {
  return new SqlFailure("refused", { cause: new Error("a text with several statements is not run") });
}

/** The server would only close the connection. */
function tooLarge(bytes: number, maxBytes: number): SqlFailure {
  return new SqlFailure("refused", {
    cause: new Error(`the statement has some ${bytes} bytes, and max_allowed_packet is ${maxBytes}`),
    advice: "the statement is larger than the server accepts: raise its max_allowed_packet",
  });
}
