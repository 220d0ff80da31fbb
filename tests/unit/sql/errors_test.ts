import assert from "node:assert/strict";
import type { SqlFailure } from "../../../src/sql/failure.ts";
import { lossFailure, postgresFailure } from "../../../src/sql/postgres/errors.ts";
import { mysqlFailure } from "../../../src/sql/mysql/errors.ts";
import { connectionFailure } from "../../../src/sql/system_errors.ts";

const postgres = (code: string, message = "words") =>
  postgresFailure(Object.assign(new Error(message), { code, severity_local: "ERROR" }));
const mysql = (errno: number, message = "words") =>
  mysqlFailure(Object.assign(new Error(message), { errno, code: "ER_X", sqlState: "HY000" }));
const system = (code: string, message = "words") =>
  connectionFailure(Object.assign(new Error(message), { code }));

function check(
  failure: SqlFailure,
  kind: SqlFailure["kind"],
  advice: RegExp | undefined,
  what: string,
): void {
  assert.equal(failure.kind, kind, what);
  if (advice === undefined) assert.equal(failure.advice, undefined, what);
  else assert.match(failure.advice ?? "", advice, what);
}

Deno.test("postgresFailure() knows the server's codes", { permissions: "none" }, () => {
  const cases: [code: string, kind: SqlFailure["kind"], advice: RegExp | undefined, words?: string][] = [
    ["08006", "lost", undefined],
    ["0A000", "again", undefined, "cached plan must not change result type"],
    ["0A000", "other", undefined],
    ["22003", "refused", /does not fit/],
    ["22021", "refused", /NUL byte/],
    ["22P02", "refused", /does not fit/],
    ["23502", "refused", /requires a value/],
    ["23505", "duplicate", undefined],
    ["23514", "refused", /constraint/],
    ["25006", "read_only", /primary/],
    ["28000", "denied", /pg_hba\.conf/],
    ["28000", "denied", /has no line/, 'no pg_hba.conf entry for host "x"'],
    ["28000", "denied", /^the user may not log in/, 'role "x" is not permitted to log in'],
    ["28000", "denied", /^there is no such user$/, 'role "x" does not exist'],
    ["28000", "denied", /set username/, "no PostgreSQL user name specified in startup packet"],
    ["28000", "denied", /cert_file/, "connection requires a valid client certificate"],
    ["28P01", "denied", /password is wrong/],
    ["3D000", "denied", /no such database/],
    ["40001", "again", /conflicted/],
    ["40P01", "again", /locks/],
    ["42501", "denied", /right/],
    ["42703", "schema", /column is missing/],
    ["42804", "schema", /another type/],
    ["42P01", "schema", /table is missing.*GRANT USAGE ON SCHEMA/],
    ["53100", "other", /disk .* full/],
    ["53200", "other", /memory/],
    ["53300", "lost", /max_connections/],
    ["54000", "refused", /too large/],
    ["55P03", "again", /pg_locks/],
    ["57014", "other", /statement_timeout/],
    ["57P01", "lost", /administrator/],
    ["57P02", "lost", /crash/],
    ["57P03", "lost", /starting/],
    ["58030", "other", /disk .* full/, 'could not extend file "x": No space left on device'],
    ["XX000", "other", undefined],
    ["99999", "other", undefined],
  ];
  for (const [code, kind, advice, words] of cases) {
    const failure = postgres(code, words);
    check(failure, kind, advice, code);
    assert.equal(failure.code, code);
    assert.equal(failure.message, words ?? "words");
  }
});

Deno.test("lossFailure() has the last words of the server, and only those", { permissions: "none" }, () => {
  const message = (text: string) => new TextEncoder().encode(text);
  const told = lossFailure(
    message("D1234E\0\0\0xSFATAL\0VFATAL\0C57P01\0Mterminating connection\0Fx.c\0\0"),
    undefined,
  );
  check(told, "lost", /administrator/, "told");
  assert.deepEqual([told.code, told.message], ["57P01", "terminating connection"]);
  for (const last of [undefined, message(""), message("SERROR\0VERROR\0C23505\0Mduplicate\0")]) {
    const untold = lossFailure(last, undefined);
    check(untold, "lost", undefined, "untold");
    assert.equal(untold.message, "the server has closed the connection");
  }
  const reset = lossFailure(undefined, Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" }));
  assert.equal(reset.message, "the connection was reset");
});

Deno.test("mysqlFailure() knows the server's numbers", { permissions: "none" }, () => {
  const cases: [errno: number, kind: SqlFailure["kind"], advice: RegExp | undefined, words?: string][] = [
    [1021, "other", /disk .* full/],
    [1026, "other", /disk .* full/, "Error writing file 'x' (Errcode: 28 \"No space left on device\")"],
    [1037, "other", /memory/],
    [1040, "lost", /max_connections/],
    [1044, "denied", /database/],
    [1045, "denied", /password is wrong/],
    [1048, "refused", /requires a value/],
    [1044, "denied", /or there is no such database/],
    [1049, "denied", /no such database/],
    [1054, "schema", /column is missing/],
    [1062, "duplicate", undefined],
    [1114, "other", /disk .* full/],
    [1142, "denied", /right/],
    [1143, "denied", /right/],
    [1146, "schema", /table is missing/],
    [1153, "refused", /max_allowed_packet/],
    [1203, "lost", /limit of its account/],
    [1205, "again", /INNODB STATUS/],
    [1213, "again", /locks/],
    [1226, "lost", /limit of its account/],
    [1227, "denied", /right/],
    [1290, "read_only", /primary/, "running with the --read-only option"],
    [1290, "other", undefined, "running with the --secure-file-priv option"],
    [1301, "refused", /max_allowed_packet/],
    [1366, "refused", /utf8mb4/],
    [1406, "refused", /longer/],
    [1836, "read_only", /primary/],
    [1927, "lost", /administrator/],
    [1969, "other", /longer than the server allows/],
    [3024, "other", /longer than the server allows/],
    [3159, "denied", /tls = true/],
    [3819, "refused", /constraint/],
    [4025, "refused", /constraint/],
    [9999, "other", undefined],
  ];
  for (const [errno, kind, advice, words] of cases) {
    const failure = mysql(errno, words);
    check(failure, kind, advice, String(errno));
    assert.equal(failure.code, "ER_X");
    assert.equal(failure.message, words ?? "words");
  }
  const library = (code: string) => mysqlFailure(Object.assign(new Error("words"), { code }));
  check(library("HANDSHAKE_NO_SSL_SUPPORT"), "denied", /tls = true/, "no TLS");
  check(library("AUTH_SWITCH_PLUGIN_ERROR"), "denied", /mysql_native_password/, "plugin");
  check(library("PROTOCOL_CONNECTION_LOST"), "lost", undefined, "lost");
});

Deno.test("connectionFailure() says what the system's codes mean", { permissions: "none" }, () => {
  const cases: [code: string, message: RegExp][] = [
    ["ECONNREFUSED", /connection refused; is the server running/],
    ["ENOENT", /no such socket/],
    ["EACCES", /permission denied/],
    ["ENOTFOUND", /no such host/],
    ["ECONNRESET", /reset/],
  ];
  for (const [code, message] of cases) {
    const failure = system(code);
    check(failure, "lost", undefined, code);
    assert.match(failure.message, message);
    assert.equal(failure.code, code);
  }
});

Deno.test("connectionFailure() says what to do about a certificate, of both runtimes", {
  permissions: "none",
}, () => {
  const cases: [code: string, words: string, advice: RegExp | undefined][] = [
    ["SELF_SIGNED_CERT_IN_CHAIN", "self-signed certificate in certificate chain", /set ca_file/],
    ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "unable to verify the first certificate", /set ca_file/],
    ["", "invalid peer certificate: UnknownIssuer", /set ca_file/],
    // Of another authority of the same name, such as one that was made anew.
    ["CERT_SIGNATURE_FAILURE", "certificate signature failure", /set ca_file/],
    ["", "invalid peer certificate: BadSignature", /set ca_file/],
    ["ERR_TLS_CERT_ALTNAME_INVALID", "does not match", /another host/],
    ["", 'invalid peer certificate: certificate not valid for name "a"', /another host/],
    ["CERT_HAS_EXPIRED", "certificate has expired", /expired/],
    ["", "invalid peer certificate: certificate expired: verification time 1", /expired/],
    ["", "received fatal alert: CertificateRequired", /cert_file/],
    ["ERR_SSL_UNSUPPORTED_PROTOCOL", "unsupported protocol", /no TLS connection/],
    ["", "no answer in 5000 ms", undefined],
  ];
  for (const [code, words, advice] of cases) check(system(code, words), "lost", advice, words);
});
