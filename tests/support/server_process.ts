import { eventually } from "./eventually.ts";
import type { ServerNetwork } from "./forgetful_firewall.ts";
import type { ServerClock } from "./server_clock.ts";
import { asServerUser } from "./server_user.ts";

export interface ServerProcessOptions {
  readonly network?: ServerNetwork | undefined;
  /** Instead of the machine's. */
  readonly clock?: ServerClock | undefined;
  /** What the server writes is added to this file. */
  readonly logFile: string;
}

/** A server in the background, by the user of servers. */
export class ServerProcess {
  readonly #child: Deno.ChildProcess;
  readonly #name: string;
  readonly #logFile: string;
  #hasEnded = false;

  /** @param command The program with its arguments. */
  constructor(command: readonly string[], options: ServerProcessOptions) {
    const { network, clock, logFile } = options;
    // The clock is loaded by the server alone, not by the programs before it.
    const env = ["env", ...Object.entries(clock?.env ?? {}).map(([name, value]) => `${name}=${value}`)];
    this.#name = command[0]!;
    this.#logFile = logFile;
    // Each of these programs becomes the next one: the process id is the server's.
    this.#child = new Deno.Command("sh", {
      args: [
        "-c",
        'exec "$@" >>"$0" 2>&1',
        logFile,
        ...network?.command ?? [],
        ...asServerUser(...env, ...command),
      ],
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    void this.#child.status.then(() => this.#hasEnded = true);
  }

  get pid(): number {
    return this.#child.pid;
  }

  /**
   * Resolves when the condition holds.
   *
   * @throws {Error} when the server has ended before, with the end of its log.
   */
  async answers(condition: () => Promise<boolean>): Promise<void> {
    await eventually(`${this.#name} answers`, async () => {
      if (!this.#hasEnded) return await condition();
      const log = await Deno.readTextFile(this.#logFile);
      throw new Error(`${this.#name} did not start:\n${log.split("\n").slice(-20).join("\n")}`);
    });
  }

  signal(signal: Deno.Signal): void {
    if (!this.#hasEnded) this.#child.kill(signal);
  }

  /** Resolves when the server has ended. */
  async end(signal: Deno.Signal): Promise<void> {
    this.signal(signal);
    await this.#child.status;
  }
}

/** Whether the process is no more, or only its parent has not asked for its status yet: it has closed its sockets then. */
export function hasEnded(pid: number): boolean {
  try {
    return /^State:\s+Z/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
  } catch {
    return true;
  }
}
