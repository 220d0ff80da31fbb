/**
 * fervo-worker as its users run it: the compiled binary, in a process of its own, with a configuration in a folder of
 * its own.
 */
import { DatabaseSync } from "node:sqlite";
import { systemClock } from "../../src/core/time/clock.ts";
import { reasonOf } from "../../src/core/errors.ts";
import { eventually } from "./eventually.ts";
import type { PhpFpm } from "./php_fpm.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/**
 * The binary: FERVO_WORKER, or what scripts/compile has made.
 *
 * @throws {Error} when it is not there, with what to do.
 */
export function fervoWorkerPath(): string {
  const path = Deno.env.get("FERVO_WORKER") ?? `${ROOT}dist/fervo-worker`;
  try {
    if (Deno.statSync(path).isFile) return path;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  throw new Error(`Cannot find the binary "${path}": run scripts/compile first`);
}

export interface CommandOptions {
  /** What the command reads on standard input; nothing when absent. */
  readonly stdin?: string | Uint8Array<ArrayBuffer>;
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** The working folder. */
  readonly cwd?: string;
  /**
   * A shell command that runs the binary in a special way, as `"$@" | head -n 1`: the binary and its arguments are its
   * arguments. It is run by bash with `pipefail`.
   */
  readonly shell?: string;
  /** The exit code that `…Ok` expects; 0 when absent. */
  readonly exitCode?: number;
}

/** A command that has ended. */
export interface CommandResult {
  readonly code: number;
  /** The signal that ended it, if one did. */
  readonly signal: Deno.Signal | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** No command of a test takes nearly as long. */
const COMMAND_DEADLINE_MS = 60_000;

/** Runs fervo-worker to its end; fails when it does not end in a minute. */
export async function fervoWorker(
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  await using command = RunningCommand.start(args, options);
  const tooLate = Promise.withResolvers<never>();
  const timer = systemClock.setTimer(() => {
    const said = `${command.stdout}${command.stderr}`.slice(0, 4_000);
    tooLate.reject(
      new Error(`fervo-worker ${args.join(" ")} did not end in ${COMMAND_DEADLINE_MS} ms:\n${said}`),
    );
  }, COMMAND_DEADLINE_MS);
  try {
    return await Promise.race([command.ended, tooLate.promise]);
  } finally {
    timer.cancel();
  }
}

/** Runs fervo-worker to its end, and fails unless it exits with `exitCode`. Returns its standard output. */
export async function fervoWorkerOk(args: readonly string[], options: CommandOptions = {}): Promise<string> {
  const result = await fervoWorker(args, options);
  if (result.code === (options.exitCode ?? 0)) return result.stdout;
  const said = `${result.stdout}${result.stderr}`;
  throw new Error(`fervo-worker ${args.join(" ")} exited with ${result.code}:\n${said}`);
}

/**
 * A fervo-worker under way.
 *
 * 1. Collects what it says; a stack trace in it is a failure, whatever the test is about.
 * 2. Passes it signals.
 * 3. Is killed at the end of the scope that holds it, unless it has ended before.
 */
export class RunningCommand implements AsyncDisposable {
  /** Resolves when it has ended and all that it said is read. */
  readonly ended: Promise<CommandResult>;
  readonly #process: Deno.ChildProcess;
  #stdout = "";
  #stderr = "";
  #hasEnded = false;

  private constructor(process: Deno.ChildProcess, stdin: string | Uint8Array<ArrayBuffer> | undefined) {
    this.#process = process;
    this.ended = this.#collect(stdin);
  }

  static start(args: readonly string[], options: CommandOptions = {}): RunningCommand {
    const binary = fervoWorkerPath();
    const { shell, stdin, env, cwd } = options;
    const [program, first] = shell === undefined
      ? [binary, []]
      : ["bash", ["-o", "pipefail", "-c", shell, "bash", binary]];
    const process = new Deno.Command(program, {
      args: [...first, ...args],
      // A variable of the person who runs the tests must not choose the configuration.
      env: { FERVO_CONFIG: "", ...env },
      ...(cwd !== undefined && { cwd }),
      stdin: stdin === undefined ? "null" : "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    return new RunningCommand(process, stdin);
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** What it has written to standard output so far. */
  get stdout(): string {
    return this.#stdout;
  }

  /** What it has written to standard error so far. */
  get stderr(): string {
    return this.#stderr;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  kill(signal: Deno.Signal): void {
    this.#process.kill(signal);
  }

  /** Resolves when standard error has `text`; fails when the command ends without. */
  async says(text: string): Promise<void> {
    await eventually(`standard error says ${text}`, () => {
      if (this.#stderr.includes(text)) return true;
      if (this.#hasEnded) throw new Error(`It ended without saying ${text}:\n${this.#stdout}${this.#stderr}`);
      return false;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#process.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound || reasonOf(error).includes("already terminated"))) {
        throw error;
      }
    }
    await this.ended;
    if (/^ {4}at /m.test(`${this.#stdout}\n${this.#stderr}`)) {
      throw new Error(`It printed a stack trace:\n${this.#stdout}${this.#stderr}`);
    }
  }

  async #collect(stdin: string | Uint8Array<ArrayBuffer> | undefined): Promise<CommandResult> {
    const [{ code, signal }] = await Promise.all([
      this.#process.status,
      read(this.#process.stdout, (text) => this.#stdout += text),
      read(this.#process.stderr, (text) => this.#stderr += text),
      // It may end without having read all.
      stdin !== undefined && new Response(stdin).body!.pipeTo(this.#process.stdin).catch(() => {}),
    ]);
    this.#hasEnded = true;
    return { code, signal, stdout: this.#stdout, stderr: this.#stderr };
  }
}

async function read(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  add: (text: string) => void,
): Promise<void> {
  for await (const text of stream.pipeThrough(new TextDecoderStream())) add(text);
}

type TomlValue = string | number | boolean | readonly string[];
type TomlTable = Readonly<Record<string, TomlValue>>;

/** What differs from the common case: further keys of the tables, or other values. */
export interface SiteOptions {
  readonly top?: TomlTable;
  readonly log?: TomlTable;
  readonly http?: TomlTable;
  readonly tracing?: TomlTable;
  readonly tracingHeaders?: TomlTable;
  readonly control?: TomlTable;
  readonly broker?: TomlTable;
  readonly fpm?: TomlTable;
  readonly params?: TomlTable;
  /** Runs the jobs as processes of tests/e2e/console.php, instead of on php-fpm, with these settings. */
  readonly process?: TomlTable;
  readonly exitCodes?: TomlTable;
  readonly consumer?: TomlTable;
  readonly retry?: TomlTable;
  /** A schedule for the queue "jobs". */
  readonly schedule?: TomlTable;
}

/** How often a job has left its trace. */
export interface Effect {
  readonly job: string;
  readonly attempt: number;
}

/**
 * A folder with a configuration, an embedded queue and a table of effects.
 *
 * The common case is one queue "jobs", run by the front controller of examples/plain-php on `fpm`. The handlers
 * (tests/e2e/handlers.php) write a row for each run of a job, so that a test can see what has really happened.
 */
export class Site implements AsyncDisposable {
  readonly directory: string;
  readonly configFile: string;
  readonly queueFile: string;
  readonly #fpmAddress: string;
  readonly #effects: DatabaseSync;

  private constructor(directory: string, fpmAddress: string) {
    this.directory = directory;
    this.configFile = `${directory}/fervo-worker.toml`;
    this.queueFile = `${directory}/queue.sqlite`;
    this.#fpmAddress = fpmAddress;
    this.#effects = new DatabaseSync(`${directory}/effects.sqlite`);
    this.#effects.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF");
    this.#effects.exec("CREATE TABLE effects (job TEXT, attempt INTEGER, payload BLOB)");
  }

  /** @param fpm Where jobs run; without one, the address is a socket that nobody listens on. */
  static async create(fpm?: PhpFpm, options: SiteOptions = {}): Promise<Site> {
    // Not in /tmp, which many systems keep in memory: `check` warns of a queue there.
    const directory = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "fervo-e2e-" });
    const site = new Site(directory, fpm?.address ?? `${directory}/nobody.sock`);
    await site.configure(options);
    return site;
  }

  /** Writes the configuration (anew). */
  async configure(options: SiteOptions): Promise<void> {
    const effects = { TEST_EFFECTS: `${this.directory}/effects.sqlite` };
    const fpm: readonly [head: string, table: TomlTable][] = [
      ["[fpm.default]", {
        address: this.#fpmAddress,
        script: `${ROOT}examples/plain-php/fervo.php`,
        ...options.fpm,
      }],
      ["[fpm.default.params]", {
        APP_HANDLERS: `${ROOT}tests/e2e/handlers.php`,
        ...effects,
        ...options.params,
      }],
    ];
    const process: readonly [head: string, table: TomlTable][] = [
      ["[processes.default]", {
        command: ["php", `${ROOT}tests/e2e/console.php`, "app:job"],
        ...options.process,
      }],
      ["[processes.default.exit_codes]", { ...options.exitCodes }],
      ["[processes.default.env]", effects],
    ];
    const executor = options.process === undefined ? {} : { executor: "process" };
    const tables: readonly [head: string, table: TomlTable][] = [
      ["", { ...options.top }],
      ["[log]", { ...options.log }],
      ["[http]", { ...options.http }],
      ["[tracing]", { ...options.tracing }],
      ["[tracing.headers]", { ...options.tracingHeaders }],
      ["[control]", { ...options.control }],
      ["[brokers.default]", {
        ...(options.broker?.["driver"] === undefined && { driver: "sqlite", path: this.queueFile }),
        ...options.broker,
      }],
      ...(options.process === undefined ? fpm : process),
      ["[[consumers]]", { queues: ["jobs"], concurrency: 4, ...executor, ...options.consumer }],
      ["[consumers.retry]", { delay_ms: 10, ...options.retry }],
      ...(options.schedule
        ? [["[[schedule]]", { name: "timed", queue: "jobs", ...options.schedule }] as [string, TomlTable]]
        : []),
    ];
    const lines = tables.flatMap(([head, table]) => [
      head,
      ...Object.entries(table).map(([key, value]) => `${key} = ${JSON.stringify(value)}`),
    ]);
    await Deno.writeTextFile(this.configFile, `${lines.join("\n")}\n`);
  }

  /** Runs a command with this configuration to its end. */
  run(args: readonly string[], options?: CommandOptions): Promise<CommandResult> {
    return fervoWorker([...args, "--config", this.configFile], options);
  }

  /** Runs a command with this configuration to its end, and fails unless it exits with `exitCode`. Returns its output. */
  runOk(args: readonly string[], options?: CommandOptions): Promise<string> {
    return fervoWorkerOk([...args, "--config", this.configFile], options);
  }

  /** Starts a command with this configuration. */
  start(args: readonly string[], options?: CommandOptions): RunningCommand {
    return RunningCommand.start([...args, "--config", this.configFile], options);
  }

  /** Pushes `count` jobs with the payload and returns their ids. */
  async push(payload: string, count = 1): Promise<string[]> {
    const args = ["push", "jobs", "-", "--count", String(count), "--json"];
    return JSON.parse(await this.runOk(args, { stdin: payload })).ids;
  }

  /** Every run of a job so far, in order. */
  effects(): Effect[] {
    return this.#effects.prepare("SELECT job, attempt FROM effects ORDER BY rowid")
      .all() as unknown as Effect[];
  }

  /** The payload of each run so far, in order. */
  payloads(): string[] {
    const rows = this.#effects.prepare("SELECT payload FROM effects ORDER BY rowid").all();
    return rows.map(({ payload }) => new TextDecoder().decode(payload as Uint8Array));
  }

  effectCount(): number {
    return this.#effects.prepare("SELECT count(*) AS n FROM effects").get()!["n"] as number;
  }

  /** What `sql` gives, on the queue's own database, as a producer or a curious person would ask it. */
  queueRows(sql: string, ...values: (string | number | Uint8Array)[]): Record<string, unknown>[] {
    using db = new DatabaseSync(this.queueFile, { timeout: 10_000 });
    return db.prepare(sql).all(...values);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#effects.close();
    await Deno.remove(this.directory, { recursive: true });
  }
}
