import type { Clock } from "../../core/time/clock.ts";
import type { SubscribeOptions } from "../../core/broker.ts";
import { QueueError } from "../../core/errors.ts";
import type { Replaced } from "../replaced.ts";
import type { Format } from "../../core/format.ts";
import type { Verdict } from "../../core/outcome.ts";
import type { BeanstalkdConnection } from "./connection.ts";
import { BeanstalkdDelivery } from "./delivery.ts";
import { type BeanstalkdReply, readStats } from "./reply.ts";
import { type JobStats, jobStatsOf, putAtMs, secondsOf } from "./mapping.ts";
import { Renewals, type Reservation } from "./renewals.ts";
import { deleteJob, put } from "./put.ts";

/** This many reserves are sent before their replies are read. */
const RESERVES_TOGETHER = 64;
/** beanstalkd's own safety margin: a reservation with less time left may have ended, milliseconds. */
const MARGIN_MS = 1_000;

interface ReservedJob extends Reservation {
  readonly delivery: BeanstalkdDelivery;
  readonly pri: number;
  readonly onLost: OnLost;
}

type OnLost = SubscribeOptions["onLost"];

/**
 * A connection and the jobs reserved on it: only it can settle them, and its end puts them back.
 *
 * 1. Reserves ready jobs, or waits for one job. While it waits, nothing else can be sent, so it has no reserved job then.
 * 2. Counts attempts: a job's reservations, without uncounted releases.
 * 3. Renews every reservation at a third of the job's time to run, until the job is settled.
 * 4. Settles a job only while it is reserved here for that delivery; else LEASE_LOST.
 */
export class BeanstalkdSession {
  readonly connection: BeanstalkdConnection;
  readonly #clock: Clock;
  readonly #format: Format;
  readonly #replaced: Replaced;
  readonly #maxPayloadBytes: number;
  readonly #reserved = new Map<string, ReservedJob>();
  readonly #settling = new Set<Promise<void>>();
  readonly #renewals: Renewals;
  #isClosed = false;
  #longest: number | undefined;

  /** Called when the last reserved job is settled. */
  onEmpty: (() => void) | undefined;

  constructor(
    deps: { connection: BeanstalkdConnection; clock: Clock; format: Format; replaced: Replaced },
    options: { maxPayloadBytes: number },
  ) {
    this.connection = deps.connection;
    this.#clock = deps.clock;
    this.#format = deps.format;
    this.#replaced = deps.replaced;
    this.#maxPayloadBytes = options.maxPayloadBytes;
    this.#renewals = new Renewals({ ...deps, reservations: this.#reserved });
    void this.connection.ended.then(() => {
      this.#renewals.close();
      if (!this.#isClosed) this.#tellLost();
    });
  }

  /** Whether no job is reserved, so that it can wait. */
  get isEmpty(): boolean {
    return this.#reserved.size === 0 && this.#settling.size === 0;
  }

  /**
   * Reserves up to `max` ready jobs of a queue, in order, until they have `maxBytes`.
   *
   * @throws {QueueError} QUEUE_UNAVAILABLE; the reserved jobs have gone back then
   */
  async take(
    queue: string,
    { max, maxBytes, onLost }: { max: number; maxBytes: number; onLost: OnLost },
  ): Promise<BeanstalkdDelivery[]> {
    const deliveries: BeanstalkdDelivery[] = [];
    const longestBytes = maxBytes < Infinity ? await this.#longestBytes() : 0;
    let [room, roomBytes] = [max, maxBytes];
    while (room > 0 && roomBytes > 0) {
      // A job's length is known only when it is reserved: as many as fit if all have the greatest length.
      const count = Math.min(room, RESERVES_TOGETHER, Math.max(Math.floor(roomBytes / longestBytes), 1));
      // In each round: another receive may have watched other tubes in between.
      this.connection.watch([queue]);
      const taken = await Promise.all(Array.from({ length: count }, () => this.#reserve(onLost)));
      for (const delivery of taken) {
        if (!(delivery instanceof BeanstalkdDelivery)) continue;
        deliveries.push(delivery);
        roomBytes -= delivery.message.body.length;
      }
      if (taken.includes("nothing")) break;
      room = max - deliveries.length;
    }
    return deliveries;
  }

  /**
   * Waits for a job of any of the queues, at most for `waitMs`, which beanstalkd counts in whole seconds. Nothing else can be
   * sent meanwhile, so no job may be reserved here. An aborted wait ends the connection: there is no other way.
   *
   * @returns The job; or only its id, when it came just as the wait ended, and went back with the connection.
   * @throws {QueueError} QUEUE_UNAVAILABLE
   */
  async wait(
    { queues, waitMs, onLost }: { queues: readonly string[]; waitMs: number; onLost: OnLost },
    signal: AbortSignal,
  ): Promise<BeanstalkdDelivery | string | undefined> {
    let hangingUp: Promise<void> | undefined;
    const end = () => void (hangingUp ??= this.connection.hangUp());
    const seconds = Math.max(1, Math.floor(waitMs / 1_000));
    const timer = waitMs < 1_000 ? this.#clock.setTimer(end, waitMs) : undefined;
    signal.addEventListener("abort", end);
    let reply: BeanstalkdReply | undefined;
    try {
      this.connection.watch(queues);
      reply = await this.#sendReserve(seconds);
    } catch (error) {
      if (hangingUp === undefined) throw error;
    } finally {
      timer?.cancel();
      signal.removeEventListener("abort", end);
    }
    if (hangingUp === undefined) return reply && await this.#hold(reply, onLost);
    await hangingUp;
    return reply?.args[0];
  }

  /** Takes a job that is known to be ready. `uncounted` of its reservations do not count. */
  async takeAgain(
    id: string,
    { uncounted, onLost }: { uncounted: number; onLost: OnLost },
  ): Promise<BeanstalkdDelivery | undefined> {
    const reply = await this.connection.send(`reserve-job ${id}`, ["RESERVED", "NOT_FOUND"]);
    return reply.word === "RESERVED" ? await this.#hold(reply, onLost, uncounted) : undefined;
  }

  /** @throws {QueueError} LEASE_LOST, QUEUE_UNAVAILABLE */
  settle(delivery: BeanstalkdDelivery, verdict: Verdict): Promise<void> {
    return this.#settle(delivery, (id, reserved) => {
      switch (verdict.kind) {
        case "ack":
        case "handled":
          return this.#delete(id, reserved);
        case "replace":
          return this.#replace(id, reserved, verdict);
        case "retry":
          return this.#release(id, reserved.pri, secondsOf(verdict.delayMs));
        case "bury":
          return this.connection.send(`bury ${id} ${reserved.pri}`, ["BURIED", "NOT_FOUND"]);
        case "release":
          return this.#giveBack(id, reserved, verdict.delayMs);
      }
    });
  }

  /** Waits for running settles, releases the other reserved jobs uncounted, and ends the connection. Never rejects. */
  async close(): Promise<void> {
    for (const { delivery } of this.#reserved.values()) {
      this.#settle(delivery, (id, reserved) => this.#giveBack(id, reserved)).catch(() => {});
    }
    this.#isClosed = true;
    while (this.#settling.size > 0) await Promise.allSettled(this.#settling);
    await this.connection.quit();
  }

  /** The longest message of a reservation, bytes: the server has a limit, and longer ones than ours are skipped. */
  async #longestBytes(): Promise<number> {
    if (this.#longest !== undefined) return this.#longest;
    const reply = await this.connection.send("stats", ["OK"]);
    const serverBytes = Number(readStats(reply.body!).get("max-job-size"));
    return this.#longest = serverBytes > 0
      ? Math.min(serverBytes, this.#maxPayloadBytes)
      : this.#maxPayloadBytes;
  }

  /** "nothing" without a ready job; "lost" when the job was lost at once. */
  async #reserve(onLost: OnLost): Promise<BeanstalkdDelivery | "nothing" | "lost"> {
    const reply = await this.#sendReserve(0);
    return reply === undefined ? "nothing" : await this.#hold(reply, onLost) ?? "lost";
  }

  /** The reservation; undefined without a ready job in that time. */
  async #sendReserve(seconds: number): Promise<BeanstalkdReply | undefined> {
    const reply = await this.connection.send(
      `reserve-with-timeout ${seconds}`,
      ["RESERVED", "TIMED_OUT", "DEADLINE_SOON"],
      { waitMs: seconds * 1_000 },
    );
    // No job is ready, and beanstalkd is about to end a reservation, because a timer of ours was late.
    if (reply.word === "DEADLINE_SOON") this.#renewals.renewDue(Infinity);
    return reply.word === "RESERVED" ? reply : undefined;
  }

  /** Undefined when the reservation has already ended. */
  async #hold(
    reserved: BeanstalkdReply,
    onLost: OnLost,
    uncounted = 0,
  ): Promise<BeanstalkdDelivery | undefined> {
    const id = reserved.args[0]!;
    const askedMs = this.#clock.monotonicMs();
    let stats: JobStats;
    try {
      const reply = await this.connection.send(`stats-job ${id}`, ["OK", "NOT_FOUND"]);
      if (reply.word === "NOT_FOUND") return undefined;
      stats = this.connection.read(reply, jobStatsOf);
    } catch (error) {
      // A reserved job that is lost here goes back, with all others of this connection.
      this.connection.close();
      throw error;
    }
    if (stats.state !== "reserved") return undefined;
    if (this.#replaced.has(id)) {
      if (await deleteJob(this.connection, id)) this.#replaced.delete(id);
      return undefined;
    }
    const delivery = new BeanstalkdDelivery(this, {
      id,
      queue: stats.tube,
      body: reserved.body,
      bytes: reserved.bytes,
      isDamaged: reserved.isDamaged === true,
      attempt: Math.max(stats.attempts - uncounted, 1),
      enqueuedAtMs: putAtMs(stats, this.#clock.nowMs()),
    }, { format: this.#format, maxPayloadBytes: this.#maxPayloadBytes });
    // An older entry of the same id is a reservation that ended unnoticed: it is lost.
    this.#reserved.set(id, {
      delivery,
      pri: stats.pri,
      ttrMs: stats.ttrMs,
      touchAtMs: askedMs + stats.ttrMs / 3,
      safeUntilMs: askedMs + stats.leftMs,
      onLost,
    });
    this.#renewals.by(askedMs + stats.ttrMs / 3);
    return delivery;
  }

  /** One call settles a job. If beanstalkd refuses and the job is still ours, the call may be made again. */
  #settle(
    delivery: BeanstalkdDelivery,
    send: (id: string, reserved: ReservedJob) => Promise<BeanstalkdReply>,
  ): Promise<void> {
    const settling = this.#settleNow(delivery, send).finally(() => {
      this.#settling.delete(settling);
      if (this.isEmpty) this.onEmpty?.();
    });
    this.#settling.add(settling);
    return settling;
  }

  async #settleNow(
    delivery: BeanstalkdDelivery,
    send: (id: string, reserved: ReservedJob) => Promise<BeanstalkdReply>,
  ): Promise<void> {
    const { id } = delivery;
    const reserved = this.#reserved.get(id);
    if (this.#isClosed) {
      throw new QueueError(
        "QUEUE_UNAVAILABLE",
        `Cannot settle job "${id}": the broker is closed, and the job is back in its queue`,
      );
    }
    if (reserved?.delivery !== delivery || this.connection.isLost) throw leaseLost(id);
    this.#reserved.delete(id);
    try {
      const reply = await send(id, reserved);
      if (reply.word === "NOT_FOUND") throw leaseLost(id);
    } catch (error) {
      const isOurs = (error as QueueError).code !== "LEASE_LOST" && !this.connection.isLost &&
        !this.#reserved.has(id);
      if (isOurs) this.#reserved.set(id, reserved);
      throw error;
    }
  }

  /** Anybody may delete a job that is not reserved. If the reservation may have ended, it is renewed first. */
  async #delete(id: string, reserved: ReservedJob): Promise<BeanstalkdReply> {
    if (this.#clock.monotonicMs() > reserved.safeUntilMs - MARGIN_MS) {
      const touched = await this.connection.send(`touch ${id}`, ["TOUCHED", "NOT_FOUND"]);
      if (touched.word === "NOT_FOUND") return touched;
    }
    return await this.connection.send(`delete ${id}`, ["DELETED", "NOT_FOUND"]);
  }

  /**
   * Puts the replacement, then deletes the job: in between both exist. A repeated settle continues at the open step. If the job
   * comes back instead, it is deleted before it runs ({@link Replaced}).
   */
  async #replace(
    id: string,
    reserved: ReservedJob,
    { message, delayMs }: Extract<Verdict, { kind: "replace" }>,
  ): Promise<BeanstalkdReply> {
    if (!this.#replaced.has(id)) {
      const { delivery: { queue }, pri, ttrMs } = reserved;
      await put(this.connection, { tube: queue, pri, delayMs, ttrMs }, message.body, {
        message: `The replacement message for job "${id}"`,
        failure: `Cannot replace job "${id}"`,
      });
      this.#replaced.add(id);
    }
    const reply = await this.#delete(id, reserved);
    if (reply.word === "DELETED") this.#replaced.delete(id);
    return reply;
  }

  /**
   * Releases a job so that its reservation does not count: with a delay, which a kick ends at once. {@link JobStats.attempts}
   * recognizes it by the kick. Without the kick, the job is ready again in a second. A requested delay counts.
   */
  async #giveBack(id: string, { pri }: ReservedJob, delayMs = 0): Promise<BeanstalkdReply> {
    if (delayMs > 0) return await this.#release(id, pri, secondsOf(delayMs));
    const releasing = this.#release(id, pri, 1);
    const kicking = this.connection.send(`kick-job ${id}`, ["KICKED", "NOT_FOUND"]);
    const [released] = await Promise.all([releasing, kicking]);
    return released;
  }

  async #release(id: string, pri: number, delaySeconds: number): Promise<BeanstalkdReply> {
    const reply = await this.connection.send(
      `release ${id} ${pri} ${delaySeconds}`,
      ["RELEASED", "BURIED", "NOT_FOUND"],
    );
    if (reply.word !== "BURIED") return reply;
    throw new QueueError(
      "QUEUE_UNAVAILABLE",
      `beanstalkd is out of memory: it buried job "${id}" instead of releasing it`,
    );
  }

  /** Reserved jobs go back with their connection. */
  #tellLost(): void {
    for (const [onLost, reserved] of Map.groupBy(this.#reserved.values(), ({ onLost }) => onLost)) {
      onLost(reserved.map(({ delivery }) => delivery));
    }
  }
}

function leaseLost(id: string): QueueError {
  return new QueueError(
    "LEASE_LOST",
    `Job "${id}" is no longer ours: it was settled, its time to run ended, or its connection was lost`,
  );
}
