/** One run of a job, as the ledger saw it. Times in milliseconds of the ledger's own clock, which nobody steps. */
export interface Run {
  readonly attempt: number;
  /** PHP was told that it may be a repeat (FERVO_REPEAT). */
  readonly isRepeat: boolean;
  /** Whose request it was. */
  readonly worker: string;
  readonly startMs: number;
  /** When the script or its process had ended; Infinity while it has not. */
  endMs: number;
  /** What it had decided; undefined when it was ended before. */
  outcome: string | undefined;
}

const READ_BUFFER_BYTES = 256;

/**
 * Who ran what, and when, told by the jobs themselves over a socket, to a process that is neither broker, worker nor PHP. A
 * job's connection ends with its script, or with its process, so that the end of one that was killed is known, too.
 */
export class Runs implements AsyncDisposable {
  /** By the number of the job, in the order of their beginnings. */
  readonly byJob = new Map<number, Run[]>();
  readonly socket: string;
  readonly #listener: Deno.UnixListener;
  readonly #serving: Promise<void>;

  /** @param socket Where it listens. */
  constructor(socket: string) {
    this.socket = socket;
    this.#listener = Deno.listen({ transport: "unix", path: socket });
    this.#serving = this.#serve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#serving;
  }

  async #serve(): Promise<void> {
    for await (const connection of this.#listener) void this.#record(connection);
  }

  /** `NUMBER ATTEMPT REPEAT WORKER\n` when it begins, `OUTCOME\n` when it has decided, then the end. */
  async #record(connection: Deno.Conn): Promise<void> {
    using _connection = connection;
    const buffer = new Uint8Array(READ_BUFFER_BYTES);
    let text = "";
    let run: Run | undefined;
    for (let bytes = await connection.read(buffer); bytes !== null; bytes = await connection.read(buffer)) {
      text += new TextDecoder().decode(buffer.subarray(0, bytes));
      const [first, outcome] = text.split("\n", 2);
      if (run === undefined && text.includes("\n")) {
        const [number, attempt, repeat, worker] = first!.split(" ");
        run = {
          attempt: Number(attempt),
          isRepeat: repeat === "1",
          worker: worker!,
          startMs: performance.now(),
          endMs: Infinity,
          outcome: undefined,
        };
        const runs = this.byJob.get(Number(number));
        if (runs === undefined) this.byJob.set(Number(number), [run]);
        else runs.push(run);
      }
      if (run !== undefined && text.split("\n").length > 2) run.outcome = outcome;
    }
    if (run !== undefined) run.endMs = performance.now();
  }
}
