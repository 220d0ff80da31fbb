/**
 * The main use, end to end. The demo pushes 1,000 jobs into the embedded queue, runs them on a PHP-FPM of its own, and checks
 * from the outside that each job left exactly the expected traces. Run it by `./scripts/demo`.
 */
import { createHash } from "node:crypto";
import { DatabaseSync } from "node:sqlite";
import { PhpFpm } from "../../tests/support/php_fpm.ts";
import { fervoWorker, runDemo, say } from "./fervo_worker.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const CHILDREN = 8;
const RETRY_ATTEMPTS = 3;

/** The kinds of jobs: the number of jobs of each kind, and the number of runs of each job. */
const KINDS = {
  "ok": { jobs: 947, runs: 1 },
  "fails once": { jobs: 50, runs: 2 },
  "killed once": { jobs: 1, runs: 2 },
  "always fails": { jobs: 1, runs: RETRY_ATTEMPTS },
  "large": { jobs: 1, runs: 1 },
} as const;
type Kind = keyof typeof KINDS;

const LARGE_BYTES = 5 * 1024 * 1024;

function payloadOf(kind: Kind): string {
  const payload = JSON.stringify({ kind, filler: "" });
  if (kind !== "large") return payload;
  return payload.replace('""', `"${"x".repeat(LARGE_BYTES - payload.length)}"`);
}

function config(directory: string, fpm: PhpFpm): string {
  return `
[log]
level = "error"

[brokers.default]
driver = "sqlite"
path = "${directory}/queue.sqlite"

[fpm.default]
address = "${fpm.address}"
script = "${ROOT}examples/plain-php/fervo.php"
status_path = "${fpm.statusPath}"
[fpm.default.params]
APP_HANDLERS = "${ROOT}examples/demo/handlers.php"
DEMO_EFFECTS = "${directory}/effects.sqlite"

[[consumers]]
queues = ["demo"]
concurrency = ${CHILDREN}
[consumers.retry]
attempts = ${RETRY_ATTEMPTS}
delay_ms = 200
factor = 2
`;
}

async function demo(): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "fervo-demo-" });
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => Deno.remove(directory, { recursive: true }));

  const fpm = cleanup.use(await PhpFpm.start({ children: CHILDREN, ini: { post_max_size: "16M" } }));
  say(`Started a private php-fpm with ${CHILDREN} children in ${fpm.directory}`);
  const configFile = `${directory}/fervo-worker.toml`;
  await Deno.writeTextFile(configFile, config(directory, fpm));
  const effects = cleanup.adopt(new DatabaseSync(`${directory}/effects.sqlite`), (db) => db.close());
  effects.exec("PRAGMA journal_mode = WAL");
  effects.exec("CREATE TABLE effects (job TEXT, attempt INTEGER, kind TEXT, sha1 TEXT)");

  // `check` warns when /tmp is in memory.
  await fervoWorker(["check", "--config", configFile, "--call-script"], { mayEndWith: 1 });
  const kindOfJob = new Map<string, Kind>();
  for (const [kind, { jobs }] of Object.entries(KINDS) as [Kind, { jobs: number }][]) {
    const args = ["push", "demo", "-", "--count", String(jobs), "--config", configFile, "--json"];
    const pushed = await fervoWorker(args, { stdin: payloadOf(kind), isQuiet: true });
    for (const id of JSON.parse(pushed)["ids"]) kindOfJob.set(id, kind);
  }
  say(
    `Pushed ${kindOfJob.size} jobs: ${
      Object.entries(KINDS).map(([kind, { jobs }]) => `${jobs} ${kind}`).join(", ")
    }`,
  );

  // One job always fails.
  await fervoWorker(["run", "--until-empty", "--progress", "--config", configFile], { mayEndWith: 5 });

  const problems = [
    ...checkEffects(effects, kindOfJob),
    ...checkDeadLetters(
      await fervoWorker(["dead", "list", "--config", configFile, "--json"], { isQuiet: true }),
    ),
    ...checkQueue(await fervoWorker(["queues", "--config", configFile, "--json"], { isQuiet: true })),
  ];
  if (problems.length > 0) {
    throw new Error(`The end state is wrong:\n  ${problems.slice(0, 20).join("\n  ")}`);
  }
  say("Checked: every job ran exactly as often as it should, and the one that always fails is a dead letter");
}

/** Each job must have left exactly one row for each of its attempts. */
function checkEffects(effects: DatabaseSync, kindOfJob: ReadonlyMap<string, Kind>): string[] {
  const attempts = new Map<string, number[]>();
  const problems: string[] = [];
  const largeSha1 = createHash("sha1").update(payloadOf("large")).digest("hex");
  for (
    const { job, attempt, kind, sha1 } of effects.prepare("SELECT * FROM effects ORDER BY attempt").all()
  ) {
    attempts.set(job as string, [...attempts.get(job as string) ?? [], attempt as number]);
    if (kindOfJob.get(job as string) !== kind) problems.push(`job ${job} ran as "${kind}"`);
    if (kind === "large" && sha1 !== largeSha1) {
      problems.push(
        `job ${job} got another payload than was pushed`,
      );
    }
  }
  for (const [job, kind] of kindOfJob) {
    const expected = Array.from({ length: KINDS[kind].runs }, (_, i) => i + 1).join(", ");
    const seen = attempts.get(job)?.join(", ") ?? "none";
    if (seen !== expected) {
      problems.push(`job ${job} ("${kind}") ran attempts ${seen} instead of ${expected}`);
    }
  }
  return problems;
}

function checkDeadLetters(json: string): string[] {
  const letters = JSON.parse(json) as { payload: string; error: { message: string; stderr?: string } }[];
  if (letters.length !== 1) return [`there are ${letters.length} dead letters instead of 1`];
  const { payload, error } = letters[0]!;
  const problems: string[] = [];
  if (payload !== payloadOf("always fails")) problems.push("the dead letter is another job");
  if (!error.message.includes("This job can never succeed")) problems.push(`its error is "${error.message}"`);
  if (!error.stderr?.includes("This job can never succeed")) problems.push(`its STDERR is "${error.stderr}"`);
  return problems;
}

function checkQueue(json: string): string[] {
  const rows = JSON.parse(json) as { queue: string; ready: number; delayed: number; reserved: number }[];
  return rows.filter((row) => row.ready + row.delayed + row.reserved > 0)
    .map((row) => `queue "${row.queue}" is not empty: ${JSON.stringify(row)}`);
}

await runDemo(demo);
