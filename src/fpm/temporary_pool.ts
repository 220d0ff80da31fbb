import { type Clock, sleep } from "../core/time/clock.ts";
import { FervoError } from "../core/errors.ts";
import type { FastCgiAddress } from "../fastcgi/address.ts";
import { ask, readStatus, statusRequest } from "./status.ts";
import { readProc } from "../system/proc.ts";
import { makeTemporaryFolder } from "../system/temporary.ts";

/** A job that sleeps for 5 µs and succeeds. */
const JOB_SCRIPT = `<?php
usleep(5);
// On the command line, to end without an error says the same.
if (PHP_SAPI !== 'cli') {
    header('X-Fervo-Outcome: ack');
}
`;

const START_DEADLINE_MS = 20_000;
const STOP_DEADLINE_MS = 5_000;
const POLL_MS = 10;

/**
 * The benchmark's own php-fpm: one pool on a unix socket.
 *
 * 1. Keeps all its files, the job's script included, in a private folder (mode 0700).
 * 2. Is ready when it is handed out: the pool answers, and has all its children.
 * 3. Ends with its scope, children and folder included. It has its own session, so that Ctrl-C reaches this program first.
 */
export class OwnFpm implements AsyncDisposable {
  readonly statusPath = "/status";
  readonly children: number;
  readonly address: FastCgiAddress;
  /** The private folder. */
  readonly directory: string;
  /** The script of the empty job. */
  readonly script: string;
  readonly #clock: Clock;
  readonly #program: string;
  #master: Deno.ChildProcess | undefined;

  private constructor(deps: { clock: Clock }, program: string, directory: string, children: number) {
    this.#clock = deps.clock;
    this.#program = program;
    this.children = children;
    this.directory = directory;
    this.address = { transport: "unix", path: `${directory}/fpm.sock` };
    this.script = `${directory}/job.php`;
  }

  /**
   * Starts php-fpm and waits for its answer.
   *
   * @param program Path of php-fpm.
   * @throws {FervoError} FASTCGI_CONNECT_FAILED when it does not start, with its own words; PROCESS_FAILED without a place for
   * its files.
   */
  static async start(deps: { clock: Clock }, program: string, children: number): Promise<OwnFpm> {
    const directory = await makeTemporaryFolder("fervo-bench-");
    const fpm = new OwnFpm(deps, program, directory, children);
    try {
      await Deno.writeTextFile(fpm.script, JOB_SCRIPT);
      await Deno.writeTextFile(`${directory}/fpm.conf`, await fpm.#config());
      await fpm.#start();
      return fpm;
    } catch (error) {
      await fpm[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The master's process id. */
  get pid(): number {
    return this.#master!.pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      const master = this.#master;
      this.#master = undefined;
      if (master !== undefined) await this.#stop(master);
    } finally {
      await Deno.remove(this.directory, { recursive: true });
    }
  }

  async #start(): Promise<void> {
    const master = new Deno.Command(this.#program, {
      args: ["--nodaemonize", "--allow-to-run-as-root", "--fpm-config", `${this.directory}/fpm.conf`],
      cwd: "/",
      stdin: "null",
      stdout: "null",
      stderr: "piped",
      detached: true,
    }).spawn();
    this.#master = master;
    // Until it has opened its log, php-fpm complains on stderr.
    const complaint = master.stderr.text();
    let hasExited = false;
    void master.status.then(() => hasExited = true);
    const deadlineMs = this.#clock.monotonicMs() + START_DEADLINE_MS;
    while (!await this.#isReady()) {
      if (hasExited) {
        this.#master = undefined;
        throw await this.#failure("did not start", await complaint);
      }
      if (this.#clock.monotonicMs() > deadlineMs) {
        throw await this.#failure(`did not answer in ${START_DEADLINE_MS} ms`, "");
      }
      await sleep(this.#clock, POLL_MS);
    }
  }

  async #failure(what: string, complaint: string): Promise<FervoError> {
    const log = await Deno.readTextFile(`${this.directory}/fpm.log`).catch(() => "");
    const said = `${complaint}${log}`.trim();
    return new FervoError("FASTCGI_CONNECT_FAILED", `"${this.#program}" ${what}${said && `:\n${said}`}`);
  }

  async #isReady(): Promise<boolean> {
    try {
      const page = await ask(this.address, this.#clock, statusRequest(this.statusPath));
      return readStatus(page).totalProcesses >= this.children;
    } catch {
      return false;
    }
  }

  /** A master ends its children, except when it was killed itself: they are in its group. */
  async #stop(master: Deno.ChildProcess): Promise<void> {
    signal(() => master.kill("SIGTERM"));
    const tooLate = this.#clock.setTimer(() => signal(() => master.kill("SIGKILL")), STOP_DEADLINE_MS);
    await master.status;
    tooLate.cancel();
    signal(() => Deno.kill(-master.pid, "SIGKILL"));
  }

  async #config(): Promise<string> {
    return [
      "[global]",
      `error_log = ${this.directory}/fpm.log`,
      // The name shows in the process list.
      `[${this.directory.slice(this.directory.lastIndexOf("/") + 1)}]`,
      `listen = ${this.directory}/fpm.sock`,
      "listen.mode = 0600",
      ...(await isRoot() ? ["user = root", "group = root"] : []),
      "pm = static",
      `pm.max_children = ${this.children}`,
      `pm.status_path = ${this.statusPath}`,
      // As on a server: errors are logged to STDERR of the request, and not displayed.
      "php_admin_flag[display_errors] = off",
      "php_admin_flag[log_errors] = on",
      "",
    ].join("\n");
  }
}

/** Whether this program runs as root: php-fpm must be told so. */
async function isRoot(): Promise<boolean> {
  const path = `/proc/${Deno.pid}/status`;
  return /^Uid:\s+\d+\s+0\b/m.test((await readProc([path])).get(path) ?? "");
}

function signal(send: () => void): void {
  try {
    send();
  } catch {
    // Nobody is left.
  }
}
