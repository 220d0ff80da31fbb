import assert from "node:assert/strict";
import type { SocketAddress } from "../../src/net/address.ts";
import type { SqlAccess, SqlClient, SqlDriver } from "../../src/sql/driver.ts";
import type { SqlValue } from "../../src/sql/value.ts";
import type { FailureKind } from "../../src/sql/failure.ts";
import { SqlFailure } from "../../src/sql/failure.ts";
import type { Authority, Certificate } from "./certificates.ts";

/** How {@link openSql} differs from an administrator without TLS. */
export interface SqlClientOptions extends Partial<SqlAccess> {
  readonly connectTimeoutMs?: number;
  readonly lockTimeoutMs?: number;
}

/** An open connection, destroyed with its scope. */
export interface TestClient extends AsyncDisposable {
  readonly client: SqlClient;
  /** Resolves when the connection is reported as lost. */
  readonly lost: Promise<void>;
  /** How often it was reported as lost. */
  readonly losses: number;
}

/** Connects, with a long limit: what a test waits for is not how long it takes. */
export async function openSql(
  driver: SqlDriver,
  endpoint: SocketAddress,
  options: SqlClientOptions,
): Promise<TestClient> {
  const { connectTimeoutMs = 30_000, lockTimeoutMs = 30_000, ...access } = options;
  const lost = Promise.withResolvers<void>();
  let losses = 0;
  const client = await driver.connect(
    endpoint,
    { username: undefined, password: undefined, database: "", tls: undefined, ...access },
    { name: "fervo-test", connectTimeoutMs, lockTimeoutMs },
    () => {
      losses++;
      lost.resolve();
    },
  );
  return {
    client,
    lost: lost.promise,
    get losses() {
      return losses;
    },
    [Symbol.asyncDispose]: () => Promise.resolve(client.destroy()),
  };
}

/** Asserts that it rejects with a failure of this kind, whose advice or words match. */
export async function failsWith(
  promise: Promise<unknown>,
  kind: FailureKind,
  words: RegExp,
): Promise<SqlFailure> {
  const error = await promise.then(() => undefined, (error: unknown) => error);
  assert(error instanceof SqlFailure, `no SqlFailure, but ${error}`);
  const told = `${error.advice} (${error.message})`;
  assert.equal(error.kind, kind, told);
  assert.match(told, words);
  return error;
}

/** A column of the only row. */
export async function single(
  client: SqlClient,
  text: string,
  values: readonly SqlValue[] = [],
): Promise<SqlValue> {
  const { rows } = await client.run(text, values);
  assert.equal(rows.length, 1);
  const [value] = Object.values(rows[0]!);
  return value!;
}

/** The files of an authority, and of a client's certificate, as {@link SqlAccess.tls} has them. */
export async function tlsOf(
  authority: Authority,
  certificate?: Certificate,
): Promise<NonNullable<SqlAccess["tls"]>> {
  return {
    ca: await Deno.readTextFile(authority.caFile),
    cert: certificate && await Deno.readTextFile(certificate.certFile),
    key: certificate && await Deno.readTextFile(certificate.keyFile),
  };
}

/** Bytes of all values, and many of them. */
export function largePayload(): Uint8Array {
  return Uint8Array.from({ length: 20 * 1_024 * 1_024 }, (_, i) => i * 7);
}
