/** Messages of Symfony Messenger's own transports on php-fpm: what the bundle's front controller answers, on the wire. */
import assert from "node:assert/strict";
import type { Job } from "../../../../src/core/job.ts";
import type { Outcome } from "../../../../src/core/outcome.ts";
import { systemClock } from "../../../../src/core/time/clock.ts";
import {
  DEFAULT_FASTCGI_EXECUTOR_OPTIONS,
  FastCgiExecutor,
} from "../../../../src/executors/fastcgi/executor.ts";
import { checkRequest } from "../../../../src/executors/fastcgi/requests.ts";
import { parseAddress } from "../../../../src/fastcgi/address.ts";
import { DEFAULT_POOL_OPTIONS, Pool } from "../../../../src/fastcgi/pool.ts";
import { PhpFpm } from "../../../support/php_fpm.ts";
import { SymfonyApp } from "../../../support/symfony_app.ts";

const OVERLAYS = ["symfony", "symfony_messenger"].map((name) =>
  new URL(`../../../e2e/${name}`, import.meta.url).pathname
);
const NEVER = new AbortController().signal;

async function setUp() {
  await using opened = new AsyncDisposableStack();
  const app = opened.use(await SymfonyApp.create({ env: { APP_QUEUE: "sqlite" }, overlays: OVERLAYS }));
  const fpm = opened.use(await PhpFpm.start({ children: 2 }));
  const pool = new Pool({ address: parseAddress(fpm.address), clock: systemClock }, {
    ...DEFAULT_POOL_OPTIONS,
    maxConnections: 2,
  });
  const executor = opened.use(
    new FastCgiExecutor({ pool, fpm: fpm.control(), clock: systemClock, observe: () => {} }, {
      ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS,
      script: app.frontController,
      killOnTimeout: true,
    }),
  );
  const resources = opened.move();
  return { app, pool, executor, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

/** What Messenger's sender would write for a message with this action. */
async function jobOf(app: SymfonyApp, id: string, action: string, queue = "async"): Promise<Job> {
  const code = `require $argv[1]; $message = new App\\Message\\Chore("job-$argv[2]", $argv[3], "\\xff");
    echo (new Symfony\\Component\\Messenger\\Transport\\Serialization\\PhpSerializer())->encode(new Symfony\\Component\\Messenger\\Envelope($message))["body"];`;
  const php = new Deno.Command("php", {
    args: ["-r", code, `${app.directory}/vendor/autoload.php`, id, action],
  });
  const { success, stdout, stderr } = await php.output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return {
    id,
    queue,
    payload: stdout,
    attempt: 1,
    maxAttempts: 3,
    enqueuedAtMs: 1_700_000_000_000,
    deadlineMs: Date.now() + 60_000,
    framework: { format: "messenger", headers: {} },
  };
}

/** The outcomes by job, and which jobs ran when the request ended. */
async function runBatch(executor: FastCgiExecutor, ...jobs: Job[]) {
  const outcomes: Record<string, Outcome> = {};
  const begun: string[] = [];
  const end = await executor.executeBatch({
    jobs,
    timeoutMs: 60_000,
    onBegun: ({ id }) => void begun.push(id),
    onOutcome: (outcome, { id }) => void (outcomes[id] = outcome),
  }, NEVER);
  return { outcomes, begun, end };
}

Deno.test("The bundle runs Messenger's messages on php-fpm, each with its outcome at once, and a death is told to Messenger", async () => {
  await using setup = await setUp();
  const { app, executor } = setup;
  const jobs = await Promise.all(
    ["work", "throw", "bury", "exit", "work"].map((action, i) => jobOf(app, String(i), action)),
  );
  const { outcomes, begun, end } = await runBatch(executor, ...jobs);

  assert.deepEqual(begun, ["0", "1", "2", "3"]);
  assert.deepEqual(Object.values(outcomes).map(({ kind }) => kind), ["ack", "replace", "bury"]);
  assert.deepEqual(end?.jobs.map(({ id }) => id), ["3"]);
  assert.equal(end.outcome.kind === "retry" && end.outcome.error.code, "JOB_NO_OUTCOME");

  const failure = {
    id: "f1",
    code: "JOB_NO_OUTCOME" as const,
    message: "The script ended without an outcome",
  };
  const told = await executor.tellFailure(jobs[3]!, failure, NEVER);
  assert.ok(told?.kind === "replace");
  assert.equal(told.delayMs, 100);
  const text = new TextDecoder().decode(told.message.body);
  // A message with bytes that are not UTF-8 is base64.
  assert.match(atob(text), /JOB_NO_OUTCOME: The script ended without an outcome/);
  assert.match(atob(text), /RedeliveryStamp/);

  // The copy is a message like any other.
  const first = outcomes["1"];
  assert.ok(first?.kind === "replace");
  const again = await runBatch(executor, { ...jobs[1]!, payload: first.message.body });
  assert.equal(again.outcomes["1"]?.kind, "replace");
});

Deno.test("The bundle holds a queue back that is no transport, and tells the check which transports there are", async () => {
  await using setup = await setUp();
  const { app, executor, pool } = setup;
  const { outcomes } = await runBatch(executor, await jobOf(app, "7", "work", "mail"));
  const outcome = outcomes["7"];
  assert.ok(outcome?.kind === "release");
  assert.equal(outcome.queuePauseMs, 10_000);
  assert.match(outcome.error.message, /no transport "mail".*There are: async, failed, payments/);

  const answer = await pool.request(checkRequest(app.frontController, {}), NEVER);
  const { messenger } = JSON.parse(answer.headers.get("x-fervo-check")!);
  assert.deepEqual(messenger.transports, {
    async: { kind: "fervo", queue: "messages" },
    failed: { kind: "in-memory" },
    payments: { kind: "fervo", queue: "messages" },
  });
  assert.equal(messenger.lock, null);
});
