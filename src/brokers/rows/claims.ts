import type { ReceiveRequest } from "../../core/broker.ts";
import type { Delivery } from "../../core/delivery.ts";
import type { SqlDatabase } from "../../sql/database.ts";
import type { RowSettler } from "./delivery.ts";
import { FetchLocks } from "./fetch_locks.ts";
import type { Layout, Look } from "./layout.ts";
import type { ServerTime } from "./server_time.ts";
import type { RowsShared } from "./shared.ts";

/** While jobs flow, a receive looks for due jobs and at the other queues no more often than this, milliseconds. */
const LOOK_EVERY_MS = 50;
/** Jobs were there, and somebody else has locked them: the first wait before the next look, milliseconds. */
const TAKEN_WAIT_MS = 5;
/** They are locked for long, such as by a transaction of the application: the waits double up to this, milliseconds. */
const LONGEST_TAKEN_WAIT_MS = 160;

interface ClaimsDeps extends RowsShared {
  readonly database: SqlDatabase;
  readonly layout: Layout;
  readonly settler: RowSettler;
  readonly serverTime: ServerTime;
  /** Whether the broker is open; else nothing is taken. */
  readonly isOpen: () => boolean;
  /** Called before each wait: notifications should come from now on. */
  readonly listen: () => void;
}

/**
 * Takes ready jobs of a table.
 *
 * 1. Waits for them: until a notification, a change of our own or the time of the next due job, and looks once a second.
 * 2. Claims as many as are wanted in one transaction, which settles share.
 * 3. After a lost answer to a claim, gives back what it may have claimed: nobody else knows that these jobs never ran.
 */
export class RowClaims {
  readonly #deps: ClaimsDeps;
  /** Queues of which jobs may be claimed without our knowing. */
  readonly #withStrays = new Set<string>();
  readonly #locks: FetchLocks;
  #lookedAtMs = -Infinity;
  #claiming: Promise<unknown> = Promise.resolve();
  readonly #receiving = new Set<Promise<unknown>>();

  constructor(deps: ClaimsDeps) {
    this.#deps = deps;
    this.#locks = new FetchLocks({ database: deps.database, table: deps.layout.tableName });
  }

  receive(request: ReceiveRequest, signal: AbortSignal): Promise<Delivery[]> {
    const receiving = this.#receive(request, signal).finally(() => this.#receiving.delete(receiving));
    this.#receiving.add(receiving);
    return receiving;
  }

  /** Resolves when every receive has ended. */
  async ended(): Promise<void> {
    await Promise.allSettled([...this.#receiving]);
  }

  async #receive(request: ReceiveRequest, signal: AbortSignal): Promise<Delivery[]> {
    const { clock, wakeups, isOpen } = this.#deps;
    const untilMs = clock.monotonicMs() + request.waitMs;
    const isOver = () => signal.aborted || !isOpen();
    // With a single queue a claim finds what a look would find.
    let mustLook = request.queues.length > 1;
    let takenWaitMs = TAKEN_WAIT_MS;
    for (let step = 0; !isOver(); step++) {
      const mark = wakeups.mark();
      mustLook ||= clock.monotonicMs() - this.#lookedAtMs >= LOOK_EVERY_MS;
      const look = mustLook ? await this.#look(request.queues) : undefined;
      if (isOver()) break;
      const queues = look === undefined ? request.queues : this.#withWork(request.queues, look);
      if (queues.length > 0) {
        const deliveries = await this.#locks.during(
          queues,
          (free) => this.#claim({ ...request, queues: free }, look),
        );
        if (deliveries.length > 0) return deliveries;
      }
      const leftMs = untilMs - clock.monotonicMs();
      if (leftMs <= 0 && look !== undefined) break;
      mustLook = true;
      if (look === undefined) continue;
      this.#deps.listen();
      const isTaken = queues.length > 0;
      const nextMs = isTaken ? takenWaitMs : Math.max(look.nextMs, 1);
      takenWaitMs = isTaken ? Math.min(takenWaitMs * 2, LONGEST_TAKEN_WAIT_MS) : TAKEN_WAIT_MS;
      await wakeups.wait(mark, { timeoutMs: Math.min(leftMs, nextMs), step }, signal);
    }
    return [];
  }

  /** The queues that may have something to take, jobs that are to be given back included. */
  #withWork(queues: readonly string[], look: Look): readonly string[] {
    if (this.#withStrays.size === 0) return look.queues;
    return queues.filter((queue) => look.queues.includes(queue) || this.#withStrays.has(queue));
  }

  async #look(queues: readonly string[]): Promise<Look> {
    const { clock, database, layout, serverTime, latest } = this.#deps;
    const beforeMs = clock.monotonicMs();
    const look = await layout.look(database, queues);
    this.#lookedAtMs = clock.monotonicMs();
    serverTime.note(look.serverMs, beforeMs);
    Object.assign(latest, { atMs: beforeMs, hasPauses: look.hasPauses });
    return look;
  }

  async #claim(request: ReceiveRequest, look: Look | undefined): Promise<Delivery[]> {
    const { layout, turns, settler, serverTime } = this.#deps;
    let strays: readonly string[] | undefined;
    try {
      const rows = await turns.run((session) =>
        this.#afterOthers(async () => {
          // The first claim of a transaction takes them: for a later one, rows of this transaction would be strays, too.
          strays ??= request.queues.filter((queue) => this.#withStrays.delete(queue));
          if (strays.length > 0) await layout.giveBack(session, strays, settler.isHeld);
          if (look?.isDue) {
            await layout.promote(session, request.queues, settler.isHeld, serverTime.isTrusted);
          }
          return await layout.claim(session, request);
        })
      );
      return rows.map((row) => settler.hold(row));
    } catch (error) {
      for (const queue of request.queues) this.#withStrays.add(queue);
      throw error;
    }
  }

  /** Claims of one transaction would find the same rows: it skips locked rows of others only. */
  #afterOthers<T>(claim: () => Promise<T>): Promise<T> {
    const claiming = this.#claiming.then(claim);
    this.#claiming = claiming.catch(() => {});
    return claiming;
  }
}
