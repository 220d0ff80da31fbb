/**
 * Two binaries of the worker beside each other: is the new one as cheap as the old one? For each broker, pairs of windows of
 * time in which the worker's CPU time and its settled jobs are counted, each worker on a full queue of null jobs and a php-fpm
 * of its own. The windows of a pair are cut into slices of a second that take turns (SIGSTOP, SIGCONT): a machine becomes slower
 * or faster within seconds, and then both do. The ratio is taken pair by pair, and its 95 % interval is that of the mean of its
 * logarithm (Student's t).
 *
 * `deno task bench:compare --old FILE [--new FILE] [--pairs N] [--seconds N] [--write] [sqlite] [redis] [batches]`; `--new` is
 * dist/fervo-worker when absent; `--write` puts the result into benchmarks/results/compare.md. Needs redis-server.
 */
import { eventually } from "../tests/support/eventually.ts";
import { ask } from "../tests/support/http.ts";
import { PhpFpm } from "../tests/support/php_fpm.ts";
import { RedisServer } from "../tests/support/redis_server.ts";
import { conditions, Report, spread } from "./report.ts";

const CHILDREN = 8;
const QUEUE = "bench";
const scriptPath = (name: string) => new URL(name, import.meta.url).pathname;
/** Of the scenario with batches, on the embedded queue. */
const BATCH_SIZE = 20;
/** Until code is compiled and connections are there. */
const WARM_UP_MS = 2_000;
/** More than any worker settles in a second on two cores. */
const JOBS_PER_SECOND = 20_000;
const BATCHED_JOBS_PER_SECOND = 50_000;
const STOP_DEADLINE_MS = 20_000;
/** How long one of the two runs before it is the other's turn. */
const SLICE_MS = 1_000;

interface Side {
  /** CPU time of the worker for a job, microseconds. */
  readonly cpuUs: number;
  readonly perSecond: number;
  readonly residentMib: number;
  /** The part of it that is its own: pages of the binary, and of files, are shared with whoever else has them. */
  readonly ownMib: number;
}

interface BenchBroker extends AsyncDisposable {
  readonly table: string;
  /** Of the consumer; 1 when absent. */
  readonly batchSize?: number;
  /** Puts this many jobs into the queue; for `binary`, which may not know what a newer one makes. */
  fill(jobs: number, binary: string, config: string): Promise<void>;
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
const BROKERS: Readonly<Record<string, () => Promise<BenchBroker>>> = { sqlite, redis, batches };

/** One binary on a queue that stays full; it runs only in its slices. */
class BenchWorker implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #http: string;
  #ranMs = 0;
  #from = { cpuNs: 0, jobs: 0 };
  #to = { cpuNs: 0, jobs: 0 };

  private constructor(process: Deno.ChildProcess, http: string) {
    this.#process = process;
    this.#http = http;
  }

  /** It is warm then, and halted. */
  static async start(binary: string, broker: BenchBroker, fpm: PhpFpm): Promise<BenchWorker> {
    const http = `${folder}/${crypto.randomUUID()}.sock`;
    const config = `${http}.toml`;
    const { batchSize = 1 } = broker;
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
script = "${scriptPath(batchSize === 1 ? "null_job.php" : "null_batch.php")}"
status_path = "${fpm.statusPath}"
status_address = "${fpm.statusAddress}"
[[consumers]]
queues = ["${QUEUE}"]
concurrency = ${CHILDREN}
batch_size = ${batchSize}
`,
    );
    await broker.fill(
      (batchSize === 1 ? JOBS_PER_SECOND : BATCHED_JOBS_PER_SECOND) * (SECONDS + WARM_UP_MS / 1_000),
      binary,
      config,
    );
    const process = new Deno.Command(binary, { args: ["run", "--config", config], stdout: "null" }).spawn();
    const worker = new BenchWorker(process, http);
    await eventually("the worker has settled jobs", async () => await settled(http).catch(() => 0) > 0);
    await pause(WARM_UP_MS);
    process.kill("SIGSTOP");
    return worker;
  }

  /** Runs for one slice; the window begins in the first one, and ends in the last. */
  async slice({ isFirst, isLast }: { isFirst: boolean; isLast: boolean }): Promise<void> {
    this.#process.kill("SIGCONT");
    if (isFirst) this.#from = await this.#read();
    const startMs = performance.now();
    await pause(SLICE_MS);
    if (isLast) this.#to = await this.#read();
    this.#ranMs += performance.now() - startMs;
    this.#process.kill("SIGSTOP");
  }

  /** What its window has shown. */
  async end(): Promise<Side> {
    const jobs = this.#to.jobs - this.#from.jobs;
    const status = await Deno.readTextFile(`/proc/${this.#process.pid}/status`);
    return {
      cpuUs: (this.#to.cpuNs - this.#from.cpuNs) / 1_000 / jobs,
      perSecond: jobs / this.#ranMs * 1_000,
      residentMib: Number(/^VmRSS:\s+(\d+)/m.exec(status)![1]) / 1_024,
      ownMib: Number(/^RssAnon:\s+(\d+)/m.exec(status)![1]) / 1_024,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGCONT");
    this.#process.kill("SIGTERM");
    const tooLate = setTimeout(() => this.#process.kill("SIGKILL"), STOP_DEADLINE_MS);
    await this.#process.status;
    clearTimeout(tooLate);
  }

  async #read(): Promise<{ cpuNs: number; jobs: number }> {
    return { cpuNs: await cpuNs(this.#process.pid), jobs: await settled(this.#http) };
  }
}

const report = new Report("Old against new");
report.say(await conditions());
{
  const options = { children: CHILDREN, statusListen: true };
  await using oldFpm = await PhpFpm.start(options);
  await using newFpm = await PhpFpm.start(options);
  const chosen = Object.keys(BROKERS).filter((name) => Deno.args.includes(name));
  for (const name of chosen.length > 0 ? chosen : Object.keys(BROKERS)) await compare(name, oldFpm, newFpm);
}
await Deno.remove(folder, { recursive: true });
if (Deno.args.includes("--write")) await report.write(new URL("results/compare.md", import.meta.url));

async function compare(name: string, oldFpm: PhpFpm, newFpm: PhpFpm): Promise<void> {
  report.say(
    `\n## ${name}: ${PAIRS} pairs of ${SECONDS} s in slices of ${SLICE_MS / 1_000} s, null jobs${
      name === "batches" ? `, ${BATCH_SIZE} in a request` : ""
    }, ${CHILDREN} children, ` +
      `${CHILDREN} slots\n`,
  );
  const pairs: { old: Side; new: Side }[] = [];
  for (let pair = 0; pair < PAIRS; pair++) {
    await using oldBroker = await BROKERS[name]!();
    await using newBroker = await BROKERS[name]!();
    await using old = await BenchWorker.start(OLD!, oldBroker, oldFpm);
    await using now = await BenchWorker.start(NEW, newBroker, newFpm);
    const slices = Math.ceil(SECONDS * 1_000 / SLICE_MS);
    for (let slice = 0; slice < slices; slice++) {
      for (const worker of (pair + slice) % 2 === 0 ? [old, now] : [now, old]) {
        await worker.slice({ isFirst: slice === 0, isLast: slice === slices - 1 });
      }
    }
    const [before, after] = [await old.end(), await now.end()];
    pairs.push({ old: before, new: after });
    report.note(
      `${name} ${pair + 1}: CPU ${before.cpuUs.toFixed(1)} ${after.cpuUs.toFixed(1)} µs a job, ` +
        `${before.perSecond.toFixed(0)} ${after.perSecond.toFixed(0)} jobs/s`,
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
  row("its own, MiB", ({ ownMib }) => ownMib, 0);
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
  const queue = await Deno.makeTempDir({ dir: folder });
  return {
    table: `driver = "sqlite"\npath = "${queue}/queue.sqlite"`,
    fill: async (jobs, binary, config) => {
      const args = ["push", QUEUE, '{"n":1}', "--count", String(jobs), "--config", config];
      const { success } = await new Deno.Command(binary, { args, stdout: "null", stderr: "null" }).output();
      if (!success) throw new Error(`${binary} cannot push into the embedded queue`);
    },
    [Symbol.asyncDispose]: () => Deno.remove(queue, { recursive: true }),
  };
}

async function batches(): Promise<BenchBroker> {
  return { ...await sqlite(), batchSize: BATCH_SIZE };
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

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
