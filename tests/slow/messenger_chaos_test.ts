/** SIGKILL of workers, php-fpm and the database's server, while the messages of an application run. */
import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import type { RunningCommand } from "../support/fervo_worker.ts";
import {
  type Action,
  ChaosSite,
  LEASE_MS,
  type Produced,
  type Run,
} from "../support/messenger/chaos_site.ts";
import { SeededRandom } from "../support/seeded_random.ts";

const SEED = Number(Deno.env.get("FERVO_SEED") ?? 1);
const MESSAGES = Number(Deno.env.get("FERVO_MESSAGES") ?? 3_000);
const KILLS = 24;
const WORKERS = 2;
/** Nothing takes nearly as long. */
const DEADLINE_MS = 120_000 + 20 * MESSAGES;
/** Of the application: `max_retries` of its transport, and the first. */
const ATTEMPTS = 3;

const VICTIMS = ["a worker", "php-fpm", "the database"] as const;

interface Kill {
  readonly victim: typeof VICTIMS[number];
  readonly atMs: number;
  /** When it answered again. */
  readonly backMs: number;
}

for (const kind of ["postgres", "mysql"] as const) {
  Deno.test(`${MESSAGES} messages on ${kind} outlive ${KILLS} times SIGKILL of workers, php-fpm and the database, seed ${SEED}`, async () => {
    await using site = await ChaosSite.create(kind);
    await using workers = new Workers(site);
    const random = new SeededRandom(SEED);
    const producing = site.produce(messages(MESSAGES));
    const kills: Kill[] = [];
    const kill = async (victim: Kill["victim"], worker: number) => {
      const atMs = Date.now();
      if (victim === "a worker") await workers.kill(worker);
      else {
        const part = victim === "php-fpm" ? site.fpm : site.server;
        await part.kill();
        await part.restart();
      }
      kills.push({ victim, atMs, backMs: Date.now() });
    };
    // Each at a random point of its share of the work; a third of them together with another one.
    for (let count = 0; count < KILLS; count++) {
      const lines = 2 * MESSAGES * (count + random.next()) / (KILLS + 1);
      await eventually(`${lines} lines`, async () => {
        workers.mustRun();
        return await site.ledgerLength() >= lines;
      }, DEADLINE_MS);
      const victims = new Set([
        random.pick(VICTIMS),
        ...(random.below(3) === 0 ? [random.pick(VICTIMS)] : []),
      ]);
      await Promise.all([...victims].map((victim) => kill(victim, random.below(WORKERS))));
    }
    const produced = await producing;
    await site.isDone(DEADLINE_MS);
    await workers.stop();

    assert.deepEqual(new Set(kills.map(({ victim }) => victim)), new Set(VICTIMS));
    const problems = problemsOf(produced, await site.runs(), await site.namesIn("failed"), kills);
    assert.deepEqual(problems, [], `${problems.join("\n")}\nkilled: ${JSON.stringify(kills)}`);
    assert.deepEqual(Object.keys(await site.rows()), ["failed"]);
  });
}

for (const redeliveriesMax of [undefined, 0]) {
  const text = redeliveriesMax === undefined ? "the default of redeliveries_max" : "redeliveries_max = 0";
  Deno.test(`A message that takes its machine along each time is filed by the application itself, and the other 99 run, with ${text}`, async () => {
    await using site = await ChaosSite.create("postgres", {
      // A message that runs beside it dies with it each time, and counts as often: nobody can tell which of the two it was.
      concurrency: 1,
      consumer: redeliveriesMax === undefined ? [] : [`redeliveries_max = ${redeliveriesMax}`],
    });
    const produced = await site.produce(
      Array.from({ length: 100 }, (_, at) => ({
        name: at === 50 ? "poison-50" : `job-${at}`,
        action: at === 50 ? "kills the machine" : "ok",
      })),
    );
    const kills: Kill[] = [];
    const done = site.isDone(DEADLINE_MS);
    let isDone = false;
    void done.then(() => isDone = true, () => isDone = true);
    // As a supervisor, which starts again what has ended.
    while (!isDone) {
      await using worker = site.startKillableWorker();
      await Promise.race([worker.ended, done]);
      if (isDone) break;
      const atMs = Date.now();
      const { signal, stderr } = await worker.ended;
      assert.equal(signal, "SIGKILL", stderr);
      await site.fpm.restart();
      kills.push({ victim: "a worker", atMs, backMs: Date.now() });
    }
    await done;

    const runs = await site.runs();
    const poison = runs.get("poison-50.0")!;
    // Each of the application's attempts, and the worker's redeliveries of each.
    assert.equal(poison.length, ATTEMPTS * (1 + (redeliveriesMax ?? 2)));
    assert.deepEqual(poison.map(({ endMs }) => endMs), poison.map(() => undefined));
    assert.deepEqual(
      problemsOf(produced.filter(({ name }) => name !== "poison-50.0"), runs, [], kills),
      [],
    );
    assert.deepEqual([await site.rows(), await site.namesIn("failed")], [{ failed: 1 }, ["poison-50.0"]]);
    const id = await site.sql("SELECT id FROM messenger_messages");
    const shown = await site.app.console("messenger:failed:show", id, "-vv");
    assert.match(shown, /Error Class +Fervo\\.*JobCrashed/);
    assert.match(shown, /JOB_ABANDONED/);
  });
}

Deno.test("A worker that is stopped under load gives back what it has, uncounted, and messenger:consume goes on at once", async () => {
  for (const kind of ["postgres", "mysql"] as const) {
    await using site = await ChaosSite.create(kind);
    const produced = await site.produce(
      Array.from({ length: 600 }, (_, at) => ({ name: `job-${at}`, action: "ok" })),
    );
    {
      await using worker = site.startWorker();
      await eventually("a hundred messages have run", async () => await site.ledgerLength() >= 200);
      worker.kill("SIGTERM");
      const { code, stderr } = await worker.ended;
      assert.equal(code, 0, stderr);
    }
    const left = (await site.namesIn("default")).length;
    assert.ok(left > 0, "the worker had run all messages before it stopped");
    const touched =
      "SELECT count(*) FROM messenger_messages WHERE delivered_at IS NOT NULL OR headers LIKE '%Fervo%'";
    assert.equal(await site.sql(touched), "0");
    await site.app.console("messenger:consume", "php", `--limit=${left}`, "--sleep=0.1", "--time-limit=60");
    assert.deepEqual(await site.rows(), {});
    assert.deepEqual(problemsOf(produced, await site.runs(), [], []), []);
  }
});

function messages(count: number): { name: string; action: Action }[] {
  return Array.from({ length: count }, (_, at) => ({
    name: `job-${at}`,
    action: at % 100 === 50 ? "fails" : at % 20 === 7 ? "fails once" : "ok",
  }));
}

/** Workers under a supervisor. */
class Workers implements AsyncDisposable {
  readonly #site: ChaosSite;
  readonly #running: RunningCommand[];

  constructor(site: ChaosSite) {
    this.#site = site;
    this.#running = Array.from({ length: WORKERS }, () => site.startWorker());
  }

  async kill(index: number): Promise<void> {
    await this.#running[index]![Symbol.asyncDispose]();
    this.#running[index] = this.#site.startWorker();
  }

  /** A worker ends only when it is told to. */
  mustRun(): void {
    for (const { hasEnded, stderr } of this.#running) assert.ok(!hasEnded, `a worker has ended:\n${stderr}`);
  }

  async stop(): Promise<void> {
    this.mustRun();
    for (const worker of this.#running) worker.kill("SIGTERM");
    for (const worker of this.#running) assert.equal((await worker.ended).code, 0, worker.stderr);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const worker of this.#running) await worker[Symbol.asyncDispose]();
  }
}

/** What the ledger, the producer's list and the failure transport tell of lost messages, and of runs without a cause. */
function problemsOf(
  produced: readonly Produced[],
  ledger: ReadonlyMap<string, readonly Run[]>,
  filed: readonly string[],
  kills: readonly Kill[],
): string[] {
  const problems: string[] = [];
  for (const { name, action, isConfirmed } of produced) {
    const runs = ledger.get(name) ?? [];
    if (runs.length === 0 && !isConfirmed) continue;
    const tell = (what: string) => problems.push(`${name} (${action}) ${what}: ${JSON.stringify(runs)}`);
    const isHit = runs.some((run, index) => isKilled(run, runs[index + 1], kills));
    const fails = runs.filter(({ hasFailed }) => hasFailed).length;
    const copies = filed.filter((other) => other === name).length;
    if (action === "fails") {
      if (copies === 0) tell("is lost");
      if (copies > 1 && !isHit) tell(`is ${copies} times in the failure transport, without a cause`);
      if (fails !== ATTEMPTS && !isHit) tell(`has failed ${fails} times`);
      continue;
    }
    if (copies > 0) tell("is in the failure transport");
    if (!runs.some(({ endMs, hasFailed }) => endMs !== undefined && !hasFailed)) tell("is lost");
    for (const [index, run] of runs.entries()) {
      const next = runs[index + 1];
      if (next !== undefined && !run.hasFailed && !isKilled(run, next, kills)) {
        tell("ran again without a cause");
      }
    }
  }
  const names = new Set(produced.map(({ name }) => name));
  return [
    ...problems,
    ...filed.filter((name) => !names.has(name)).map((name) => `nobody has produced ${name}`),
  ];
}

/**
 * Whether something that a run needs was killed before its outcome was in the table: until then it holds the lease. A request that
 * was on its way when its worker died runs a little later.
 */
function isKilled({ beginMs, endMs }: Run, next: Run | undefined, kills: readonly Kill[]): boolean {
  const untilMs = endMs === undefined ? next?.beginMs ?? Infinity : endMs + LEASE_MS;
  return kills.some(({ atMs, backMs }) => atMs <= untilMs && backMs + LEASE_MS >= beginMs);
}
