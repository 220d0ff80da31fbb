import assert from "node:assert/strict";
import type { PoolToCheck } from "../../../src/doctor/expected_pool.ts";
import { fpmLimitFindings } from "../../../src/doctor/fpm_limits.ts";
import { findPool, parseFpmSettings } from "../../../src/doctor/fpm_settings.ts";
import { POOL } from "./support.ts";

const DATE = "[23-Nov-2026 20:36:20]";

/** What `php-fpm -tt` of PHP 8.2 prints, shortened. */
function printed(global: Record<string, string>, ...pools: [name: string, Record<string, string>][]): string {
  const section = ([name, entries]: [string, Record<string, string>]) => [
    `${DATE} NOTICE: [${name}]`,
    ...Object.entries(entries).map(([key, value]) => `${DATE} NOTICE: \t${key} = ${value}`),
    `${DATE} NOTICE:  `,
  ];
  return [
    ...[["global", global] as [string, Record<string, string>], ...pools].flatMap(section),
    `${DATE} NOTICE: configuration file a.conf test is successful`,
  ].join("\n");
}

const GLOBAL = { process_control_timeout: "65s" };
const OWN = {
  listen: "/run/php/jobs.sock",
  pm: "static",
  "pm.max_children": "4",
  "pm.status_path": "/status",
  request_terminate_timeout: "90s",
  "php_admin_value[display_errors]": "1",
};

async function troubles(
  own: Record<string, string>,
  global: Record<string, string> = {},
  pool: Partial<PoolToCheck> = {},
): Promise<string[]> {
  const settings = parseFpmSettings(printed({ ...GLOBAL, ...global }, ["jobs", { ...OWN, ...own }]));
  return (await fpmLimitFindings(settings, { ...POOL, ...pool }))
    .filter(({ severity }) => severity !== "ok")
    .map(({ id, severity }) => `${severity} ${id}`);
}

Deno.test("parseFpmSettings() reads sections, directives and PHP's values", () => {
  const settings = parseFpmSettings(printed(GLOBAL, ["www", { listen: "9000" }], ["jobs", OWN]));
  assert.deepEqual(Object.fromEntries(settings.global), GLOBAL);
  assert.deepEqual([...settings.pools.keys()], ["www", "jobs"]);
  assert.deepEqual(Object.fromEntries(settings.pools.get("jobs")!), OWN);
  assert.equal(parseFpmSettings("Segmentation fault\n").pools.size, 0);
});

Deno.test("findPool() finds the pool by where it listens", async () => {
  const settings = parseFpmSettings(
    printed({}, ["a", { listen: "/run/a.sock" }], ["b", { listen: "127.0.0.1:9000" }], ["c", {
      listen: "9001",
    }], [
      "d",
      { listen: "[::]:9002" },
    ]),
  );
  const tcp = (port: number) => ({ transport: "tcp", hostname: "php", port }) as const;
  assert.equal(await findPool(settings, { transport: "unix", path: "/run/a.sock" }), "a");
  assert.equal(await findPool(settings, tcp(9000)), "b");
  assert.equal(await findPool(settings, tcp(9001)), "c");
  assert.equal(await findPool(settings, tcp(9002)), "d");
  assert.equal(await findPool(settings, tcp(900)), undefined);
  assert.equal(await findPool(settings, { transport: "unix", path: "/run/e.sock" }), undefined);
});

Deno.test("fpmLimitFindings() finds nothing wrong with limits that nest", async () => {
  assert.deepEqual(await troubles({}), []);
});

const TROUBLES: readonly [
  own: Record<string, string>,
  global: Record<string, string>,
  pool: Partial<PoolToCheck>,
  string[],
][] = [
  [{}, { process_control_timeout: "0s" }, {}, ["warning fpm.process_control_timeout"]],
  [{}, { process_control_timeout: "59s" }, {}, ["notice fpm.process_control_timeout"]],
  [{}, { process_control_timeout: "60s" }, {}, []],
  [{ request_terminate_timeout: "0s" }, {}, {}, ["warning fpm.request_terminate_timeout"]],
  [{ request_terminate_timeout: "0s" }, {}, { killOnTimeout: true }, []],
  [{ request_terminate_timeout: "60s" }, {}, {}, ["warning fpm.request_terminate_timeout"]],
  [{ request_terminate_timeout: "61s" }, {}, {}, []],
  [{ "pm.max_children": "3" }, {}, {}, ["error fpm.children"]],
  [{ "pm.max_children": "5" }, {}, { children: 4 }, ["notice fpm.children"]],
  [{}, {}, { statusPath: undefined }, ["warning fpm.status_page"]],
  [{ "pm.status_path": "undefined" }, {}, { statusPath: undefined }, []],
];
for (const [own, global, pool, expected] of TROUBLES) {
  const given = JSON.stringify({ ...own, ...global, ...pool });
  Deno.test(`fpmLimitFindings() finds with ${given}: ${expected.join(", ") || "nothing"}`, async () => {
    assert.deepEqual(await troubles(own, global, pool), expected);
  });
}

Deno.test("fpmLimitFindings() names the other pools of the master, and knows nothing of a pool that is not there", async () => {
  const settings = parseFpmSettings(printed(GLOBAL, ["www", { listen: "/run/www.sock" }], ["jobs", OWN]));
  const shared = (await fpmLimitFindings(settings, POOL)).find(({ id }) => id === "fpm.shared_master");
  assert.equal(shared?.severity, "notice");
  assert.match(shared?.what ?? "", /\[www\]$/);
  const elsewhere = { ...POOL, address: { transport: "unix", path: "/run/other.sock" } } as const;
  assert.deepEqual(
    (await fpmLimitFindings(settings, elsewhere)).map(({ id, severity }) => `${severity} ${id}`),
    ["notice fpm.settings"],
  );
});
