/**
 * A php-fpm of one's own, for tests, benchmarks and the demo: started in the foreground in a private folder, gone with
 * the scope that holds it.
 */
import type { ServerNetwork } from "./forgetful_firewall.ts";
import { reasonOf } from "../../src/core/errors.ts";
import { sleep, systemClock } from "../../src/core/time/clock.ts";
import { FpmControl } from "../../src/fpm/control.ts";
import { parseAddress } from "../../src/fastcgi/address.ts";
import { Connection } from "../../src/fastcgi/connection.ts";
import { DEFAULT_POOL_OPTIONS } from "../../src/fastcgi/pool.ts";
import { readStatus, statusRequest } from "../../src/fpm/status.ts";
import { runProgram } from "./run_program.ts";
import { hasEnded } from "./server_process.ts";

export interface PhpFpmOptions {
  /** Children of the pool, all started at once (`pm = static`). 2 when absent. */
  readonly children?: number;
  /** "unix" when absent. */
  readonly transport?: "unix" | "tcp";
  /** Serve the status page on a socket of its own, {@link PhpFpm.statusAddress}, so that it answers at once. */
  readonly statusListen?: boolean;
  /** Further lines of the pool's section, e.g. `pm.max_requests = 3`. They win over the fixture's own. */
  readonly poolLines?: readonly string[];
  /** Further lines of the `[global]` section, e.g. `process_control_timeout = 0`. They win over the fixture's own. */
  readonly globalLines?: readonly string[];
  /** PHP settings that the pool fixes, e.g. `{ memory_limit: "16M" }`. `display_errors` is off unless given here. */
  readonly ini?: Readonly<Record<string, string>>;
  /** PHP settings of the whole php-fpm, for those that no pool can change, e.g. `{ "opcache.preload": "…" }`. */
  readonly masterIni?: Readonly<Record<string, string>>;
  /** Listens in this network over TCP, with its status page on a socket (`statusListen`), by which it is asked. */
  readonly network?: ServerNetwork;
  /** Further variables of php-fpm's environment. */
  readonly env?: Readonly<Record<string, string>>;
}

/** As in production: errors are logged, which is to STDERR of the request, and not shown. */
const DEFAULT_INI = { display_errors: "off", log_errors: "on" };
/** Compiled scripts are kept as in production, and a script that a test writes anew is still seen at once. */
const DEFAULT_MASTER_INI = {
  "opcache.enable": "1",
  "opcache.revalidate_freq": "0",
  "opcache.file_update_protection": "0",
};
const DEFAULT_CHILDREN = 2;
const START_DEADLINE_MS = 20_000;
const STOP_DEADLINE_MS = 20_000;
const POLL_MS = 10;
const READY_LINE = "ready to handle connections";

/**
 * One php-fpm master with one pool.
 *
 * 1. Finds the machine's php-fpm and runs it as a child process, with all of its files in a folder of its own.
 * 2. Is ready when it is handed out: the pool answers, and the status page counts all of its children.
 * 3. Leaves nothing behind: master, children and folder are gone after the scope, whatever happened in it.
 *
 * ```ts
 * await using fpm = await PhpFpm.start({ children: 1 });
 * const script = await fpm.writeScript("job.php", `<?php echo "done";`);
 * ```
 */
export class PhpFpm implements AsyncDisposable {
  /** Where the pool listens, as `parseAddress` reads it. The same after a restart. */
  readonly address: string;
  /** Where the status page answers: a listener of its own with `statusListen`, else the pool itself. */
  readonly statusAddress: string;
  /** The private folder (mode 0700): sockets, configuration, log, scripts. */
  readonly directory: string;
  /** The pool's name; unique, so that its children can be told from other pools' in the process list. */
  readonly poolName: string;
  readonly statusPath = "/status";
  readonly pingPath = "/ping";
  readonly #binary: string;
  #options: PhpFpmOptions;
  #expectedProcesses: number;
  readonly #masterIni: Readonly<Record<string, string>>;
  #master: Deno.ChildProcess | undefined;
  #startError = Promise.resolve("");

  private constructor(binary: string, directory: string, options: PhpFpmOptions) {
    this.#binary = binary;
    this.#masterIni = options.masterIni ?? {};
    this.#options = options;
    this.#expectedProcesses = expectedProcesses(options);
    this.directory = directory;
    this.poolName = directory.slice(directory.lastIndexOf("/") + 1);
    const { network, transport, statusListen } = options;
    if (network !== undefined) this.address = `${network.host}:9000`;
    else this.address = transport === "tcp" ? `${privateLoopback()}:9000` : `${directory}/fpm.sock`;
    this.statusAddress = statusListen ? `${directory}/status.sock` : this.address;
  }

  /**
   * Starts php-fpm and waits until it answers.
   *
   * @throws {Error} when no php-fpm is installed, with what to install, or when it does not start, with its log.
   */
  static async start(options: PhpFpmOptions = {}): Promise<PhpFpm> {
    const binary = await findPhpFpm();
    const directory = await Deno.makeTempDir({ prefix: "fervo-fpm-" });
    const fpm = new PhpFpm(binary, directory, options);
    try {
      await Deno.writeTextFile(fpm.configPath, fpm.#config(options));
      await fpm.#startMaster();
      return fpm;
    } catch (error) {
      await fpm[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The master's process id; a reload keeps it, a restart does not. */
  get pid(): number {
    if (this.#master === undefined) throw new Error("php-fpm is not running");
    return this.#master.pid;
  }

  /** The pool, looked at from the outside. */
  control(options: { hasStatusPage: boolean } = { hasStatusPage: true }): FpmControl {
    return new FpmControl({ clock: systemClock }, {
      address: parseAddress(this.address),
      statusAddress: parseAddress(this.statusAddress),
      statusPath: options.hasStatusPage ? this.statusPath : undefined,
      pingPath: this.pingPath,
    });
  }

  /** Writes a file into the folder, for SCRIPT_FILENAME. Returns its absolute path. */
  async writeScript(name: string, code: string): Promise<string> {
    const path = `${this.directory}/${name}`;
    await Deno.writeTextFile(path, code);
    return path;
  }

  /** What php-fpm has logged since the start, restarts included. */
  async log(): Promise<string> {
    return await Deno.readTextFile(this.#logPath).catch(() => "");
  }

  /**
   * Reloads as `systemctl reload` does (SIGUSR2). Resolves when the new children serve, that is when the running
   * requests have ended or `process_control_timeout` (10 s here) has ended them.
   *
   * @param change Another number of children, or other lines of the pool's section, from then on.
   */
  async reload(change: Pick<PhpFpmOptions, "children" | "poolLines"> = {}): Promise<void> {
    this.#options = { ...this.#options, ...change };
    this.#expectedProcesses = expectedProcesses(this.#options);
    await Deno.writeTextFile(this.configPath, this.#config(this.#options));
    const starts = countOf(await this.log(), READY_LINE);
    Deno.kill(this.pid, "SIGUSR2");
    await this.#poll("reload", async () => countOf(await this.log(), READY_LINE) > starts);
  }

  /** Stops php-fpm (SIGTERM): running requests are killed, the unix socket disappears. Idempotent. */
  async stop(): Promise<void> {
    const master = this.#master;
    if (master === undefined) return;
    this.#master = undefined;
    signal(master.pid, "SIGTERM");
    const tooLate = systemClock.setTimer(() => signal(master.pid, "SIGKILL"), STOP_DEADLINE_MS);
    await master.status;
    tooLate.cancel();
    // A master takes its children along, except when it was killed itself.
    for (const pid of await processesNamed(`php-fpm: pool ${this.poolName}`)) signal(pid, "SIGKILL");
  }

  /** SIGKILL of the master and its children; the unix socket stays. */
  async kill(): Promise<void> {
    const master = this.#master;
    if (master === undefined) return;
    this.#master = undefined;
    // It starts no other child once it stands still.
    signal(master.pid, "SIGSTOP");
    const { said } = await runProgram("ps", "-o", "pid=", "--ppid", String(master.pid));
    const children = said.split("\n").map(Number).filter((pid) => pid > 0);
    for (const pid of [master.pid, ...children]) signal(pid, "SIGKILL");
    await master.status;
    // While one of them listens, the next master does not start.
    await this.#poll("end", () => Promise.resolve(children.every(hasEnded)));
  }

  /** Starts a stopped php-fpm again at the same address; stops it first when it runs. */
  async restart(): Promise<void> {
    await this.stop();
    await this.#startMaster();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.stop();
    } finally {
      await Deno.remove(this.directory, { recursive: true });
    }
  }

  /** Its configuration, for `php-fpm -y`. */
  get configPath(): string {
    return `${this.directory}/fpm.conf`;
  }

  get #logPath(): string {
    return `${this.directory}/fpm.log`;
  }

  async #startMaster(): Promise<void> {
    const [program, ...first] = [...this.#options.network?.command ?? [], this.#binary];
    const master = new Deno.Command(program!, {
      args: [
        ...first,
        "--nodaemonize",
        "--fpm-config",
        this.configPath,
        ...(Deno.uid() === 0 ? ["--allow-to-run-as-root"] : []),
        ...Object.entries({ ...DEFAULT_MASTER_INI, ...this.#masterIni })
          .flatMap(([name, value]) => ["-d", `${name}=${value}`]),
      ],
      ...(this.#options.env && { env: this.#options.env }),
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    this.#master = master;
    // Before it has opened its log, php-fpm complains on stderr.
    this.#startError = master.stderr.text();
    let hasExited = false;
    void master.status.then(() => hasExited = true);
    await this.#poll("start", async () => {
      if (!hasExited) return await this.#isReady();
      this.#master = undefined;
      throw new Error(`php-fpm did not start:\n${await this.#startError}${await this.log()}`);
    });
  }

  async #isReady(): Promise<boolean> {
    try {
      const address = parseAddress(this.#options.network === undefined ? this.address : this.statusAddress);
      const connection = await Connection.open(address, systemClock, DEFAULT_POOL_OPTIONS);
      const signal = AbortSignal.timeout(1_000);
      const response = await connection.request(statusRequest(this.statusPath), false, signal);
      return readStatus(response).totalProcesses >= this.#expectedProcesses;
    } catch {
      return false;
    }
  }

  /** Polls `isDone` until it is, or until the deadline has passed. */
  async #poll(what: string, isDone: () => Promise<boolean>): Promise<void> {
    const deadlineMs = systemClock.monotonicMs() + START_DEADLINE_MS;
    while (!await isDone()) {
      if (systemClock.monotonicMs() > deadlineMs) {
        throw new Error(`php-fpm did not ${what} in ${START_DEADLINE_MS} ms:\n${await this.log()}`);
      }
      await sleep(systemClock, POLL_MS);
    }
  }

  #config(options: PhpFpmOptions): string {
    const isRoot = Deno.uid() === 0;
    return [
      "[global]",
      `error_log = ${this.#logPath}`,
      "process_control_timeout = 10s",
      ...options.globalLines ?? [],
      `[${this.poolName}]`,
      `listen = ${this.address}`,
      "listen.mode = 0600",
      ...(isRoot ? ["user = root", `group = ${Deno.gid() === 0 ? "root" : Deno.gid()}`] : []),
      "pm = static",
      `pm.max_children = ${options.children ?? DEFAULT_CHILDREN}`,
      `pm.status_path = ${this.statusPath}`,
      ...(options.statusListen ? [`pm.status_listen = ${this.statusAddress}`] : []),
      `ping.path = ${this.pingPath}`,
      ...Object.entries({ ...DEFAULT_INI, ...options.ini })
        .map(([name, value]) => `php_admin_value[${name}] = "${value}"`),
      ...options.poolLines ?? [],
      "",
    ].join("\n");
  }
}

/** Children that a status page has to show before php-fpm is ready. */
function expectedProcesses({ poolLines, children }: PhpFpmOptions): number {
  const hasOwnManager = poolLines?.some((line) => line.startsWith("pm =")) ?? false;
  return hasOwnManager ? 0 : children ?? DEFAULT_CHILDREN;
}

/**
 * The machine's php-fpm: the highest `php-fpmX.Y` or, without one, `php-fpm`, in PATH and the sbin folders.
 *
 * @throws {Error} when there is none, with what to install.
 */
export async function findPhpFpm(): Promise<string> {
  const folders = new Set([...(Deno.env.get("PATH") ?? "").split(":"), "/usr/local/sbin", "/usr/sbin"]);
  const found: { path: string; version: number }[] = [];
  for (const folder of folders) {
    try {
      for await (const { name } of Deno.readDir(folder)) {
        const match = /^php-fpm(?:(\d+)\.(\d+))?$/.exec(name);
        if (match === null) continue;
        const version = 1_000 * Number(match[1] ?? 0) + Number(match[2] ?? 0);
        found.push({ path: `${folder}/${name}`, version });
      }
    } catch (error) {
      // PATH may name folders that do not exist or that are not ours to read.
      if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied)) {
        throw error;
      }
    }
  }
  const best = found.sort((a, b) => b.version - a.version)[0];
  if (best !== undefined) return best.path;
  throw new Error(
    `Cannot find php-fpm in ${
      [...folders].join(", ")
    }: install it, e.g. "apt-get install php-fpm" on Debian ` +
      `and Ubuntu, "dnf install php-fpm" on Fedora`,
  );
}

/**
 * A loopback address that nobody else uses: all of 127.0.0.0/8 is this machine, so a random one with a fixed port
 * outside the ephemeral range cannot be taken by another process, not even between a stop and a restart.
 */
export function privateLoopback(): string {
  const [a, b, c] = crypto.getRandomValues(new Uint8Array(3));
  return `127.${a}.${b}.${Math.max(1, Math.min(c!, 254))}`;
}

/** The ids of the processes whose title begins with `title`. */
async function processesNamed(title: string): Promise<number[]> {
  const found: number[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    if ((await commandOf(Number(name))).startsWith(title)) found.push(Number(name));
  }
  return found;
}

/** The title of a process; empty once it has ended, which it may while we look. */
function commandOf(pid: number): Promise<string> {
  return Deno.readTextFile(`/proc/${pid}/cmdline`).catch(() => "");
}

/** Sends a signal; to a process that has ended, none. */
export function signal(pid: number, name: Deno.Signal): void {
  try {
    Deno.kill(pid, name);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound || reasonOf(error).includes("already terminated"))) {
      throw error;
    }
  }
}

function countOf(text: string, part: string): number {
  return text.split(part).length - 1;
}
