/** What is judged of facts that no test makes of a real server: others are in tests/integration/brokers/rows. */
import assert from "node:assert/strict";
import { judgeClocks } from "../../../../src/brokers/rows/check/check.ts";
import { type MysqlFacts, mysqlFindings } from "../../../../src/brokers/rows/check/mysql.ts";
import type { CheckedLayout } from "../../../../src/brokers/rows/check/subject.ts";
import { type VacuumFacts, vacuumFindings } from "../../../../src/brokers/rows/check/vacuum.ts";
import type { ServerFacts } from "../../../../src/sql/driver.ts";

const LAYOUT: CheckedLayout = {
  table: { name: "jobs", quoted: "`jobs`" },
  columns: [],
  indexes: () => [{
    name: "`ready`",
    isUnique: false,
    columns: ["queue", "priority DESC"],
    where: undefined,
    statement: "",
  }],
  rights: () => [],
  maxPayloadBytes: 1_000,
};

const MARIADB: MysqlFacts = {
  server: {
    product: "MariaDB",
    version: { major: 10, minor: 11 },
    isReadOnly: false,
    hasSkipLocked: true,
    hasPooler: false,
  },
  settings: new Map([
    ["tx_isolation", "READ-COMMITTED"],
    ["sql_mode", "STRICT_ALL_TABLES"],
    ["innodb_flush_log_at_trx_commit", "1"],
    ["max_allowed_packet", "1000"],
    ["max_connections", "100"],
  ]),
  status: new Map([["Threads_connected", "79"], ["Innodb_history_list_length", "1000000"]]),
  engine: "InnoDB",
  columns: [],
  indexes: [{
    name: "other",
    isUnique: false,
    isUsed: true,
    columns: ["queue", "priority DESC"],
    where: undefined,
  }],
};

function troubles(changed: Partial<MysqlFacts> = {}): string[] {
  return mysqlFindings({ ...MARIADB, ...changed }, LAYOUT).filter(({ severity }) => severity !== "ok")
    .map(({ id, severity, what }) => `${severity} ${id}: ${what}`);
}

function serverOf(product: ServerFacts["product"], major: number, minor: number, hasSkipLocked: boolean) {
  return { server: { ...MARIADB.server, product, version: { major, minor }, hasSkipLocked } };
}

Deno.test("mysqlFindings() tells of servers without SKIP LOCKED, and without descending indexes", () => {
  const ascending = [{ ...MARIADB.indexes[0]!, columns: ["queue", "priority"] }];
  assert.deepEqual(troubles(), []);
  assert.deepEqual(troubles({ ...serverOf("MariaDB", 10, 5, false), indexes: ascending }), [
    "warning mysql.version: MariaDB 10.5 has no SKIP LOCKED",
  ]);
  assert.deepEqual(troubles({ ...serverOf("MariaDB", 10, 6, true), indexes: ascending }), [
    "warning mysql.version: MariaDB 10.6 has no descending indexes",
  ]);
  assert.deepEqual(troubles({ ...serverOf("MySQL", 5, 7, false), indexes: ascending }), [
    "warning mysql.version: MySQL 5.7 has no SKIP LOCKED",
  ]);
  assert.deepEqual(troubles(serverOf("MySQL", 8, 4, true)), []);
});

Deno.test("mysqlFindings() tells of a proxy that changes the session", () => {
  const settings = new Map([
    ...MARIADB.settings,
    ["transaction_isolation", "REPEATABLE-READ"] as const,
    ["sql_mode", ""] as const,
  ]);
  assert.deepEqual(troubles({ settings }), [
    "warning mysql.isolation: its transactions are REPEATABLE-READ, although the worker has asked for READ COMMITTED",
    'warning mysql.strictness: sql_mode is "", although the worker has asked for STRICT_ALL_TABLES',
  ]);
});

Deno.test("mysqlFindings() tells of a purge that does not keep up, and of few connections", () => {
  const status = new Map([["Threads_connected", "80"], ["Innodb_history_list_length", "1000001"]]);
  assert.deepEqual(troubles({ status }), [
    "warning mysql.history: the history list of InnoDB has 1000001 transactions that are not purged",
    "warning mysql.connections: 80 of 100 connections are in use",
  ]);
  // Without the right to know it.
  assert.deepEqual(troubles({ status: new Map([["Threads_connected", "1"]]) }), []);
});

Deno.test("vacuumFindings() tells of each holder beyond an hour or a million transactions", () => {
  const facts: VacuumFacts = {
    off: undefined,
    liveRows: 200_000,
    deadRows: 200_000,
    holders: [
      { what: "a", fix: "", seconds: 3_600, transactions: 1_000_000 },
      { what: "b", fix: "", seconds: 3_601, transactions: 0 },
      { what: "c", fix: "", seconds: undefined, transactions: 1_000_001 },
    ],
  };
  const found = vacuumFindings(facts, LAYOUT.table).filter(({ severity }) => severity !== "ok");
  assert.deepEqual(found.map(({ id, what }) => `${id}: ${what}`), [
    "postgres.xmin_horizon: b is 3601 seconds old",
    "postgres.xmin_horizon: c is 1000001 transactions old",
  ]);
});

Deno.test("judgeClocks() takes no slow answer for a difference", () => {
  const severity = (serverMs: number) => judgeClocks({ beforeMs: 0, serverMs, afterMs: 20_000 }).severity;
  assert.deepEqual([-5_000, 0, 20_000, 25_000].map(severity), ["ok", "ok", "ok", "ok"]);
  assert.deepEqual([-5_001, 25_001].map(severity), ["warning", "warning"]);
  assert.match(
    judgeClocks({ beforeMs: 60_000, serverMs: 0, afterMs: 60_001 }).what,
    /60 seconds behind ours/,
  );
});
