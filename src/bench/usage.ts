/**
 * The use of PHP's processes, by the kernel's counts (proc(5)). Reading takes a few milliseconds and two short processes, so it
 * is done between measurements, never during one.
 */
import process from "node:process";
import { childTitle, type FpmStatus } from "../fpm/status.ts";
import { readProc } from "../system/proc.ts";

/** CPU time of a group of processes so far, microseconds. */
export interface CpuTotal {
  /** Of live processes, by id: to the nanosecond. */
  readonly liveUs: ReadonlyMap<number, number>;
  /** Of ended and collected processes: to the kernel's tick, a hundredth of a second. */
  readonly endedUs: number;
}

export interface Memory {
  readonly bytes: number;
  /** `pss`: shared pages are counted once; `rss`: for each process, if the kernel says no more. */
  readonly kind: "pss" | "rss";
}

/** Reads the use of a mode's PHP processes; null if the kernel does not report it. */
export interface PhpUsage {
  cpu(): Promise<CpuTotal | null>;
  memory(): Promise<Memory | null>;
}

/** CPU time between two readings, microseconds. */
export function cpuBetween(before: CpuTotal | null, after: CpuTotal | null): number | null {
  if (before === null || after === null) return null;
  const live = sum(after.liveUs) - sum(before.liveUs);
  // Ticks are coarse, and may be of another pool's children: they count only if some of our processes can have ended.
  const haveSomeEnded = before.liveUs.size === 0 ||
    new Set(before.liveUs.keys()).symmetricDifference(new Set(after.liveUs.keys())).size > 0;
  return live + (haveSomeEnded ? after.endedUs - before.endedUs : 0);
}

/** CPU time of this program so far, all its threads, microseconds. */
export function ownCpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/**
 * A php-fpm pool on this machine: its children and their master. The use of ended children (`pm.max_requests`) is in the
 * master's count, together with ended children of its other pools.
 */
export class FpmUsage implements PhpUsage {
  readonly #master: number;
  readonly #title: string;
  readonly #ticksPerS: number;

  private constructor(master: number, title: string, ticksPerS: number) {
    this.#master = master;
    this.#title = title;
    this.#ticksPerS = ticksPerS;
  }

  /**
   * Finds the pool by its status page, or says why its processes cannot be read: the page's process ids are those of php-fpm's
   * own machine or container.
   */
  static async find({ pool, processes }: FpmStatus): Promise<FpmUsage | string> {
    const title = childTitle(pool);
    const ticksPerS = await clockTicks();
    if (ticksPerS === undefined) return 'the system has no "getconf"';
    const pid = processes[0]?.pid;
    if (pid === undefined) return "its status page shows no process";
    const [stat, cmdline] = [`/proc/${pid}/stat`, `/proc/${pid}/cmdline`];
    const texts = await readProc([stat, cmdline]);
    if (!(texts.get(cmdline) ?? "").startsWith(title)) {
      return `its process "${pid}" is not on this machine; it may run in a container`;
    }
    const usage = new FpmUsage(Number(statFields(texts.get(stat)!)[1]), title, ticksPerS);
    const live = (await usage.cpu())?.liveUs.size ?? 0;
    return live < 2 ? "the kernel does not report them" : usage;
  }

  async cpu(): Promise<CpuTotal | null> {
    const children = await this.#children();
    const pids = [this.#master, ...children];
    const stat = `/proc/${this.#master}/stat`;
    const texts = await readProc([stat, ...pids.map((pid) => `/proc/${pid}/schedstat`)]);
    const ended = texts.get(stat);
    if (ended === undefined) return null;
    const liveUs = new Map<number, number>();
    for (const pid of pids) {
      const schedstat = texts.get(`/proc/${pid}/schedstat`);
      if (schedstat !== undefined) liveUs.set(pid, Number(schedstat.split(" ")[0]) / 1_000);
    }
    return { liveUs, endedUs: endedUs(ended, this.#ticksPerS) };
  }

  async memory(): Promise<Memory | null> {
    const pids = [this.#master, ...await this.#children()];
    const files = pids.flatMap((pid) => [`/proc/${pid}/smaps_rollup`, `/proc/${pid}/status`]);
    return memorySum(await printed("grep", ["-aHsE", "^(Pss|VmRSS):", "--", ...files]), new Set());
  }

  /** The children of this pool: the master may have others. A child that has just started still has the master's title. */
  async #children(): Promise<number[]> {
    const pids = await childrenOf(this.#master);
    const titles = await readProc(pids.map((pid) => `/proc/${pid}/cmdline`));
    return pids.filter((pid) => {
      const title = titles.get(`/proc/${pid}/cmdline`) ?? "";
      return title.startsWith(this.#title) || title.startsWith("php-fpm: master");
    });
  }
}

/** This program's child processes, mainly jobs. */
export class ChildUsage implements PhpUsage {
  readonly #except: ReadonlySet<number>;
  readonly #ticksPerS: number;

  private constructor(except: ReadonlySet<number>, ticksPerS: number) {
    this.#except = except;
    this.#ticksPerS = ticksPerS;
  }

  /**
   * Or says why they cannot be read.
   *
   * @param except Process ids of children that are not jobs.
   */
  static async find(except: readonly number[]): Promise<ChildUsage | string> {
    const ticksPerS = await clockTicks();
    if (ticksPerS === undefined) return 'the system has no "getconf"';
    return new ChildUsage(new Set(except), ticksPerS);
  }

  async cpu(): Promise<CpuTotal | null> {
    const path = `/proc/${Deno.pid}/stat`;
    const stat = (await readProc([path])).get(path);
    return stat === undefined ? null : { liveUs: new Map(), endedUs: endedUs(stat, this.#ticksPerS) };
  }

  async memory(): Promise<Memory | null> {
    return memorySum(await printed("sh", ["-c", CHILD_MEMORY_SCRIPT, String(Deno.pid)]), this.#except);
  }
}

/** A program's output. */
async function printed(program: string, args: readonly string[]): Promise<string> {
  const { stdout } = await new Deno.Command(program, {
    args: [...args],
    cwd: "/",
    stdin: "null",
    stderr: "null",
  })
    .output();
  return new TextDecoder().decode(stdout);
}

/** The kernel's ticks a second. */
async function clockTicks(): Promise<number | undefined> {
  try {
    const ticks = Number(await printed("getconf", ["CLK_TCK"]));
    return ticks > 0 ? ticks : undefined;
  } catch {
    return undefined;
  }
}

/** The children of a process's first thread, which starts the others, here and in php-fpm. */
async function childrenOf(pid: number): Promise<number[]> {
  const path = `/proc/${pid}/task/${pid}/children`;
  return ((await readProc([path])).get(path) ?? "").split(" ").filter(Boolean).map(Number);
}

/**
 * Prints the memory of each child of process $0, without this one. A process may live for milliseconds, so one program lists
 * and reads them.
 */
const CHILD_MEMORY_SCRIPT = `
read -r pids </proc/$0/task/$0/children
set --
for pid in $pids; do
  [ $pid = $$ ] || set -- "$@" /proc/$pid/smaps_rollup /proc/$pid/status
done
exec grep -aHsE '^(Pss|VmRSS):' "$@" /dev/null`;

const MEMORY_LINE = /^\/proc\/(\d+)\/\w+:(Pss|VmRSS):\s+(\d+) kB$/gm;

/**
 * Sums the memory of processes; null without any. A process may end between the two files, and one that this user may not read
 * has no Pss.
 *
 * @param lines `grep -H` of smaps_rollup and status.
 */
function memorySum(lines: string, except: ReadonlySet<number>): Memory | null {
  const kibibytes = { Pss: 0, VmRSS: 0 };
  for (const [, pid, name, value] of lines.matchAll(MEMORY_LINE)) {
    if (!except.has(Number(pid))) kibibytes[name as keyof typeof kibibytes] += Number(value);
  }
  if (kibibytes.Pss > 0) return { kind: "pss", bytes: 1_024 * kibibytes.Pss };
  return kibibytes.VmRSS > 0 ? { kind: "rss", bytes: 1_024 * kibibytes.VmRSS } : null;
}

/** The fields of /proc/PID/stat from the third on; the second, the program's name, may be anything. */
function statFields(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

/** cutime and cstime: the 16th and 17th field. */
function endedUs(stat: string, ticksPerS: number): number {
  const fields = statFields(stat);
  return (Number(fields[13]) + Number(fields[14])) * 1_000_000 / ticksPerS;
}

function sum(values: ReadonlyMap<unknown, number>): number {
  return values.values().reduce((total, value) => total + value, 0);
}
