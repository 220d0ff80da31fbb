import assert from "node:assert/strict";
import {
  type PhpExpectations,
  phpFindings,
  poolPhpFindings,
  readPhpSettings,
} from "../../../src/doctor/php.ts";

const GOOD = {
  display_errors: "0",
  log_errors: "1",
  memory_limit: "128M",
  max_execution_time: "0",
  "opcache.enable": "1",
  "opcache.validate_timestamps": "0",
};
const EXPECTED: PhpExpectations = {
  ackOnStatus: [],
  limit: { ms: 60_000, name: "timeout_ms" },
  fixed: new Set(),
};

type Changes = Partial<Record<keyof typeof GOOD, string | false>>;

/** What is not in order with settings that differ from good ones. */
function troubles(changes: Changes, expected: Parameters<typeof phpFindings>[1] = EXPECTED): string[] {
  return phpFindings({ ...GOOD, ...changes }, expected)
    .filter(({ severity }) => severity !== "ok")
    .map(({ id, severity }) => `${severity} ${id}`);
}

Deno.test("phpFindings() finds nothing wrong with good settings, and says so of each", () => {
  assert.deepEqual(troubles({}), []);
  assert.equal(phpFindings(GOOD, EXPECTED).length, Object.keys(GOOD).length);
});

Deno.test("phpFindings() takes display_errors for off only where php-fpm does", () => {
  for (const on of ["1", "on", "On", "yes", "true", "stderr", "stdout"]) {
    assert.deepEqual(troubles({ display_errors: on }), ["warning php.display_errors"], on);
  }
  for (const off of ["", "0", "off", "Off", "no", "false"]) {
    assert.deepEqual(troubles({ display_errors: off }), [], off);
  }
});

Deno.test("phpFindings() takes display_errors for an error where the status decides: a fatal error is 200 then", () => {
  const [finding] = phpFindings({ ...GOOD, display_errors: "1" }, { ...EXPECTED, ackOnStatus: ["mail"] });
  assert.equal(finding!.severity, "error");
  assert.equal(finding!.code, "FPM_MISCONFIGURED");
});

const TROUBLES: readonly [Changes, string[]][] = [
  [{ log_errors: "0" }, ["warning php.log_errors"]],
  [{ memory_limit: "-1" }, ["warning php.memory_limit"]],
  [{ max_execution_time: "59" }, ["warning php.max_execution_time"]],
  [{ max_execution_time: "60" }, []],
  [{ "opcache.enable": "0" }, ["warning php.opcache"]],
  [{ "opcache.enable": false, "opcache.validate_timestamps": false }, ["warning php.opcache"]],
  [{ "opcache.validate_timestamps": "1" }, ["notice php.opcache_timestamps"]],
  [{ "opcache.validate_timestamps": "1", "opcache.enable": "0" }, ["warning php.opcache"]],
];
for (const [changes, expected] of TROUBLES) {
  Deno.test(`phpFindings() finds with ${JSON.stringify(changes)}: ${expected.join(", ") || "nothing"}`, () => {
    assert.deepEqual(troubles(changes), expected);
  });
}

Deno.test("phpFindings() names the settings that the script does not tell", () => {
  const others = Object.fromEntries(Object.entries(GOOD).filter(([name]) => !name.endsWith("_errors")));
  const findings = phpFindings(others, EXPECTED);
  assert.equal(findings.at(-1)!.what, "the script does not report display_errors, log_errors");
  assert.equal(findings.at(-1)!.severity, "notice");
});

Deno.test("readPhpSettings() reads a JSON object of texts and false, and nothing else", () => {
  assert.deepEqual(readPhpSettings('{"a":"1","b":false,"c":3,"d":null}'), { a: "1", b: false });
  for (const wrong of [undefined, "", "ok", "[]", "null", '"text"', "{"]) {
    assert.equal(readPhpSettings(wrong), undefined, `${wrong}`);
  }
});

Deno.test("poolPhpFindings() judges what the pool sets, and knows what a script cannot change", () => {
  const found = (own: Record<string, string>) =>
    poolPhpFindings(new Map(Object.entries(own)), EXPECTED, "how").filter(({ severity }) =>
      severity !== "ok"
    );
  const ids = (own: Record<string, string>) => found(own).map(({ id, severity }) => `${severity} ${id}`);
  assert.deepEqual(ids({}), ["notice php.settings"]);
  assert.deepEqual(ids({ "php_value[display_errors]": "1" }), [
    "warning php.display_errors",
    "notice php.settings",
  ]);
  // The pool's admin value wins over its other one.
  assert.deepEqual(ids({ "php_value[display_errors]": "1", "php_admin_value[display_errors]": "0" }), [
    "notice php.settings",
  ]);
  assert.deepEqual(ids({ "php_value[max_execution_time]": "10" }), ["notice php.settings"]);
  const [fixed] = found({ "php_admin_value[max_execution_time]": "10" });
  assert.equal(fixed!.id, "php.max_execution_time");
  assert.match(fixed!.fix!, /^in the pool: php_admin_value\[max_execution_time\] = 0/);
  assert.deepEqual(
    ids({ "php_admin_value[error_log]": "/var/log/php.log", "php_admin_value[fastcgi.logging]": "0" }),
    [
      "notice php.error_log",
      "warning php.fastcgi_logging",
      "notice php.settings",
    ],
  );
  const [unknown] = found({ "php_admin_value[memory_limit]": "32M" });
  assert.ok(!unknown!.what.includes("memory_limit") && unknown!.what.includes("log_errors"), unknown!.what);
});
