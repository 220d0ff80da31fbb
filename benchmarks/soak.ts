/**
 * The soak: two workers under a real supervisord, with a real php-fpm and each broker, run mixed jobs while workers,
 * children of php-fpm, php-fpm and the broker are killed, reloaded and restarted at random.
 *
 * What it proves: each job whose push was confirmed ran to a good end, or is among the dead letters, or is still in the
 * queue; the memory and the descriptors of a worker that lives through all of it stay flat; every orderly stop ends within
 * its deadline. Jobs write down what they have decided before PHP answers, so nothing that the worker believes counts.
 *
 * `deno task soak [--quick] [--write] [--jobs N] [--seed N] [sqlite] [redis] [beanstalkd]`; all three unless named. It
 * exits with 1 when something is not as it is to be, and leaves its folder then. `--write` puts the result of each broker
 * into benchmarks/results/soak_BROKER.md. Needs supervisor, redis-server and beanstalkd: `scripts/setup test`; and
 * `scripts/compile`.
 */
import { openBroker } from "../src/app.ts";
import { parseConfig } from "../src/config/load.ts";
import { sleep, systemClock } from "../src/core/clock.ts";
import type { DeadLetter, Driver, QueueDepth } from "../src/core/driver.ts";
import { newJob } from "../src/worker/new_job.ts";
import { eventually } from "../tests/support/eventually.ts";
import { PhpFpm } from "../tests/support/php_fpm.ts";
import { SeededRandom } from "../tests/support/seeded_random.ts";
import { conditions, Report } from "./report.ts";
import { BROKERS, type SoakBroker } from "./soak/brokers.ts";
import { Chaos } from "./soak/chaos.ts";
import { payloadOf } from "./soak/jobs.ts";
import { type Balance, Ledger } from "./soak/ledger.ts";
import { quarters, type Sample, sample } from "./soak/samples.ts";
import { CHILDREN, QUEUE, SHUTDOWN_TIMEOUT_MS, STOP_WAIT_MS, Workers } from "./soak/workers.ts";

const isQuick = Deno.args.includes("--quick");
/** At least; jobs go in until everything has gone wrong once. */
const JOBS = numberAfter("--jobs") ?? (isQuick ? 20_000 : 500_000);
/** Between two pieces of bad luck, on average. */
const PAUSE_MS = isQuick ? 1_000 : 3_000;
const PUSH_TOGETHER = 500;
/** Jobs in the queue at most, so that it does not only grow. */
const MAX_READY = isQuick ? 5_000 : 20_000;
/** Until what is left has run: leases have to end, and Sidekiq's retries wait. */
const SETTLE_MS = 240_000;
/** Flat: in the last quarter of the time at most so many times what it was in the second, when it was warm. */
const MAX_GROWTH = { residentMib: 1.2, descriptors: 1.2 };
/**
 * Kinds of jobs that run twice as the same attempt: those that kill PHP on a kept connection (docs/adr/0003), and those
 * that a stop or a reload cuts off, for php-fpm ends no request that its client has left.
 */
const REPEATING_KINDS = new Set(["crashes", "long"]);
const DEAD_PAGE = 1_000;

const seed = numberAfter("--seed") ?? Date.now() % 1_000_000;
const named = Object.keys(BROKERS).filter((name) => Deno.args.includes(name));
let isGood = true;
for (const name of named.length > 0 ? named : Object.keys(BROKERS)) {
  if (!await soak(name)) isGood = false;
}
Deno.exitCode = isGood ? 0 : 1;

/** The number behind an option; undefined when that is not there. */
function numberAfter(option: string): number | undefined {
  const at = Deno.args.indexOf(option);
  return at < 0 ? undefined : Number(Deno.args[at + 1]);
}

async function soak(name: string): Promise<boolean> {
  const report = new Report(`The soak: ${name}`);
  report.say(await conditions());
  const chosen = `${isQuick ? "--quick " : ""}--jobs ${JOBS} --seed ${seed} ${name}`;
  report.say(`\n\`deno task soak ${chosen}\`\n`);
  // Not in /tmp, which many systems keep in memory.
  const folder = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "fervo-soak-" });
  const faults = await run(name, folder, report);
  for (const fault of faults) report.say(`\n**${fault}**`);
  if (Deno.args.includes("--write")) {
    await report.write(new URL(`results/soak_${name}.md`, import.meta.url));
  }
  if (faults.length === 0) await Deno.remove(folder, { recursive: true });
  else report.note(`What the workers said, and what ran: ${folder}`);
  return faults.length === 0;
}

/** Returns what is not as it is to be. */
async function run(name: string, folder: string, report: Report): Promise<string[]> {
  await using broker = await BROKERS[name]!(folder);
  await using fpm = await PhpFpm.start({
    children: CHILDREN,
    statusListen: true,
    poolLines: ["pm.max_requests = 5000"],
    globalLines: ["process_control_timeout = 5s"],
  });
  await using workers = await Workers.start(folder, broker, fpm);
  const config = await parseConfig(
    await Deno.readTextFile(workers.configFile("steady")),
    workers.configFile("steady"),
    { env: () => undefined },
  );
  await using opened = openBroker(config, "default", systemClock);
  const { driver, dialect } = opened;

  const startedMs = performance.now();
  const seconds = () => ((performance.now() - startedMs) / 1_000).toFixed(1);
  const ledger = new Ledger();
  const steadyPid = await workers.pid("steady");
  await workers.pid("victim");
  const chaos = new Chaos({
    workers,
    fpm,
    broker,
    random: new SeededRandom(seed),
    note: (line) => report.note(`${seconds()} s, ${ledger.confirmed} jobs: ${line}`),
  });
  const samples: Sample[] = [];
  const sampler = setInterval(async () => {
    const now = await sample(steadyPid);
    if (now !== undefined) samples.push(now);
  }, 1_000);

  let isPushed = false;
  const isEnough = () => ledger.confirmed >= JOBS && chaos.isRound;
  const pushing = pushUntil(isEnough, { driver, dialect, broker, ledger }).finally(() => isPushed = true);
  await Promise.all([pushing, chaos.run(() => isPushed, PAUSE_MS)]);
  const pushedS = Number(seconds());
  await eventually("the queue is empty", async () => queuedOf(await driver.depth(QUEUE)) === 0, SETTLE_MS)
    .catch((error) => {
      report.note(String(error));
    });
  const totalS = Number(seconds());
  clearInterval(sampler);
  const end = await driver.depth(QUEUE).catch(() => undefined);
  const livedThrough = await workers.pid("steady") === steadyPid;
  chaos.drainsMs.push(await workers.stop("steady"), await workers.stop("victim"));

  const letters = await allDead(driver);
  const balance = ledger.balance(await Deno.readTextFile(workers.runs), letters);
  const memory = quarters(samples, "residentMib");
  const descriptors = quarters(samples, "descriptors");
  const longestDrainMs = Math.max(...chaos.drainsMs);
  const complaints = await workers.complaints();

  sayBalance(report, balance);
  report.say(
    `\nJobs went in for ${pushedS} s, and all had run after ${totalS} s: ${
      Math.round(balance.runs / totalS)
    } runs a second, bad luck included.`,
  );
  report.say("\n| what went wrong | times |\n|---|---|");
  for (const [what, times] of chaos.done) report.say(`| ${what} | ${times} |`);
  report.say(
    "\n| the worker that lived through it, by quarters of the time | | | | |\n|---|---|---|---|---|",
  );
  report.say(`| resident, MiB | ${memory.map((value) => value.toFixed(0)).join(" | ")} |`);
  report.say(`| descriptors | ${descriptors.join(" | ")} |`);
  report.say(
    `\n${chaos.drainsMs.length} orderly stops, the longest ${longestDrainMs.toFixed(0)} ms; ` +
      `\`shutdown_timeout_ms\` is ${SHUTDOWN_TIMEOUT_MS}, supervisord kills after ${STOP_WAIT_MS} ms.`,
  );
  report.say("\n| what the workers warned of | times |\n|---|---|");
  for (const { what, times } of complaints) report.say(`| ${what.replaceAll("|", "\\|")} | ${times} |`);

  const queued = end && queuedOf(end);
  const repeated = [...balance.repeatedAttempts].reduce(
    (sum, [kind, times]) => REPEATING_KINDS.has(kind) ? sum : sum + times,
    0,
  );
  return [
    ...(balance.left.length > (queued ?? 0)
      ? [
        `LOST: ${balance.left.length} jobs are neither done nor dead, ${queued} are queued; the first: ${
          balance.left.slice(0, 20).join(", ")
        }`,
      ]
      : []),
    ...(queued !== 0 ? [`NOT DONE after ${SETTLE_MS / 1_000} s: ${JSON.stringify(end)}`] : []),
    // A job that had decided when its PHP was ended.
    ...(!broker.forgetsAttempts && repeated > chaos.childrenEnded
      ? [`RUN TWICE as the same attempt without a reason: ${repeated} jobs`]
      : []),
    ...(longestDrainMs >= STOP_WAIT_MS ? ["A STOP TOOK SO LONG that supervisord killed the worker"] : []),
    ...(livedThrough ? [] : ["THE STEADY WORKER HAS ENDED by itself"]),
    ...complaints.filter(({ isLogged }) => !isLogged).map(({ what }) => `NO LINE OF THE LOG: ${what}`),
    // A quick run ends before the worker is warm.
    ...(!isQuick && grew(memory, MAX_GROWTH.residentMib) ? ["MEMORY GREW"] : []),
    ...(grew(descriptors, MAX_GROWTH.descriptors) ? ["DESCRIPTORS GREW"] : []),
  ];
}

function grew([, warm, , end]: readonly number[], factor: number): boolean {
  return !(end! <= warm! * factor);
}

async function pushUntil(
  isEnough: () => boolean,
  { driver, dialect, broker, ledger }: {
    driver: Driver;
    dialect: Parameters<typeof newJob>[0];
    broker: SoakBroker;
    ledger: Ledger;
  },
): Promise<void> {
  const utf8 = new TextEncoder();
  let number = 0;
  while (!isEnough()) {
    const depth = await driver.depth(QUEUE).catch(() => undefined);
    if (depth === undefined || depth.ready > MAX_READY) {
      await sleep(systemClock, 50);
      continue;
    }
    await Promise.all(Array.from({ length: PUSH_TOGETHER }, async () => {
      const own = number++;
      const payload = utf8.encode(broker.message(payloadOf(own)));
      const nowMs = Date.now();
      const { message, options } = newJob(dialect, { payload, priority: 0, attempts: undefined, nowMs });
      try {
        await driver.push(QUEUE, message, options);
        ledger.confirm(own);
      } catch {
        ledger.doubt(own);
      }
    }));
  }
}

/** Jobs that are still to be done. */
function queuedOf({ ready, delayed, reserved }: QueueDepth): number {
  return ready + delayed + reserved;
}

async function allDead(driver: Driver): Promise<DeadLetter[]> {
  const letters: DeadLetter[] = [];
  for (;;) {
    const afterId = letters.at(-1)?.id;
    const page = await driver.dead.list({
      queue: QUEUE,
      limit: DEAD_PAGE,
      ...(afterId !== undefined && { afterId }),
    });
    letters.push(...page);
    if (page.length < DEAD_PAGE) return letters;
  }
}

function sayBalance(report: Report, balance: Balance): void {
  const { confirmed, done, dead, left, unconfirmed, unconfirmedThere } = balance;
  report.say("| jobs | |\n|---|---|");
  report.say(`| pushed and confirmed | ${confirmed} |`);
  report.say(`| done | ${done} |`);
  report.say(`| dead | ${dead} |`);
  report.say(`| neither | ${left.length} |`);
  report.say(`| pushes without an answer; of these jobs are there | ${unconfirmed}; ${unconfirmedThere} |`);
  report.say(`| runs | ${balance.runs} |`);
  report.say(`| done again, as a later attempt | ${balance.laterAttempts} |`);
  for (const [kind, times] of balance.repeatedAttempts) {
    report.say(`| run twice as the same attempt: ${kind} | ${times} |`);
  }
  report.say(`| done, and dead as well | ${balance.doneAndDead} |`);
}
