import type { Buffer } from "node:buffer";
import type { Timer } from "../core/clock.ts";
import { JobError } from "../core/errors.ts";
import { newId, type RedisShared, scoreOf, toBuffer } from "./redis_delivery.ts";
import { FIND_DEAD, FORGET, RECOVER, RECOVER_TO_DEAD } from "./redis_scripts.ts";

/** A job whose worker died so often is taken for the cause. */
const MAX_RECOVERIES = 3;

/**
 * Takes jobs back from processes that died.
 *
 * 1. Looks for them six times within a lease; of all processes one does, whoever takes the lock.
 * 2. Puts each job back to where it is taken next, and counts that in the job.
 * 3. Sends a job whose worker died three times to the dead letters.
 *
 * A process is dead when its signs of life have ended, which they do a lease after the last one, and none has come in a
 * third of a lease since that was noticed: so its jobs run again within one and two thirds of a lease. The third is for
 * the living whose signs ended because Redis was away: they connect again and give one.
 */
export class RedisRecovery {
  readonly #shared: RedisShared;
  readonly #leaseMs: number;
  #timer: Timer | undefined;
  #looking: Promise<void> | undefined;
  #isStarted = false;
  #isClosed = false;

  constructor(shared: RedisShared, options: { leaseMs: number }) {
    this.#shared = shared;
    this.#leaseMs = options.leaseMs;
  }

  /** Begins to look. Idempotent. */
  start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    this.#lookNow();
  }

  /** Ends the looking, and waits for what is under way. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#looking;
  }

  #lookNow(): void {
    this.#looking = this.#look()
      // Whoever receives is told of a broker that is away; here it is just asked again.
      .catch(() => {})
      .finally(() => {
        if (this.#isClosed) return;
        this.#timer = this.#shared.clock.setTimer(() => this.#lookNow(), this.#leaseMs / 6);
      });
  }

  async #look(): Promise<void> {
    const { connection, keys, identity } = this.#shared;
    const share = (part: number) => String(Math.round(this.#leaseMs / part));
    // Shorter than the time between two looks, so that our own lock does not keep us from the next one.
    const lock = ["SET", keys.recovery, identity, "NX", "PX", share(8)];
    if (await connection.send(lock) === null) return;
    const dead = await connection.run<Buffer[]>(FIND_DEAD, [keys.owners, keys.suspects], [
      keys.prefix,
      share(3),
      share(2),
    ]);
    for (const one of dead) await this.#recover(String(one));
  }

  /** Takes all jobs of a dead process back. */
  async #recover(dead: string): Promise<void> {
    const { connection, keys } = this.#shared;
    const queues = (await connection.send<Buffer[]>(["SMEMBERS", keys.queuesOf(dead)])).map(String);
    for (const queue of queues) {
      const inflight = keys.inflight(dead, queue);
      // The newest first: each goes to the end from which jobs are taken, so that the oldest is taken first.
      for (const raw of await connection.send<Buffer[]>(["LRANGE", inflight, "0", "-1"], [inflight])) {
        if (await this.#recoverJob(dead, queue, raw) < 0) return;
      }
    }
    const inflight = queues.map((queue) => keys.inflight(dead, queue));
    const forgotten = [keys.process(dead), keys.owners, keys.suspects, keys.queuesOf(dead), ...inflight];
    await connection.run(FORGET, forgotten, [dead]);
  }

  /** Below 0 when the process lives after all. */
  #recoverJob(dead: string, queue: string, raw: Buffer): Promise<number> {
    const { connection, keys, clock, jobs } = this.#shared;
    const process = keys.process(dead);
    const inflight = keys.inflight(dead, queue);
    let recovered: Uint8Array = raw;
    try {
      const { id = newId(), recoveries } = jobs.read(raw);
      if (recoveries + 1 >= MAX_RECOVERIES) {
        const nowMs = clock.nowMs();
        const letter = jobs.failed(raw, { id, queue, error: poisonError(id), nowMs }).raw;
        return connection.run(
          RECOVER_TO_DEAD,
          [inflight, keys.dead, process],
          [raw, scoreOf(nowMs), toBuffer(letter)],
        );
      }
      recovered = jobs.recovered(raw, { id, queue });
    } catch (error) {
      // What cannot be read is put back as it is; whoever takes it sends it to the dead letters.
      if (!(error instanceof JobError)) throw error;
    }
    return connection.run(RECOVER, [process, inflight, keys.queue(queue)], [raw, toBuffer(recovered)]);
  }
}

function poisonError(id: string): JobError {
  return new JobError(
    "JOB_CRASHED",
    `Job "${id}" was running ${MAX_RECOVERIES} times when its worker died: it is taken for the cause`,
  );
}
