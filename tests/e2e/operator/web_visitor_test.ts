/**
 * From the operator's side: the scripts that come with fervo-worker lie below a web root by mistake. Whatever a visitor
 * asks for, no job is run and none is pushed.
 */
import assert from "node:assert/strict";
import { systemClock } from "../../../src/core/time/clock.ts";
import { parseAddress } from "../../../src/fastcgi/address.ts";
import { ask } from "../../../src/fpm/status.ts";
import { eventually } from "../../support/eventually.ts";
import { Site } from "../../support/fervo_worker.ts";
import { PhpFpm, privateLoopback } from "../../support/php_fpm.ts";

const ROOT = new URL("../../../", import.meta.url).pathname;

/** For visitors. */
const PUBLIC = ["examples/symfony/public/index.php"];

/** Every PHP file that a user copies or installs. */
async function* phpFiles(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(`${ROOT}${folder}`)) {
    const path = `${folder}/${name}`;
    if (isDirectory && name !== "vendor" && name !== "var") yield* phpFiles(path);
    else if (name.endsWith(".php") && !PUBLIC.includes(path)) yield path;
  }
}

const FILES = [
  ...await Array.fromAsync(phpFiles("examples")),
  ...await Array.fromAsync(phpFiles("php")),
].toSorted();

/** What runs something when it is called, beside files that only declare or return something. */
const ENTRY_POINTS = [
  "examples/plain-php/fervo-standalone.php",
  "examples/plain-php/fervo.php",
  "examples/plain-php/produce.php",
  "php/bundle/bin/fervo-run.php",
  "php/bundle/bin/fervo-runtime.php",
  "php/bundle/tests/Fixtures/console.php",
  "php/bundle/tests/Fixtures/router.php",
  "php/bundle/tests/Fixtures/signals.php",
  "php/runner/tests/Fixtures/script.php",
];

interface Answer {
  readonly status: number;
  readonly headers: readonly string[];
  readonly body: string;
}

/**
 * Asks for every file. In the query string is what would push a job, if it were taken for arguments; in the body, what would
 * be a job; and what a visitor says of himself looks like the worker's params.
 */
async function visitAll(
  visit: (path: string, query: string, body: string) => Promise<Answer>,
): Promise<void> {
  await using site = await Site.create();
  await site.runOk(["push", "other", "{}"]);
  const query = `${site.queueFile}+default+%7B%7D&FERVO_JOB_ID=7`;
  const statuses: Record<string, number> = {};
  for (const path of FILES) {
    const { status, headers, body } = await visit(path, query, "payload");
    statuses[path] = status;
    assert.deepEqual(headers.filter((name) => name.startsWith("x-fervo-")), [], path);
    // A file that is no script of its own ends in silence, at the latest with an error of PHP.
    if (status !== 403) assert.equal(body.trim(), "", `${path} said ${body}`);
  }
  const refused = Object.entries(statuses).filter(([, status]) => status === 403).map(([path]) => path);
  assert.deepEqual(refused, ENTRY_POINTS);
  assert.equal(site.effectCount(), 0);
  assert.deepEqual(site.queueRows("SELECT queue FROM fervo_jobs").map(({ queue }) => queue), ["other"]);
}

const INI = { register_argc_argv: "1", html_errors: "0" };

Deno.test("A visitor of a web server in front of php-fpm runs and pushes no job", async () => {
  await using fpm = await PhpFpm.start({ ini: INI });
  await visitAll(async (path, query, body) => {
    const params: [string, string][] = [
      ["GATEWAY_INTERFACE", "CGI/1.1"],
      ["REQUEST_METHOD", "POST"],
      ["SCRIPT_FILENAME", `${ROOT}${path}`],
      ["SCRIPT_NAME", `/${path}`],
      ["REQUEST_URI", `/${path}?${query}`],
      ["QUERY_STRING", query],
      ["CONTENT_TYPE", "application/octet-stream"],
      ["CONTENT_LENGTH", String(body.length)],
      ["HTTP_FERVO_JOB_ID", "7"],
      ["HTTP_FERVO_CHECK", "1"],
    ];
    const request = { params, body: new TextEncoder().encode(body) };
    const answer = await ask(parseAddress(fpm.address), systemClock, request);
    return { ...answer, headers: [...answer.headers.keys()], body: new TextDecoder().decode(answer.body) };
  });
});

Deno.test("A visitor of PHP's own web server runs and pushes no job", async () => {
  const address = `${privateLoopback()}:8000`;
  const ini = Object.entries({ ...INI, display_errors: "0" }).flatMap(([name, value]) => [
    "-d",
    `${name}=${value}`,
  ]);
  const server = new Deno.Command("php", {
    args: [...ini, "-S", address, "-t", ROOT],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    await eventually("PHP's web server listens", async () => {
      try {
        const [hostname, port] = address.split(":") as [string, string];
        (await Deno.connect({ hostname, port: Number(port) })).close();
        return true;
      } catch {
        return false;
      }
    });
    await visitAll(async (path, query, body) => {
      const headers = { "fervo-job-id": "7", "x-params": '{"FERVO_JOB_ID":"7"}' };
      const answer = await fetch(`http://${address}/${path}?${query}`, { method: "POST", body, headers });
      return { status: answer.status, headers: [...answer.headers.keys()], body: await answer.text() };
    });
  } finally {
    server.kill("SIGKILL");
    await server.status;
  }
});
