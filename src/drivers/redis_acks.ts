import { setImmediate } from "node:timers";
import type { Argument, RedisConnection } from "./redis_connection.ts";
import { ACK } from "./redis_scripts.ts";

/** Acknowledgements of one list that wait to be sent. */
interface Batch {
  readonly jobs: Argument[];
  readonly answers: { resolve: (removed: number) => void; reject: (error: unknown) => void }[];
}

/**
 * Sends all acknowledgements of one turn of the event loop as one command a list: for the client a command costs more than
 * a job in it, most of all where it is written to the socket.
 */
export class RedisAcks {
  readonly #connection: RedisConnection;
  #batches = new Map<string, Batch>();

  constructor(connection: RedisConnection) {
    this.#connection = connection;
  }

  /** Removes a job from a list; resolves with 0 when it was not there. */
  remove(list: string, job: Argument): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.#batches.size === 0) setImmediate(() => this.#send());
      let batch = this.#batches.get(list);
      if (batch === undefined) this.#batches.set(list, batch = { jobs: [], answers: [] });
      batch.jobs.push(job);
      batch.answers.push({ resolve, reject });
    });
  }

  #send(): void {
    const batches = this.#batches;
    this.#batches = new Map();
    for (const [list, { jobs, answers }] of batches) {
      this.#connection.run<number[]>(ACK, [list], jobs).then(
        (removed) => answers.forEach(({ resolve }, index) => resolve(removed[index]!)),
        (error) => answers.forEach(({ reject }) => reject(error)),
      );
    }
  }
}
