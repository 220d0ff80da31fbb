import assert from "node:assert/strict";
import { changesBetween, type ConfigChanges, needsRestart } from "../../../src/config/changes.ts";
import { parseConfig } from "../../../src/config/load.ts";
import { BROKER, FPM, NO_ENVIRONMENT } from "./support.ts";

const SECOND_BROKER = '[brokers.second]\ndriver = "sqlite"\npath = "second.sqlite"\n';
const SECOND_FPM = '[fpm.second]\naddress = "127.0.0.1:9000"\nscript = "/srv/app/second.php"\n';
const PROCESS = '[processes.default]\ncommand = ["php", "job.php"]\n';

/** A consumer with everything named, and a schedule. */
const consumer = (name: string, keys = 'broker = "default"\nfpm = "default"') =>
  `[[consumers]]\nname = "${name}"\nqueues = ["${name}"]\n${keys}\n`;
const schedule = (name: string, broker = "default") =>
  `[[schedule]]\nname = "${name}"\nbroker = "${broker}"\nqueue = "a"\nevery_ms = 60000\n`;

const REST = BROKER + SECOND_BROKER + FPM + SECOND_FPM + PROCESS;
const BASE = REST + consumer("a") + consumer("b", 'broker = "second"\nfpm = "second"') +
  consumer("c", 'broker = "default"\nexecutor = "process"') + schedule("s") + schedule("t", "second");

const parse = (text: string) => parseConfig(text, "/srv/fervo.toml", NO_ENVIRONMENT);

/** What has changed only, as `kind: name`. */
function told(changes: ConfigChanges): string[] {
  return Object.entries(changes).flatMap(([part, kinds]) =>
    (["added", "changed", "removed"] as const).flatMap((kind) =>
      kinds[kind].map((name: string) => `${part} ${name} ${kind}`)
    )
  );
}

const CASES: readonly [what: string, text: string, expected: string[]][] = [
  ["nothing", BASE, []],
  ["the order of consumers, and comments", `# Hello\n${BASE.replace(consumer("a"), "")}${consumer("a")}`, []],
  ["a consumer that is added", `${BASE}${consumer("d")}`, ["consumers d added"]],
  ["a consumer that is removed", BASE.replace(consumer("a"), ""), ["consumers a removed"]],
  ["a consumer's key", BASE.replace('queues = ["a"]', 'queues = ["a"]\nconcurrency = 9'), [
    "consumers a changed",
  ]],
  ["a key that says its default", BASE.replace('queues = ["a"]', 'queues = ["a"]\nconcurrency = 4'), []],
  ["a consumer's name", BASE.replace('name = "a"', 'name = "z"'), [
    "consumers z added",
    "consumers a removed",
  ]],
  ["a pool, and so the consumers that use it", BASE.replace("/srv/app/second.php", "/srv/x.php"), [
    "fpm second changed",
    "consumers b changed",
  ]],
  ["a broker, and so the consumers and schedules that use it", BASE.replace("second.sqlite", "x.sqlite"), [
    "brokers second changed",
    "consumers b changed",
    "schedule t changed",
  ]],
  ["a process", BASE.replace("job.php", "x.php"), ["consumers c changed"]],
  ["a schedule", BASE.replace(/every_ms = 60000\n$/, "every_ms = 120000\n"), ["schedule t changed"]],
  ["a payload of a schedule", `${BASE}payload = "x"\n`, ["schedule t changed"]],
  ["what no consumer is", `shutdown_timeout_ms = 1\n[log]\nlevel = "debug"\n${BASE}`, []],
];

for (const [what, text, expected] of CASES) {
  Deno.test(`changesBetween() tells ${what}`, async () => {
    assert.deepEqual(told(changesBetween(await parse(BASE), await parse(text))), expected);
  });
}

Deno.test("needsRestart() names what only a restart changes", async () => {
  const before = await parse(BASE);
  assert.deepEqual(needsRestart(before, await parse(`[log]\nlevel = "debug"\n${BASE}`)), []);
  const other = '[log]\nformat = "json"\n[http]\nlisten = "127.0.0.1:1"\n[control]\nsocket = ""\n';
  assert.deepEqual(needsRestart(before, await parse(other + BASE)), [
    "[http]",
    "[control] socket",
    "[log] format",
  ]);
});

Deno.test("Of every part of the configuration it is said what a reload does with it", async () => {
  const replaced = ["brokers", "fpm", "processes", "consumers", "schedule"];
  const setAtOnce = ["log", "shutdownTimeoutMs"];
  const afterRestart = ["http", "tracing", "controlSocket"];
  // A new part belongs into changesBetween() or needsRestart(), and then here.
  assert.deepEqual(
    Object.keys(await parse(BASE)).sort(),
    [...replaced, ...setAtOnce, ...afterRestart].sort(),
  );
});
