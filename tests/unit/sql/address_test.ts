import assert from "node:assert/strict";
import { parseMysqlUrl, parsePostgresUrl, type SqlUrl } from "../../../src/sql/address.ts";

const tcp = (hostname: string, port: number) => ({ transport: "tcp", hostname, port });
const unix = (path: string) => ({ transport: "unix", path });

type Case = readonly [text: string, endpoints: readonly object[], rest: Partial<SqlUrl>];

function check(parse: (text: string) => SqlUrl, cases: readonly Case[]): void {
  for (const [text, endpoints, rest] of cases) {
    const expected = { username: undefined, password: undefined, database: "app", endpoints, ...rest };
    assert.deepEqual(parse(text), expected, text);
  }
}

Deno.test(
  "parsePostgresUrl() reads hosts, sockets, the database and the login",
  { permissions: "none" },
  () => {
    check(parsePostgresUrl, [
      ["postgres://db/app", [tcp("db", 5_432)], {}],
      ["postgresql://db:6432/app", [tcp("db", 6_432)], {}],
      ["postgres://a,b:1,[2001:db8::1],[::1]:2/app", [
        tcp("a", 5_432),
        tcp("b", 1),
        tcp("2001:db8::1", 5_432),
        tcp("::1", 2),
      ], {}],
      ["postgres://u@db/app", [tcp("db", 5_432)], { username: "u" }],
      ["postgres://u%40x:p%2Fw%3A%25@db/a%20b%2Fc", [tcp("db", 5_432)], {
        username: "u@x",
        password: "p/w:%",
        database: "a b/c",
      }],
      ["postgres://u:p:a@b@db/app", [tcp("db", 5_432)], { username: "u", password: "p:a@b" }],
      ["postgres://u:@db/app", [tcp("db", 5_432)], { username: "u" }],
      ["postgres:///app?host=/run/postgresql", [unix("/run/postgresql/.s.PGSQL.5432")], {}],
      ["postgres://u:p@/app?host=%2Frun%2Fa+b/", [unix("/run/a+b/.s.PGSQL.5432")], {
        username: "u",
        password: "p",
      }],
      ["postgres:///app?host=/run/.s.PGSQL.6000", [unix("/run/.s.PGSQL.6000")], {}],
    ]);
  },
);

Deno.test("parseMysqlUrl() reads hosts, sockets, the database and the login", { permissions: "none" }, () => {
  check(parseMysqlUrl, [
    ["mysql://db/app", [tcp("db", 3_306)], {}],
    ["mariadb://u:p@db:1,other/app", [tcp("db", 1), tcp("other", 3_306)], { username: "u", password: "p" }],
    ["mysql:///app?socket=/run/mysqld/mysqld.sock", [unix("/run/mysqld/mysqld.sock")], {}],
  ]);
});

Deno.test("an address that cannot be read is refused with what to do, and is not shown", {
  permissions: "none",
}, () => {
  const cases: [text: string, expected: RegExp][] = [
    ["", /must begin with postgres:\/\/ or postgresql:\/\//],
    ["mysql://u:secret@db/app", /must begin with/],
    ["postgres:/u:secret@db/app", /must begin with/],
    ["postgres://u:secret@db", /no database/],
    ["postgres://u:secret@db/", /no database/],
    ["postgres://u:secret@db/app/x", /not a name/],
    ["postgres://u:secret@db/a%00", /not a name/],
    ["postgres://u:secret@/app", /neither a host nor a host parameter/],
    ["postgres://u:secret@db,/app", /host and port/],
    ["postgres://u:secret@db:0/app", /host and port/],
    ["postgres://u:secret@db:65536/app", /host and port/],
    ["postgres://u:secret@::1/app", /host and port/],
    ["postgres://u:sec/ret@db/app", /% and two digits, \/ as %2F/],
    ["postgres://u:sec?ret@db/app", /%3F/],
    ["postgres://u:secret#x@db/app", /%23/],
    ["postgres://u:secret%@db/app", /%25/],
    ["postgres://u:secret@db/app?host=/run", /both a host and/],
    ["postgres:///app?host=run/secret", /absolute path/],
    [`postgres:///app?host=/${"x".repeat(100)}`, /at most 107 bytes, and this one has 115/],
    ["postgres://db/app?sslmode=secret", /tls = true instead of sslmode/],
    ["postgres://db/app?sslrootcert=secret", /ca_file/],
    ["postgres://db/app?secret", /only parameter can be host/],
    ["postgres://db/app?constructor=secret", /only parameter can be host/],
  ];
  for (const [text, expected] of cases) {
    assert.throws(() => parsePostgresUrl(text), (error: unknown) => {
      assert(error instanceof TypeError, text);
      assert.match(error.message, expected, text);
      assert.doesNotMatch(error.message, /secret|sec\b/, text);
      return true;
    });
  }
  assert.throws(() => parseMysqlUrl("postgres://db/app"), /must begin with mysql:\/\/ or mariadb:\/\//);
  assert.throws(() => parseMysqlUrl("mysql:///app?host=/run"), /only parameter can be socket/);
});
