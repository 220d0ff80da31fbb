/**
 * Two binaries of the worker beside each other: is the new one as cheap as the old one? For each broker, pairs of runs in
 * turn, each on a queue filled with null jobs, on the same php-fpm; of each run a warm-up, then a window of time in which
 * the worker's CPU time and its settled jobs are counted. The ratio is taken pair by pair, and its 95 % interval is that of
 * the mean of its logarithm (Student's t).
 *
 * `deno task bench:compare --old FILE [--new FILE] [--pairs N] [--seconds N] [--write] [sqlite] [redis]`; `--new` is
 * dist/fervo-worker when absent; `--write` puts the result into benchmarks/results/compare.md. Needs redis-server.
 */
import { eventually } from "../tests/support/eventually.ts";
import { ask } from "../tests/support/http.ts";
import { PhpFpm } from "../tests/support/php_fpm.ts";
import { RedisServer } from "../tests/support/redis_server.ts";
import { conditions, Report, spread } from "./report.ts";

const CHILDREN = 8;
const QUEUE = "bench";
const SCRIPT = new URL("null_job.php", import.meta.url).pathname;
/** Until code is compiled and connections are there. */
const WARM_UP_MS = 2_000;
/** More than any worker settles in a second on two cores. */
const JOBS_PER_SECOND = 20_000;
const STOP_DEADLINE_MS = 20_000;

interface Side {
  /** CPU time of the worker for a job, microseconds. */
  readonly cpuUs: number;
  readonly perSecond: number;
  readonly residentMib: number;
}

interface BenchBroker extends AsyncDisposable {
  readonly table: string;
  /** Puts so many jobs into the queue; for `binary`, which may not know what a newer one makes. */
  fill(jobs: number, binary: string, config: string): Promise<void>;
  empty(): Promise<void>;
}

const valueOf = (option: string) => {
  const at = Deno.args.indexOf(option);
  return at < 0 ? undefined : Deno.args[at + 1];
};
const OLD = valueOf("--old");
if (OLD === undefined) throw new Error("Name the binary to compare with: --old FILE");
const NEW = valueOf("--new") ?? new URL("../dist/fervo-worker", import.meta.url).pathname;
const PAIRS = Number(valueOf("--pairs") ?? 21);
const SECONDS = Number(valueOf("--seconds") ?? 10);

const folder = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "fervo-compare-" });
const BROKERS: Readonly<Record<string, () => Promise<BenchBroker>>> = { sqlite, redis };

const report = new Report("Old against new");
report.say(await conditions());
{
  await using fpm = await PhpFpm.start({ children: CHILDREN, statusListen: true });
  const chosen = Object.keys(BROKERS).filter((name) => Deno.args.includes(name));
  for (const name of chosen.length > 0 ? chosen : Object.keys(BROKERS)) await compare(name, fpm);
}
await Deno.remove(folder, { recursive: true });
if (Deno.args.includes("--write")) await report.write(new URL("results/compare.md", import.meta.url));

async function compare(name: string, fpm: PhpFpm): Promise<void> {
  await using broker = await BROKERS[name]!();
  report.say(
    `\n## ${name}: ${PAIRS} pairs of ${SECONDS} s, null jobs, ${CHILDREN} children, ${CHILDREN} slots\n`,
  );
  const pairs: { old: Side; new: Side }[] = [];
  for (let pair = 0; pair < PAIRS; pair++) {
    // In turn who is first: a machine that becomes slower or faster meanwhile is nobody's fault.
    const sides = { old: OLD!, new: NEW };
    const order = pair % 2 === 0 ? ["old", "new"] as const : ["new", "old"] as const;
    const measured: Partial<Record<"old" | "new", Side>> = {};
    for (const side of order) measured[side] = await run(sides[side], broker, fpm);
    pairs.push(measured as { old: Side; new: Side });
    const { old, new: now } = pairs.at(-1)!;
    report.note(
      `${name} ${pair + 1}: CPU ${old.cpuUs.toFixed(1)} ${now.cpuUs.toFixed(1)} µs a job, ` +
        `${old.perSecond.toFixed(0)} ${now.perSecond.toFixed(0)} jobs/s`,
    );
  }
  report.say("| | old | new | new / old, pair by pair | 95 % interval of the ratio |");
  report.say("|---|---|---|---|---|");
  const row = (what: string, of: (side: Side) => number, digits: number) => {
    const ratios = pairs.map((pair) => of(pair.new) / of(pair.old));
    const { low, middle, high } = interval(ratios);
    report.say(
      `| ${what} | ${spread(pairs.map((pair) => of(pair.old)), digits)} | ` +
        `${spread(pairs.map((pair) => of(pair.new)), digits)} | ${spread(ratios, 3)} | ` +
        `${middle.toFixed(3)} (${low.toFixed(3)}–${high.toFixed(3)}) |`,
    );
  };
  row("CPU, µs a job", ({ cpuUs }) => cpuUs, 1);
  row("jobs/s", ({ perSecond }) => perSecond, 0);
  row("resident, MiB", ({ residentMib }) => residentMib, 0);
}

/** One binary on a queue that stays full. */
async function run(binary: string, broker: BenchBroker, fpm: PhpFpm): Promise<Side> {
  const http = `${folder}/http.sock`;
  const config = `${folder}/fervo-worker.toml`;
  await Deno.writeTextFile(
    config,
    `
[log]
level = "warn"
[http]
listen = "${http}"
[control]
socket = ""
[brokers.default]
${broker.table}
[fpm.default]
address = "${fpm.address}"
script = "${SCRIPT}"
status_path = "${fpm.statusPath}"
status_address = "${fpm.statusAddress}"
[[consumers]]
queues = ["${QUEUE}"]
concurrency = ${CHILDREN}
`,
  );
  await broker.fill(JOBS_PER_SECOND * (SECONDS + WARM_UP_MS / 1_000), binary, config);
  const worker = new Deno.Command(binary, { args: ["run", "--config", config], stdout: "null" }).spawn();
  try {
    await eventually("the worker has settled jobs", async () => await settled(http).catch(() => 0) > 0);
    await pause(WARM_UP_MS);
    const [cpuBefore, jobsBefore, beforeMs] = [
      await cpuNs(worker.pid),
      await settled(http),
      performance.now(),
    ];
    await pause(SECONDS * 1_000);
    const [cpuAfter, jobsAfter, afterMs] = [await cpuNs(worker.pid), await settled(http), performance.now()];
    const jobs = jobsAfter - jobsBefore;
    const status = await Deno.readTextFile(`/proc/${worker.pid}/status`);
    return {
      cpuUs: (cpuAfter - cpuBefore) / 1_000 / jobs,
      perSecond: jobs / (afterMs - beforeMs) * 1_000,
      residentMib: Number(/^VmRSS:\s+(\d+)/m.exec(status)![1]) / 1_024,
    };
  } finally {
    worker.kill("SIGTERM");
    const tooLate = setTimeout(() => worker.kill("SIGKILL"), STOP_DEADLINE_MS);
    await worker.status;
    clearTimeout(tooLate);
    await broker.empty();
  }
}

/** Jobs done since its start, by its metrics. */
async function settled(http: string): Promise<number> {
  const { body } = await ask(http, "/metrics");
  let sum = 0;
  for (const [, jobs] of body.matchAll(/^fervo_jobs_total\{[^}]*outcome="ack"[^}]*\} (\d+)/gm)) {
    sum += Number(jobs);
  }
  return sum;
}

/** What all threads of a process have run so far, those that have ended included, nanoseconds. */
async function cpuNs(pid: number): Promise<number> {
  const fields = (await Deno.readTextFile(`/proc/${pid}/stat`)).replace(/^.*\) /, "").split(" ");
  // utime and stime, in ticks of 10 ms: of a window of seconds that is exact enough (proc(5), fields 14 and 15).
  return (Number(fields[11]) + Number(fields[12])) * 1e7;
}

async function sqlite(): Promise<BenchBroker> {
  const path = `${folder}/queue.sqlite`;
  return await Promise.resolve({
    table: `driver = "sqlite"\npath = "${path}"`,
    fill: async (jobs, binary, config) => {
      const args = ["push", QUEUE, '{"n":1}', "--count", String(jobs), "--config", config];
      const { success } = await new Deno.Command(binary, { args, stdout: "null", stderr: "null" }).output();
      if (!success) throw new Error(`${binary} cannot push into the embedded queue`);
    },
    empty: async () => {
      for (const end of ["", "-wal", "-shm"]) await Deno.remove(path + end).catch(ignoreMissing);
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
}

async function redis(): Promise<BenchBroker> {
  const server = await RedisServer.start();
  const job =
    `{"retry":true,"queue":"${QUEUE}","class":"NullJob","args":[1],"jid":"000000000000000000000000",` +
    `"created_at":1700000000.123,"enqueued_at":1700000000.123}`;
  const fill = "for i = 1, tonumber(ARGV[1]) do redis.call('LPUSH', KEYS[1], " +
    "(string.gsub(ARGV[2], '000000000000000000000000', string.format('%024x', i)))) end";
  return {
    table: `driver = "redis"\nurl = "${server.url}"`,
    fill: async (jobs) => {
      await server.cli("SADD", "queues", QUEUE);
      await server.cli("EVAL", fill, "1", `queue:${QUEUE}`, String(jobs), job);
    },
    empty: async () => void await server.cli("FLUSHALL"),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** The mean of ratios by their logarithms, and its 95 % interval. */
function interval(ratios: readonly number[]): { low: number; middle: number; high: number } {
  const logs = ratios.map(Math.log);
  const mean = logs.reduce((sum, value) => sum + value, 0) / logs.length;
  const variance = logs.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (logs.length - 1);
  const half = studentT(logs.length - 1) * Math.sqrt(variance / logs.length);
  return { low: Math.exp(mean - half), middle: Math.exp(mean), high: Math.exp(mean + half) };
}

/** The 97.5 % quantile of Student's t, by the expansion of Cornish and Fisher; within 0.5 % from 4 degrees of freedom on. */
function studentT(freedom: number): number {
  const z = 1.959964;
  const g1 = (z ** 3 + z) / 4;
  const g2 = (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96;
  const g3 = (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384;
  return z + g1 / freedom + g2 / freedom ** 2 + g3 / freedom ** 3;
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
