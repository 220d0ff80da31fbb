/**
 * The soak: two workers under a real supervisord, with a real php-fpm and each broker, run mixed jobs while workers,
 * children of php-fpm, php-fpm and the broker are killed, reloaded and restarted at random, a database fails over, stands
 * still or ends all connections, the clock steps by more than a lease, nobody reads the logs for longer than a lease, and a
 * backup takes the place of the embedded queue's file.
 *
 * What it proves: each job whose push was confirmed ran to a good end, or is among the dead letters, or is still in the
 * queue; each job that ran twice did so for a cause that is known; the memory and the descriptors of a worker that lives
 * through all of it stay flat; every orderly stop ends within its deadline. A ledger outside broker, worker and PHP says what
 * ran, and when, so nothing that the worker believes counts.
 *
 * `deno task soak [--quick] [--write] [--jobs N] [--seed N] [sqlite] [redis] [beanstalkd] [postgres] [mysql]`;
 * all unless named. It exits with 1 when something is not as it is to be, and leaves its folder then. `--write` puts the
 * result of each broker into benchmarks/results/soak_BROKER.md. Needs what `scripts/setup test` installs, and
 * `scripts/compile`.
 */
import { openBroker } from "../src/app/assembly.ts";
import { parseConfig } from "../src/config/load.ts";
import { systemClock } from "../src/core/time/clock.ts";
import { aliveIn, type QueueDepth } from "../src/core/admin.ts";
import { eventually } from "../tests/support/eventually.ts";
import { PhpFpm } from "../tests/support/php_fpm.ts";
import { SeededRandom } from "../tests/support/seeded_random.ts";
import { conditions, Report } from "./report.ts";
import { BROKERS } from "./soak/brokers.ts";
import { Chaos, RELOADED, STOPPED } from "./soak/chaos.ts";
import { type Doubles, doublesOf, NO_CAUSE } from "./soak/doubles.ts";
import { type Balance, Ledger } from "./soak/ledger.ts";
import { Pusher } from "./soak/pusher.ts";
import { Runs } from "./soak/runs.ts";
import { quarters, type Sample, sample } from "./soak/samples.ts";
import {
  CHILDREN,
  clockOf,
  ENDS_CHILDREN,
  SHUTDOWN_TIMEOUT_MS,
  STOP_WAIT_MS,
  Workers,
} from "./soak/workers.ts";

const isQuick = Deno.args.includes("--quick");
/** At least; jobs go in until everything has gone wrong once. */
const JOBS = numberAfter("--jobs") ?? (isQuick ? 20_000 : 500_000);
/** Between two pieces of bad luck, on average. */
const PAUSE_MS = isQuick ? 1_000 : 3_000;
/** Jobs in the queue at most, so that it does not only grow. */
const MAX_READY = isQuick ? 5_000 : 20_000;
/** Until what is left has run: leases have to end, and Sidekiq's retries wait. */
const SETTLE_MS = 240_000;
/** Flat: in the last quarter of the time at most so many times what it was in the second, when it was warm. */
const MAX_GROWTH = { residentMib: 1.2, descriptors: 1.2 };

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
  const clock = clockOf(folder);
  await Deno.writeTextFile(clock.file, "+0\n");
  await using broker = await BROKERS[name]!(folder);
  await using fpm = await PhpFpm.start({
    children: CHILDREN,
    statusListen: true,
    poolLines: ["pm.max_requests = 5000"],
    globalLines: ["process_control_timeout = 5s"],
    env: clock.env,
  });
  await using runs = new Runs(`${folder}/ledger.sock`);
  await using workers = await Workers.start(folder, broker, fpm, runs.socket);
  const config = await parseConfig(
    await Deno.readTextFile(workers.configFile("steady")),
    workers.configFile("steady"),
    { env: () => undefined },
  );
  await using pusher = new Pusher(() => openBroker(config, "default", systemClock), broker);

  const startedMs = performance.now();
  const seconds = () => ((performance.now() - startedMs) / 1_000).toFixed(1);
  const ledger = new Ledger();
  const steadyPid = await workers.pid("steady");
  await workers.pid("victim");
  const chaos = new Chaos({
    workers,
    fpm,
    broker,
    folder,
    random: new SeededRandom(seed),
    withoutPushes: (act) => pusher.withoutPushes(act),
    note: (line) => report.note(`${seconds()} s, ${ledger.confirmed} jobs: ${line}`),
  });
  const samples: Sample[] = [];
  const sampler = setInterval(async () => {
    const now = await sample(steadyPid);
    if (now !== undefined) samples.push(now);
  }, 1_000);

  let isPushed = false;
  const isEnough = () => ledger.confirmed >= JOBS && chaos.isRound;
  const pushing = pusher.pushUntil(isEnough, MAX_READY, ledger).finally(() => isPushed = true);
  await Promise.all([pushing, chaos.run(() => isPushed, PAUSE_MS)]);
  const pushedS = Number(seconds());
  const isEmpty = async () => queuedOf(await pusher.depth()) === 0;
  await eventually("the queue is empty", isEmpty, SETTLE_MS).catch((error) => report.note(String(error)));
  const totalS = Number(seconds());
  clearInterval(sampler);
  const end = await pusher.depth();
  const livedThrough = await workers.pid("steady") === steadyPid;
  chaos.drainsMs.push(await workers.stop("steady"), await workers.stop("victim"));

  const balance = ledger.balance(runs.byJob, await pusher.deadLetters());
  const doubles = doublesOf(runs.byJob, chaos.troubles);
  const memory = quarters(samples, "residentMib");
  const descriptors = quarters(samples, "descriptors");
  const longestDrainMs = Math.max(...chaos.drainsMs);
  const complaints = await workers.complaints();

  // To look further into a double.
  const again = [...runs.byJob].filter(([, of]) => of.length > 1);
  await Deno.writeTextFile(`${folder}/again.json`, JSON.stringify({ again, troubles: chaos.troubles }));

  sayBalance(report, balance);
  sayDoubles(report, doubles);
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

  const queued = queuedOf(end);
  return [
    ...(balance.left.length > (queued ?? 0)
      ? [
        `LOST: ${balance.left.length} jobs are neither done nor dead, ${queued} are queued; the first: ${
          balance.left.slice(0, 20).join(", ")
        }`,
      ]
      : []),
    ...(balance.deadInVain.length > 0
      ? [`DEAD, although they can be done: jobs ${balance.deadInVain.slice(0, 20).join(", ")}`]
      : []),
    ...(queued !== 0 ? [`NOT DONE after ${SETTLE_MS / 1_000} s: ${JSON.stringify(end)}`] : []),
    ...complaint("RUN TWICE without a known cause", doubles.filter(({ cause }) => cause === NO_CAUSE)),
    ...complaint(
      "RUN BESIDE ITSELF after an orderly stop of a worker that ends the PHP of what it puts back",
      doubles.filter(({ isBeside, cause, worker }) =>
        isBeside && ENDS_CHILDREN.has(worker) && (cause === STOPPED || cause === RELOADED)
      ),
    ),
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

/** Jobs that are still to be done. */
function queuedOf(depth: QueueDepth | undefined): number | undefined {
  return depth && aliveIn(depth);
}

function complaint(what: string, doubles: readonly Doubles[]): string[] {
  if (doubles.length === 0) return [];
  const told = doubles.map(({ kind, times, example: [job, ...runs] }) =>
    `${times} ${kind}, such as job ${job}: ${runs.map((run) => JSON.stringify(run)).join(" and ")}`
  );
  return [`${what}: ${told.join("; ")}`];
}

function sayBalance(report: Report, balance: Balance): void {
  const { confirmed, done, dead, deadInVain, left, unconfirmed, unconfirmedThere } = balance;
  report.say("| jobs | |\n|---|---|");
  report.say(`| pushed and confirmed | ${confirmed} |`);
  report.say(`| done | ${done} |`);
  report.say(`| dead; of these can be done | ${dead}; ${deadInVain.length} |`);
  report.say(`| neither | ${left.length} |`);
  report.say(`| pushes without an answer; of these jobs are there | ${unconfirmed}; ${unconfirmedThere} |`);
  report.say(`| runs | ${balance.runs} |`);
  report.say(`| done, and dead as well | ${balance.doneAndDead} |`);
}

function sayDoubles(report: Report, doubles: readonly Doubles[]): void {
  report.say("\n| ran again: kind of job | cause | PHP could tell | beside itself | worker | times |");
  report.say("|---|---|---|---|---|---|");
  const yes = (is: boolean) => is ? "yes" : "no";
  for (const { kind, cause, isTold, isBeside, worker, times } of doubles) {
    report.say(`| ${kind} | ${cause} | ${yes(isTold)} | ${yes(isBeside)} | ${worker} | ${times} |`);
  }
}
