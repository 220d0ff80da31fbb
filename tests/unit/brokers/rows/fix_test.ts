import assert from "node:assert/strict";
import { fervoFix } from "../../../../src/brokers/rows/config/fervo.ts";
import { UPGRADE } from "../../../../src/brokers/rows/fervo/schema/migrate.ts";
import { FervoError } from "../../../../src/core/errors.ts";
import { type FailureKind, SqlFailure, unavailableError } from "../../../../src/sql/failure.ts";
import { OptionFileError } from "../../../../src/system/option_file.ts";

const PLACE = "in [brokers.default]:";
const KIND = { start: "systemctl start database", page: "database" };

Deno.test("The fix of a database that cannot be used fits why it cannot", () => {
  const cases: readonly (readonly [
    kind: FailureKind,
    code: string | undefined,
    advice: string | undefined,
    fix: RegExp,
  ])[] = [
    [
      "lost",
      "ECONNREFUSED",
      undefined,
      /^start it, .*systemctl start database; or in \[brokers.default\]: url = /,
    ],
    ["denied", "28P01", undefined, /username, and password or password_file/],
    ["denied", "3D000", undefined, /^in \[brokers.default\]: url = .*name of a database$/],
    ["denied", "ER_BAD_DB_ERROR", undefined, /name of a database$/],
    [
      "denied",
      "42501",
      undefined,
      /rights in docs\/brokers\/database.md; with create_tables = true these are more$/,
    ],
    ["denied", "ER_TABLEACCESS_DENIED_ERROR", undefined, /^as an administrator: give the user the rights/],
    ["lost", "53300", undefined, /raise the limit of connections/],
    ["lost", "ER_CON_COUNT_ERROR", undefined, /raise the limit of connections/],
    ["schema", undefined, UPGRADE, /^upgrade fervo-worker on this machine$/],
    ["schema", "42P01", undefined, /run the output of `fervo-worker schema`$/],
    ["read_only", "25006", undefined, /url = the primary/],
  ];
  for (const [kind, code, advice, fix] of cases) {
    const error = unavailableError(
      "it",
      new SqlFailure(kind, { cause: new Error("its words"), code, advice }),
    );
    assert.match(fervoFix(error, PLACE, KIND), fix, `${kind} ${code}`);
  }
});

Deno.test("The fix of a file that cannot be read is to make it readable", () => {
  const error: FervoError = new OptionFileError(
    "password_file",
    "/etc/password",
    new Deno.errors.PermissionDenied(),
  );
  assert.equal(
    fervoFix(error, PLACE, KIND),
    "as root: make /etc/password readable for the worker's user, and for nobody else",
  );
});
