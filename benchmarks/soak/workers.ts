import { sleep, systemClock } from "../../src/core/time/clock.ts";
import { PUT_BACK_S } from "../../src/cli/commands/init/service.ts";
import { fervoWorkerOk, fervoWorkerPath } from "../../tests/support/fervo_worker.ts";
import { fakeTime } from "../../tests/support/fake_time.ts";
import { findPhpFpm, type PhpFpm } from "../../tests/support/php_fpm.ts";
import { userName } from "../../tests/support/run_program.ts";
import { Supervisord } from "../../tests/support/supervisord.ts";
import type { SoakBroker } from "./broker.ts";

/** "steady" is only ever reloaded, so that its memory tells something; "victim" is killed and restarted, too. */
export const WORKERS = ["steady", "victim"] as const;
export type WorkerName = typeof WORKERS[number];

/** Those that end the PHP of what they cut off before they put it back; the others leave it to its end. */
export const ENDS_CHILDREN: ReadonlySet<string> = new Set<WorkerName>(["victim"]);

export const QUEUE = "soak";
/** Of all workers together as many as the pool has children. */
export const CHILDREN = 8;
export const SHUTDOWN_TIMEOUT_MS = 5_000;
/** When supervisord kills a worker that it has told to stop: `stopwaitsecs` of the file that `init` makes. */
export const STOP_WAIT_MS = SHUTDOWN_TIMEOUT_MS + PUT_BACK_S * 1_000;
/** Chaos takes attempts, too: a job that can be done is not to die of it. */
const ATTEMPTS = 10;

/** A warning or an error of the workers. */
export interface Complaint {
  /** "message (CODE)", or the message. */
  readonly what: string;
  readonly times: number;
  /** A line of the log. What is none was said by a runtime that came to its end. */
  readonly isLogged: boolean;
}

/** What the workers, and php-fpm, take for the time. */
export function clockOf(folder: string): { file: string; env: Record<string, string> } {
  const file = `${folder}/clock`;
  return { file, env: fakeTime(file, { stepsMonotonic: false }) };
}

/** Two workers on one queue and one pool, under supervisord by the files that `init` makes. */
export class Workers implements AsyncDisposable {
  readonly #folder: string;
  readonly #supervisord: Supervisord;

  private constructor(folder: string, supervisord: Supervisord) {
    this.#folder = folder;
    this.#supervisord = supervisord;
  }

  /** @param ledger The socket to which jobs report. */
  static async start(folder: string, broker: SoakBroker, fpm: PhpFpm, ledger: string): Promise<Workers> {
    const programs: string[] = [];
    const env = Object.entries(clockOf(folder).env).map(([name, value]) => `${name}="${value}"`).join(",");
    const service = ["--user", await userName(), "--php-fpm", await findPhpFpm()];
    for (const name of WORKERS) {
      await Deno.writeTextFile(configFile(folder, name), configuration(name, broker, fpm, ledger));
      const args = ["--config", configFile(folder, name), "--program", fervoWorkerPath()];
      const program = await fervoWorkerOk(["init", "--supervisor", ...args, ...service]);
      programs.push(
        program.replace("[program:fervo-worker]", `[program:${name}]\nenvironment = ${env}`)
          .replace(/^stdout_logfile = .*$/m, `stdout_logfile = ${logFile(folder, name)}`)
          // All of it, for the counts.
          .replace(/^stdout_logfile_maxbytes = .*$/m, "stdout_logfile_maxbytes = 0"),
      );
    }
    return new Workers(folder, await Supervisord.start(folder, programs.join("\n")));
  }

  configFile(name: WorkerName): string {
    return configFile(this.#folder, name);
  }

  /** The process id, once it runs. */
  pid(name: WorkerName): Promise<number> {
    return this.#supervisord.pidOnce(name);
  }

  /** Kills it. Resolves when supervisord has started another one. */
  async kill(name: WorkerName): Promise<void> {
    const pid = await this.pid(name);
    Deno.kill(pid, "SIGKILL");
    await this.#supervisord.pidOnce(name, (other) => other !== pid);
  }

  /** Stops it as `supervisorctl stop` does. Returns how long that took, milliseconds. */
  async stop(name: WorkerName): Promise<number> {
    const startedMs = performance.now();
    const said = await this.#supervisord.ctl("stop", name);
    if (!/stopped/.test(said)) throw new Error(`supervisorctl stop ${name}: ${said}`);
    return performance.now() - startedMs;
  }

  async start(name: WorkerName): Promise<void> {
    await this.#supervisord.ctl("start", name);
    await this.pid(name);
  }

  /** Reads its configuration again, with another value of that key. */
  async reload(name: WorkerName, key: "concurrency" | "level", value: string): Promise<void> {
    const path = this.configFile(name);
    const text = await Deno.readTextFile(path);
    await Deno.writeTextFile(path, text.replace(new RegExp(`^${key} = .*$`, "m"), `${key} = ${value}`));
    await this.#supervisord.ctl("signal", "HUP", name);
  }

  /** Nobody reads what the workers write, which is much, for that long. */
  async stallLogs(ms: number): Promise<void> {
    for (const name of WORKERS) await this.reload(name, "level", `"debug"`);
    this.#supervisord.suspend();
    await sleep(systemClock, ms);
    this.#supervisord.resume();
    for (const name of WORKERS) await this.reload(name, "level", `"warn"`);
  }

  /** How often a worker has said each warning or error, most often first. */
  async complaints(): Promise<Complaint[]> {
    const complaints = new Map<string, Complaint>();
    for (const name of WORKERS) {
      for (const line of (await Deno.readTextFile(logFile(this.#folder, name))).split("\n")) {
        if (line === "") continue;
        const what = complaint(line);
        if (what === undefined) continue;
        const times = (complaints.get(what)?.times ?? 0) + 1;
        complaints.set(what, { what, times, isLogged: line.startsWith("{") });
      }
    }
    return [...complaints.values()].sort((a, b) => b.times - a.times);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#supervisord[Symbol.asyncDispose]();
  }
}

const configFile = (folder: string, name: WorkerName) => `${folder}/${name}.toml`;
const logFile = (folder: string, name: WorkerName) => `${folder}/${name}.log`;

function configuration(name: WorkerName, broker: SoakBroker, fpm: PhpFpm, ledger: string): string {
  return `shutdown_timeout_ms = ${SHUTDOWN_TIMEOUT_MS}
[log]
level = "warn"
[brokers.default]
${broker.table}
[fpm.default]
address = "${fpm.address}"
script = "${new URL("job.php", import.meta.url).pathname}"
status_path = "${fpm.statusPath}"
status_address = "${fpm.statusAddress}"
kill_on_timeout = ${ENDS_CHILDREN.has(name)}
[fpm.default.params]
SOAK_LEDGER = "${ledger}"
SOAK_WORKER = "${name}"
[[consumers]]
queues = ["${QUEUE}"]
timeout_ms = 20000
concurrency = ${CHILDREN / WORKERS.length}
[consumers.retry]
attempts = ${ATTEMPTS}
delay_ms = 200
max_delay_ms = 2000
`;
}

/** What a line complains about; undefined when it does not. */
function complaint(line: string): string | undefined {
  if (!line.startsWith("{")) return line;
  const { level, msg, code } = JSON.parse(line);
  if (level !== "warn" && level !== "error") return undefined;
  return code === undefined ? msg : `${msg} (${code})`;
}
