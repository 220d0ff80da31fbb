import assert from "node:assert/strict";
import type { PoolToCheck } from "../../../src/doctor/expected_pool.ts";
import { fpmLimitFindings } from "../../../src/doctor/fpm_limits.ts";
import { findPool, isPoolFile, parseFpmSettings, poolSettings } from "../../../src/fpm/settings.ts";
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
  const found = await poolSettings(settings, POOL.address);
  return (await fpmLimitFindings(found!, { ...POOL, ...pool }))
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
  [{}, { "process.max": "0" }, {}, []],
  [{}, { "process.max": "3" }, {}, ["error fpm.children"]],
  [{ "pm.max_children": "9" }, { "process.max": "4" }, {}, ["notice fpm.children"]],
  [{ "pm.max_children": "9" }, { "process.max": "9" }, {}, []],
  [{ "pm.status_listen": "/run/s.sock" }, {}, {}, ["notice fpm.status_listen"]],
  [{ "pm.status_listen": "/run/s.sock" }, {}, { killOnTimeout: true }, ["warning fpm.status_listen"]],
  [
    { "pm.status_listen": "/run/s.sock" },
    {},
    { statusAddress: { transport: "unix", path: "/run/s.sock" } },
    [],
  ],
  [{ "pm.status_listen": "/run/t.sock" }, {}, { statusAddress: { transport: "unix", path: "/run/s.sock" } }, [
    "warning fpm.status_listen",
  ]],
  [{ user: "1234" }, {}, { killOnTimeout: true, uid: 1_000 }, ["warning fpm.kill_on_timeout"]],
  [{ user: "1234" }, {}, { killOnTimeout: true, uid: 1_234 }, []],
  [{ user: "1234" }, {}, { killOnTimeout: true, uid: 0 }, []],
  [{ user: "1234" }, {}, { uid: 1_000 }, []],
  [{}, {}, { limit: { ms: 3_000_000, name: "timeout_ms × batch_size" } }, [
    "warning fpm.request_terminate_timeout",
    "notice fpm.process_control_timeout",
  ]],
];
for (const [own, global, pool, expected] of TROUBLES) {
  const given = JSON.stringify({ ...own, ...global, ...pool });
  Deno.test(`fpmLimitFindings() finds with ${given}: ${expected.join(", ") || "nothing"}`, async () => {
    assert.deepEqual(await troubles(own, global, pool), expected);
  });
}

Deno.test("fpmLimitFindings() names the other pools of the master, and knows nothing of a pool that is not there", async () => {
  const settings = parseFpmSettings(printed(GLOBAL, ["www", { listen: "/run/www.sock" }], ["jobs", OWN]));
  const found = await poolSettings(settings, POOL.address);
  const shared = (await fpmLimitFindings(found!, POOL)).find(({ id }) => id === "fpm.shared_master");
  assert.equal(shared?.severity, "notice");
  assert.match(shared?.what ?? "", /\[www\]$/);
  assert.equal(await poolSettings(settings, { transport: "unix", path: "/run/other.sock" }), undefined);
});

Deno.test("fpmLimitFindings() counts the children that other pools may have against process.max", async () => {
  const shared = async (processMax: string) => {
    const settings = parseFpmSettings(
      printed({ ...GLOBAL, "process.max": processMax }, ["www", {
        listen: "/run/www.sock",
        "pm.max_children": "5",
      }], ["jobs", OWN]),
    );
    const findings = await fpmLimitFindings((await poolSettings(settings, POOL.address))!, POOL);
    return findings.find(({ id }) => id === "fpm.children")!.severity;
  };
  assert.deepEqual([await shared("9"), await shared("8"), await shared("3")], ["ok", "warning", "error"]);
});

Deno.test("isPoolFile() knows a file of pool.d from one that a master is started with", () => {
  const WWW = "; a comment\n\n[www]\nlisten = 9000\n";
  assert.equal(isPoolFile(WWW), true);
  for (
    const whole of [
      `[global]\n${WWW}`,
      `[Global]\npid = a\n${WWW}`,
      `${WWW}[global]\n`,
      `process.max = 3\n${WWW}`,
      "include=/etc/php/8.2/fpm/pool.d/*.conf",
      `${WWW}include = a.conf`,
      "",
    ]
  ) {
    assert.equal(isPoolFile(whole), false, whole);
  }
});

Deno.test("findPool() prefers the pool at the very address to one with the same port elsewhere", async () => {
  const settings = parseFpmSettings(
    printed({}, ["a", { listen: "127.0.0.2:9000" }], ["b", { listen: "*:9000" }], ["c", {
      listen: "127.0.0.1:9000",
    }]),
  );
  const at = (hostname: string) => findPool(settings, { transport: "tcp", hostname, port: 9_000 });
  assert.deepEqual([await at("127.0.0.1"), await at("127.0.0.2"), await at("php")], ["c", "a", "b"]);
});
