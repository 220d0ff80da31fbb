import { runProgram } from "./run_program.ts";
import { giveToServerUser } from "./server_user.ts";

const SOURCE = new URL("server_clock.c", import.meta.url).pathname;

/** The wall clock of a server, which a test moves ahead of the machine's. The server's monotonic clock stays. */
export class ServerClock {
  /** Variables of the environment by which a program goes by this clock. */
  readonly env: Readonly<Record<string, string>>;
  readonly #file: string;
  #aheadMs = 0;

  private constructor(file: string, library: string) {
    this.#file = file;
    this.env = { LD_PRELOAD: library, CLOCK_AHEAD: file };
  }

  /** @param folder The server's, where the clock has its files. */
  static async create(folder: string): Promise<ServerClock> {
    const library = `${folder}/clock.so`;
    const { success, said } = await runProgram("tcc", "-shared", "-nostdlib", "-o", library, SOURCE)
      .catch((error) => ({ success: false, said: `${error.message}: run scripts/setup test` }));
    if (!success) throw new Error(`Cannot compile the clock of a server: ${said}`);
    const clock = new ServerClock(`${folder}/clock`, library);
    await clock.passTime(0);
    await giveToServerUser(library, clock.#file);
    return clock;
  }

  /** Moves the clock ahead by this much; the server sees it at once. */
  async passTime(ms: number): Promise<void> {
    this.#aheadMs += ms;
    // In place and not made shorter meanwhile, for the server has this very file in its memory.
    using file = await Deno.open(this.#file, { write: true, create: true });
    await file.write(new Uint8Array(BigInt64Array.of(BigInt(this.#aheadMs) * 1_000_000n).buffer));
  }
}
