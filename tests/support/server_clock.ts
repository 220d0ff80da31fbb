import { runProgram } from "./run_program.ts";
import { giveToServerUser } from "./server_user.ts";

const SOURCE = new URL("server_clock.c", import.meta.url).pathname;

/**
 * The wall clock of a server, which a test moves ahead of the machine's. The server's monotonic clock stays.
 *
 * Its folder is not the server's: that may be in a file system from which no program is loaded (noexec).
 */
export class ServerClock implements AsyncDisposable {
  readonly #folder: string;
  #aheadMs = 0;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** @throws {Error} when it cannot be compiled. */
  static async create(): Promise<ServerClock> {
    const clock = new ServerClock(await Deno.makeTempDir({ prefix: "fervo-clock-" }));
    try {
      const library = clock.env["LD_PRELOAD"]!;
      const { success, said } = await runProgram("tcc", "-shared", "-nostdlib", "-o", library, SOURCE)
        .catch((error) => ({ success: false, said: `${error.message}: run scripts/setup test` }));
      if (!success) throw new Error(`Cannot compile the clock of a server: ${said}`);
      await clock.passTime(0);
      await giveToServerUser(clock.#folder, library, clock.#file);
      return clock;
    } catch (error) {
      await clock[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Variables of the environment by which a program goes by this clock. */
  get env(): Readonly<Record<string, string>> {
    return { LD_PRELOAD: `${this.#folder}/clock.so`, CLOCK_AHEAD: this.#file };
  }

  /** Moves the clock ahead by this much; the server sees it at once. */
  async passTime(ms: number): Promise<void> {
    this.#aheadMs += ms;
    // In place and not made shorter meanwhile, for the server has this very file in its memory.
    using file = await Deno.open(this.#file, { write: true, create: true });
    await file.write(new Uint8Array(BigInt64Array.of(BigInt(this.#aheadMs) * 1_000_000n).buffer));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }

  get #file(): string {
    return `${this.#folder}/ahead`;
  }
}
