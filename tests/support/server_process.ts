import { eventually } from "./eventually.ts";
import { fakeTime, removeFakeTimeMemory, setFakeTime } from "./fake_time.ts";
import type { ServerNetwork } from "./forgetful_firewall.ts";
import { asServerUser } from "./server_user.ts";

export interface ServerProcessOptions {
  readonly network?: ServerNetwork | undefined;
  /** The server goes by the wall clock in this file, see {@link setFakeTime}; its monotonic clock is the machine's. */
  readonly clockFile?: string | undefined;
  /** What the server writes is added to this file. */
  readonly logFile: string;
}

/** A server in the background, by the user of servers. */
export class ServerProcess {
  readonly #child: Deno.ChildProcess;
  readonly #name: string;
  readonly #options: ServerProcessOptions;
  #hasEnded = false;

  /** @param command The program with its arguments. */
  constructor(command: readonly string[], options: ServerProcessOptions) {
    const { network, clockFile, logFile } = options;
    // The library of the clock is loaded by the server alone: what is run before it is another user's.
    const clock = clockFile === undefined
      ? {}
      : fakeTime(clockFile, { stepsMonotonic: false, readsAlways: true });
    const env = ["env", ...Object.entries(clock).map(([name, value]) => `${name}=${value}`)];
    this.#name = command[0]!;
    this.#options = options;
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
      const log = await Deno.readTextFile(this.#options.logFile);
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
    if (this.#options.clockFile !== undefined) await removeFakeTimeMemory(this.pid);
  }
}

/** The wall clock of a server, ahead of the machine's. */
export class ServerClock {
  readonly file: string;
  #aheadMs = 0;

  private constructor(file: string) {
    this.file = file;
  }

  static async create(file: string): Promise<ServerClock> {
    await setFakeTime(file, 0);
    return new ServerClock(file);
  }

  /** Moves it ahead by this much; the server sees it at once. */
  async passTime(ms: number): Promise<void> {
    this.#aheadMs += ms;
    await setFakeTime(this.file, this.#aheadMs);
  }
}
