import { SIDEKIQ } from "../../../../src/brokers/sidekiq/config.ts";
import { SidekiqFormat } from "../../../../src/formats/sidekiq.ts";
import { OtherProcess } from "../sqlite/process.ts";
import type { RedisServer } from "../../../support/redis_server.ts";
import { runProgram } from "../../../support/run_program.ts";

const API = new URL("../sidekiq.rb", import.meta.url).pathname;
const JOBS = new URL("../sidekiq_jobs.rb", import.meta.url).pathname;

/**
 * The format of the Sidekiq that this machine has.
 *
 * @throws {Error} when there is none, or we have no format for it.
 */
export async function installedFormat(): Promise<SidekiqFormat> {
  const { success, said } = await runProgram(
    "ruby",
    "-W0",
    "-r",
    "sidekiq/version",
    "-e",
    "print Sidekiq::VERSION",
  );
  if (!success) {
    throw new Error(`Cannot find Sidekiq; install it, e.g. "apt-get install ruby-sidekiq":\n${said}`);
  }
  const format = SIDEKIQ.formats[`sidekiq${said.split(".")[0]}`];
  if (format instanceof SidekiqFormat) return format;
  throw new Error(`There is no format for Sidekiq ${said}`);
}

/** The real Sidekiq's API on a server: the commands of sidekiq.rb. */
export class SidekiqApi implements AsyncDisposable {
  readonly #process: OtherProcess;

  private constructor(process: OtherProcess) {
    this.#process = process;
  }

  static async start(server: RedisServer): Promise<SidekiqApi> {
    const process = new OtherProcess(["ruby", "-W0", API, server.socket]);
    await process.line();
    return new SidekiqApi(process);
  }

  // deno-lint-ignore no-explicit-any -- each command answers with something else
  async ask(command: string, ...args: unknown[]): Promise<any> {
    await this.#process.tell(JSON.stringify([command, ...args]));
    return JSON.parse(await this.#process.line())[0];
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#process[Symbol.asyncDispose]();
  }
}

/** A real Sidekiq process that runs the jobs of class Suite; each run is a line `ruby NAME` in the file `runs`. */
export class SidekiqProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;

  constructor(server: RedisServer, runs: string, queues: readonly string[], concurrency = 5) {
    const args = ["-W0", "-S", "sidekiq", "-r", JOBS, "-c", String(concurrency)];
    this.#child = new Deno.Command("ruby", {
      args: [...args, ...queues.flatMap((queue) => ["-q", queue])],
      cwd: server.folder,
      env: { REDIS_SOCKET: server.socket, RUNS: runs },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
  }
}
