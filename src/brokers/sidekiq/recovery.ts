import type { Buffer } from "node:buffer";
import { JobError } from "../../core/errors.ts";
import { RepeatedWork } from "../background.ts";
import { newId } from "./delivery.ts";
import type { RedisShared } from "./shared.ts";
import { scoreOf } from "./score.ts";
import { FIND_DEAD, FORGET, RECOVER, RECOVER_TO_DEAD } from "./scripts/process_scripts.ts";
import { READ_LIST } from "./scripts/scripts.ts";

/** A job whose worker died this often counts as the cause. */
const MAX_RECOVERIES = 3;
/** Jobs that are read at once. */
const BATCH_JOBS = 100;
const BATCH_BYTES = 8 * 2 ** 20;

/**
 * Takes jobs back from dead processes.
 *
 * 1. Looks for them six times within a lease; only one process does, the one that gets the lock.
 * 2. Puts each job back where it is taken next, and counts that in the job.
 * 3. Buries a job whose worker died three times.
 * 4. Reports the number of jobs, with the process and the queue.
 *
 * A process is dead when its heartbeats have expired, a lease after the last one, and none has come in a third of a lease since
 * that was noticed. So its jobs run again within one and two thirds of a lease. The third is for live processes whose
 * heartbeats expired because Redis was unavailable: they reconnect and send one.
 */
export class RedisRecovery {
  readonly #shared: RedisShared;
  readonly #leaseMs: number;
  readonly #looking: RepeatedWork;

  constructor(shared: RedisShared, options: { leaseMs: number }) {
    this.#shared = shared;
    this.#leaseMs = options.leaseMs;
    this.#looking = new RepeatedWork(shared, {
      during: "recovery",
      work: () => this.#look(),
      waitMs: () => options.leaseMs / 6,
    });
  }

  start(): void {
    if (this.#looking.start()) void this.#looking.run();
  }

  /** Stops, and waits for the current search. */
  async close(): Promise<void> {
    await this.#looking.close();
  }

  async #look(): Promise<void> {
    const { connection, keys, identity } = this.#shared;
    const share = (part: number) => String(Math.round(this.#leaseMs / part));
    // Shorter than the time between two searches, so that our own lock does not block the next one.
    const lock = ["SET", keys.recovery, identity, "NX", "PX", share(8)];
    if (await connection.send(lock) === null) return;
    const dead = await connection.run<Buffer[]>(FIND_DEAD, [keys.owners, keys.suspects], [
      keys.prefix,
      share(3),
      share(2),
    ]);
    await eachByItself(dead, (one) => this.#recover(String(one)));
  }

  /** Takes back all jobs of a dead process. */
  async #recover(dead: string): Promise<void> {
    const { connection, keys } = this.#shared;
    const queues = (await connection.send<Buffer[]>(["SMEMBERS", keys.queuesOf(dead)])).map(String);
    let isAlive = false;
    await eachByItself(queues, async (queue) => {
      isAlive ||= !await this.#recoverQueue(dead, queue);
    });
    if (isAlive) return;
    const inflight = queues.map((queue) => keys.inflight(dead, queue));
    const forgotten = [keys.process(dead), keys.owners, keys.suspects, keys.queuesOf(dead), ...inflight];
    await connection.run(FORGET, forgotten, [dead]);
  }

  /** False when the process is alive after all. */
  async #recoverQueue(dead: string, queue: string): Promise<boolean> {
    const { connection, keys } = this.#shared;
    const inflight = keys.inflight(dead, queue);
    const counts = { putBack: 0, buried: 0, gone: 0 };
    try {
      // The newest first: each goes to the end from which jobs are taken, so that the oldest is taken first.
      for (;;) {
        const limits = [String(BATCH_JOBS), String(BATCH_BYTES)];
        const jobs = await connection.run<Buffer[]>(READ_LIST, [inflight], limits);
        if (jobs.length === 0) return true;
        for (const raw of jobs) {
          const end = await this.#recoverJob(dead, queue, raw);
          if (end === "alive") return false;
          counts[end]++;
        }
      }
    } finally {
      const { putBack, buried } = counts;
      if (putBack + buried > 0) {
        this.#shared.observe({ type: "jobs_recovered", queue, process: dead, putBack, buried });
      }
    }
  }

  /** The fate of the job; `gone` when another process was faster, `alive` when the process is alive after all. */
  async #recoverJob(
    dead: string,
    queue: string,
    raw: Buffer,
  ): Promise<"putBack" | "buried" | "gone" | "alive"> {
    const { connection, keys, clock, jobs } = this.#shared;
    const process = keys.process(dead);
    const inflight = keys.inflight(dead, queue);
    let recovered: Uint8Array = raw;
    try {
      const job = jobs.parse(raw);
      const { id = newId(), recoveries } = jobs.facts(job);
      if (recoveries + 1 >= MAX_RECOVERIES) {
        const nowMs = clock.nowMs();
        const letter = jobs.failed(job, { id, queue, error: poisonError(id), nowMs }).raw;
        const places = [inflight, keys.dead, process];
        return endOf(
          await connection.run(RECOVER_TO_DEAD, places, [raw, scoreOf(nowMs), letter]),
          "buried",
        );
      }
      recovered = jobs.recovered(job, { id, queue });
    } catch (error) {
      // An unreadable message is put back unchanged; whoever takes it buries it.
      if (!(error instanceof JobError)) throw error;
    }
    const places = [process, inflight, keys.queue(queue)];
    return endOf(await connection.run(RECOVER, places, [raw, recovered]), "putBack");
  }
}

/** Does the work for each; a failure is thrown after all were tried. */
async function eachByItself<T>(all: readonly T[], work: (one: T) => Promise<unknown>): Promise<void> {
  const failures: unknown[] = [];
  for (const one of all) await work(one).catch((error) => failures.push(error));
  if (failures.length > 0) throw failures[0];
}

/** The meaning of a recovery script's answer. */
function endOf<Taken extends string>(answer: number, taken: Taken): Taken | "gone" | "alive" {
  if (answer < 0) return "alive";
  return answer === 0 ? "gone" : taken;
}

function poisonError(id: string): JobError {
  return new JobError(
    "JOB_CRASHED",
    `Job "${id}" was running in ${MAX_RECOVERIES} workers when they died: the job counts as the cause`,
  );
}
