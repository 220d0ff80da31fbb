import { Buffer } from "node:buffer";
import type { Delivery } from "../../core/delivery.ts";
import { isUnreadable, type JobHead, type Message, type Unreadable, unreadable } from "../../core/format.ts";
import { type FervoError, JobError, QueueError } from "../../core/errors.ts";
import type { Verdict } from "../../core/outcome.ts";
import { tooLarge } from "../../core/text/payload.ts";
import type { JsonObject } from "../../formats/json_object.ts";
import type { Calls } from "../calls.ts";
import type { Reply } from "../../redis/resp.ts";
import type { RedisSchedule } from "./schedule/schedule.ts";
import { scoreOf } from "./score.ts";
import { hashOf, type RedisShared } from "./shared.ts";
import { BURY, LOOK_FOR, PUT_BACK, RETRY_LATER, RETRY_NOW } from "./scripts/scripts.ts";

const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({});

/** A taken job, read once. */
type TakenJob = Pick<RedisDelivery, "raw" | "record" | "job" | "id">;

/** A job in flight: it is in this process's in-flight list of the queue. */
export class RedisDelivery implements Delivery {
  readonly id: string;
  readonly queue: string;
  /** The bytes of the message, which identify it in Redis. */
  readonly raw: Buffer;
  readonly message: Message;
  /** The parsed message; undefined for an unreadable one. A job that is too long to run is still settled as a job. */
  readonly record: JsonObject | undefined;
  readonly job: JobHead | Unreadable;
  attempt = 1;
  redeliveries?: number;
  enqueuedAtMs?: number;
  readyAtMs?: number;
  isRepeat?: boolean;
  /** When it was received, epoch milliseconds. */
  readonly takenAtMs: number;
  /** The settler's `epoch` when it was received. */
  readonly epoch: number;
  /** `unknown`: the connection broke before a settle was answered. */
  state: "in_flight" | "settling" | "unknown" | "settled" = "in_flight";
  readonly #settler: RedisSettler;

  constructor(settler: RedisSettler, queue: string, taken: TakenJob, takenAtMs: number) {
    this.#settler = settler;
    this.id = taken.id;
    this.queue = queue;
    this.raw = taken.raw;
    this.message = { body: taken.raw, headers: NO_HEADERS };
    this.record = taken.record;
    this.job = taken.job;
    this.takenAtMs = takenAtMs;
    this.epoch = settler.epoch;
  }

  settle(verdict: Verdict): Promise<void> {
    return this.#settler.settle(this, verdict);
  }
}

/**
 * Makes deliveries and settles them.
 *
 * 1. Makes deliveries of taken jobs, and knows which are in flight.
 * 2. Settles each once: the job leaves the in-flight list and enters its next place in one step of Redis.
 * 3. Notices when a job was no longer in the list: LEASE_LOST.
 * 4. Counts for Sidekiq's statistics.
 *
 * Jobs are identified by their bytes, and two jobs can have the same bytes. So a settle without an answer is not simply
 * repeated, which could remove the other job: the list first shows whether it was done. A missing job was settled, or was taken
 * back by another process after this one counted as dead. These cannot be told apart, so LEASE_LOST is reported whenever this
 * process counted as dead since the job was taken. So a done settle may be reported as lost, but never a lost one as done.
 */
export class RedisSettler {
  readonly inFlight = new Set<RedisDelivery>();
  /** Incremented whenever our heartbeat may have expired. */
  epoch = 0;
  /** Running commands that take jobs. */
  taking = 0;
  /** During a search for strays: takes and settles wait for it. */
  looking: Promise<void> | undefined;
  /** Called with the queue of a job that was missing in its list although no other process has taken it. */
  onMissing: (queue: string) => void = () => {};
  /** Not yet sent to Redis. */
  processed = 0;
  failed = 0;
  readonly #shared: RedisShared;
  readonly #calls: Calls;
  readonly #schedule: RedisSchedule;
  readonly #inflightKeys = new Map<string, string>();
  readonly #maxPayloadBytes: number;
  #uncertain: Promise<unknown> = Promise.resolve();

  constructor(
    { shared, calls, schedule }: { shared: RedisShared; calls: Calls; schedule: RedisSchedule },
    options: { maxPayloadBytes: number },
  ) {
    this.#shared = shared;
    this.#calls = calls;
    this.#schedule = schedule;
    this.#maxPayloadBytes = options.maxPayloadBytes;
  }

  /** Makes a delivery of a job in the in-flight list. */
  hold(queue: string, raw: Buffer): RedisDelivery {
    const nowMs = this.#shared.clock.nowMs();
    let delivery: RedisDelivery;
    try {
      const { jobs } = this.#shared;
      const record = jobs.parse(raw);
      const facts = jobs.facts(record);
      const job = raw.length > this.#maxPayloadBytes
        ? unreadable(tooLarge(queue, raw.length, this.#maxPayloadBytes))
        : jobs.head(record);
      delivery = new RedisDelivery(this, queue, { raw, record, job, id: facts.id ?? newId() }, nowMs);
      delivery.attempt = facts.attempts + 1;
      delivery.redeliveries = facts.recoveries;
      if (facts.isRepeat) delivery.isRepeat = true;
      const enqueuedAtMs = facts.createdAtMs ?? facts.enqueuedAtMs;
      if (enqueuedAtMs !== undefined) delivery.enqueuedAtMs = enqueuedAtMs;
      if (facts.enqueuedAtMs !== undefined) delivery.readyAtMs = facts.enqueuedAtMs;
    } catch (error) {
      if (!(error instanceof JobError)) throw error;
      delivery = new RedisDelivery(
        this,
        queue,
        { raw, record: undefined, job: unreadable(error), id: hashOf(raw) },
        nowMs,
      );
    }
    this.inFlight.add(delivery);
    return delivery;
  }

  /**
   * Whether a job is certainly in its in-flight list: no settle without an answer may have removed it, and no other process,
   * to which this one would have had to count as dead.
   */
  isExpected({ state, epoch }: RedisDelivery): boolean {
    return state !== "unknown" && epoch === this.epoch;
  }

  /** This process's in-flight list of a queue. */
  inflightKey(queue: string): string {
    let key = this.#inflightKeys.get(queue);
    if (key === undefined) {
      key = this.#shared.keys.inflight(this.#shared.identity, queue);
      this.#inflightKeys.set(queue, key);
    }
    return key;
  }

  settle(delivery: RedisDelivery, verdict: Verdict): Promise<void> {
    switch (verdict.kind) {
      case "ack":
      case "handled": {
        const inflight = this.inflightKey(delivery.queue);
        const failures = verdict.kind === "ack" ? 0 : 1;
        return this.#settle(delivery, failures, () => this.#remove(inflight, delivery.raw));
      }
      case "replace":
        return this.#settle(
          delivery,
          1,
          () => this.#replace(delivery, verdict.message.body, verdict.delayMs),
        );
      case "retry":
        return this.#settle(delivery, 1, () => this.#retry(delivery, verdict.delayMs, verdict.error));
      case "bury":
        return this.#settle(delivery, 1, () => this.#bury(delivery, verdict.error));
      case "release":
        return this.#settle(delivery, undefined, () => this.#putBack(delivery, verdict));
    }
  }

  /** Runs `work` while no job is taken, and none of the queue is settled. One call at a time. */
  alone(queue: string, work: () => Promise<void>): Promise<void> {
    const turn = (this.looking ?? Promise.resolve()).then(async () => {
      const isSettling = ({ queue: its, state }: RedisDelivery) => its === queue && state === "settling";
      while (this.taking > 0 || [...this.inFlight].some(isSettling)) {
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      await work();
    });
    const looking = this.looking = turn.catch(() => {}).then(() => {
      if (this.looking === looking) this.looking = undefined;
    });
    return turn;
  }

  #remove(list: string, job: Buffer): Promise<Reply> {
    return this.#shared.connection.send(["LREM", list, "-1", job], [list]);
  }

  #retry(delivery: RedisDelivery, delayMs: number, error: FervoError): Promise<Reply> {
    const { keys, clock, jobs } = this.#shared;
    if (delivery.record === undefined || isUnreadable(delivery.job)) return this.#bury(delivery, error);
    const nowMs = clock.nowMs();
    const failure = { id: delivery.id, queue: delivery.queue, error, nowMs };
    const { raw, queue } = jobs.failed(delivery.record, failure, delayMs <= 0);
    return this.#swap(delivery, { raw, queue }, { nowMs, delayMs, set: keys.retry });
  }

  /** An unreadable message goes to the queue unchanged; whoever takes it buries it. */
  #replace(delivery: RedisDelivery, message: Uint8Array, delayMs: number): Promise<Reply> {
    const { keys, clock, jobs } = this.#shared;
    const { queue } = delivery;
    const [nowMs, set] = [clock.nowMs(), keys.schedule];
    let raw: Uint8Array;
    try {
      ({ raw } = jobs.pushed(message, { id: newId(), queue, isDelayed: delayMs > 0, nowMs }));
    } catch (error) {
      if (!(error instanceof JobError)) throw error;
      return this.#swap(delivery, { raw: message, queue }, { nowMs, delayMs: 0, set });
    }
    return this.#swap(delivery, { raw, queue }, { nowMs, delayMs, set });
  }

  /** Replaces a job in flight by a message, which enters the queue, or the set until its delay is over. */
  #swap(
    delivery: RedisDelivery,
    { raw, queue }: { readonly raw: Uint8Array; readonly queue: string },
    { nowMs, delayMs, set }: { readonly nowMs: number; readonly delayMs: number; readonly set: string },
  ): Promise<Reply> {
    const { connection, keys } = this.#shared;
    const inflight = this.inflightKey(delivery.queue);
    if (delayMs <= 0) {
      return connection.run(RETRY_NOW, [inflight, keys.queue(queue), keys.queues], [
        delivery.raw,
        queue,
        raw,
      ]);
    }
    const dueMs = nowMs + delayMs;
    this.#schedule.expect(dueMs);
    return connection.run(RETRY_LATER, [inflight, set], [delivery.raw, scoreOf(dueMs), raw]);
  }

  /** The schedule cannot store an unreadable message: it goes to its queue, and from there to the dead letters. */
  #putBack(
    delivery: RedisDelivery,
    { delayMs = 0, mayRunOn = false }: Extract<Verdict, { kind: "release" }>,
  ): Promise<Reply> {
    const { connection, keys, jobs, clock } = this.#shared;
    const { id, queue } = delivery;
    const isJob = delivery.record !== undefined && !isUnreadable(delivery.job);
    if (delayMs > 0 && isJob) {
      const nowMs = clock.nowMs();
      const { raw } = jobs.pushed(delivery.raw, { id, queue, isDelayed: true, nowMs });
      return this.#swap(delivery, { raw, queue }, { nowMs, delayMs, set: keys.schedule });
    }
    const places = [this.inflightKey(queue), keys.queue(queue)];
    const messages = mayRunOn && isJob ? [delivery.raw, jobs.repeated(delivery.record)] : [delivery.raw];
    return connection.run(PUT_BACK, places, messages);
  }

  #bury(delivery: RedisDelivery, error: FervoError): Promise<Reply> {
    const { connection, keys, clock, jobs } = this.#shared;
    const nowMs = clock.nowMs();
    const { record, job, id, queue } = delivery;
    const inflight = this.inflightKey(queue);
    if (record !== undefined && !isUnreadable(job) && !jobs.facts(record).isKeptWhenDead) {
      return this.#remove(inflight, delivery.raw);
    }
    const failure = { id, queue, error, nowMs };
    const dead = record === undefined
      ? jobs.unreadable(delivery.raw, failure)
      : jobs.failed(record, failure).raw;
    return connection.run(BURY, [inflight, keys.dead], [delivery.raw, scoreOf(nowMs), dead]);
  }

  /**
   * The only place where a delivery's state changes.
   *
   * @param failures The failures that it adds; undefined when the job did not run.
   * @param apply Answers 0 when the job was not in the list.
   */
  #settle(
    delivery: RedisDelivery,
    failures: number | undefined,
    apply: () => Promise<Reply>,
  ): Promise<void> {
    return this.#calls.run(async () => {
      while (this.looking !== undefined) await this.looking;
      if (delivery.state === "settling" || delivery.state === "settled") throw lost(delivery);
      const isUncertain = delivery.state === "unknown";
      delivery.state = "settling";
      try {
        const removed = isUncertain ? await this.#applyOnce(delivery, apply) : await apply();
        delivery.state = "settled";
        this.inFlight.delete(delivery);
        if (removed === 0) {
          if (delivery.epoch === this.epoch) this.onMissing(delivery.queue);
          throw lost(delivery);
        }
      } catch (error) {
        if (delivery.state === "settling") delivery.state = "unknown";
        throw error;
      }
      if (failures === undefined) return;
      this.processed++;
      this.failed += failures;
    });
  }

  /** Makes a settle without an answer again, unless it was done. One at a time, because they count the same list. */
  #applyOnce(delivery: RedisDelivery, apply: () => Promise<Reply>): Promise<Reply> {
    const turn = this.#uncertain.then(async () => {
      const key = this.inflightKey(delivery.queue);
      const like = [...this.inFlight].filter((other) =>
        (other === delivery || other.state === "in_flight" || other.state === "unknown") &&
        other.queue === delivery.queue && other.raw.equals(delivery.raw)
      );
      const { connection, keys, identity } = this.#shared;
      const places = [key, keys.process(identity)];
      const [found, isAlive] = await connection.run<[number, number]>(LOOK_FOR, places, [delivery.raw]);
      if (found >= like.length) return await apply();
      return isAlive === 1 && delivery.epoch === this.epoch ? 1 : 0;
    });
    this.#uncertain = turn.catch(() => {});
    return turn;
  }
}

/** An id like Sidekiq's: 12 random bytes. */
export function newId(): string {
  return crypto.getRandomValues(new Uint8Array(12)).toHex();
}

function lost({ id }: RedisDelivery): QueueError {
  return new QueueError(
    "LEASE_LOST",
    `Job "${id}" is no longer ours: it was settled, or this process missed its heartbeats and another one took the job`,
  );
}
