/**
 * The Symfony example at work. The demo places orders over HTTP, runs the deferred work on a PHP-FPM of its own, and checks in
 * the application's journal that each step was done once, in the right process. Run it by `./scripts/demo symfony`.
 */
import { PhpFpm } from "../../tests/support/php_fpm.ts";
import { SymfonyApp } from "../../tests/support/symfony_app.ts";
import { fervoWorker, runDemo, say } from "./fervo_worker.ts";

const CHILDREN = 4;
const ORDERS = 100;

/** The expected steps in the journal for each order, and where each step must have run. */
const STEPS = {
  "stock reserved": "cli-server",
  "confirmation sent": "fpm-fcgi",
  "invoice written": "fpm-fcgi",
};

function config(app: SymfonyApp, fpm: PhpFpm): string {
  return `
[log]
level = "error"

[brokers.default]
driver = "sqlite"
path = "${app.queueFile}"

[fpm.default]
address = "${fpm.address}"
script = "${app.frontController}"
status_path = "${fpm.statusPath}"

[[consumers]]
queues = ["default"]
concurrency = ${CHILDREN}
`;
}

async function demo(): Promise<void> {
  await using app = await SymfonyApp.create();
  await using fpm = await PhpFpm.start({ children: CHILDREN });
  say(`Copied examples/symfony to ${app.directory}, started a private php-fpm with ${CHILDREN} children`);
  const configFile = `${app.directory}/demo.toml`;
  await Deno.writeTextFile(configFile, config(app, fpm));
  await fervoWorker(["check", "--config", configFile, "--call-script"], { mayEndWith: 1 });

  const url = await app.serve();
  const startMs = performance.now();
  for (let number = 1; number <= ORDERS; number++) {
    const response = await fetch(`${url}/orders/${number}`, { method: "POST" });
    const text = await response.text();
    if (response.status !== 201) throw new Error(`POST /orders/${number} was answered with ${text}`);
  }
  const seconds = (performance.now() - startMs) / 1_000;
  say(`Placed ${ORDERS} orders over HTTP in ${seconds.toFixed(1)} s; each deferred an event and a listener`);

  await fervoWorker(["run", "--until-empty", "--progress", "--config", configFile]);

  const journal = await app.journal();
  for (const { text, sapi, process } of journal.filter(({ text }) => text.startsWith("order 1:"))) {
    say(`  process ${process} (${sapi}): ${text}`);
  }
  const done = journal.map(({ text, sapi }) => `${text} (${sapi})`).sort();
  const expected = Array.from({ length: ORDERS }, (_, i) => i + 1)
    .flatMap((number) => Object.entries(STEPS).map(([step, sapi]) => `order ${number}: ${step} (${sapi})`));
  const wrong = expected.sort().find((line, i) => line !== done[i]);
  if (wrong !== undefined || done.length !== expected.length) {
    throw new Error(
      `The journal is wrong, first at "${wrong ?? done[expected.length]}":\n${done.join("\n")}`,
    );
  }
  say(
    "Checked: each step was done exactly once; stock in the request, confirmations and invoices on php-fpm",
  );
}

await runDemo(demo);
