import type { Delivery, Lease } from "../../core/delivery.ts";
import { FervoError, QueueError } from "../../core/errors.ts";
import type { JobHead, Message, Unreadable } from "../../core/format.ts";
import type { Verdict } from "../../core/outcome.ts";
import type { Given } from "../../sql/database.ts";
import type { SqlSession } from "../../sql/driver.ts";
import type { ClaimedRow, Layout } from "./layout.ts";
import type { Turns } from "./turns.ts";
import type { Wakeups } from "./wakeups.ts";

/** A job that this process has claimed; it is its own lease. */
export class RowDelivery implements Delivery, Lease {
  readonly id: string;
  readonly queue: string;
  readonly message: Message;
  readonly job: JobHead | Unreadable;
  readonly attempt?: number;
  readonly redeliveries?: number;
  readonly isRepeat?: boolean;
  readonly enqueuedAtMs?: number;
  readonly readyAtMs?: number;
  readonly row: ClaimedRow;
  /** An earlier settle may have been carried out: its answer was lost. */
  mayBeSettled = false;
  readonly #settler: RowSettler;

  constructor(settler: RowSettler, row: ClaimedRow) {
    this.#settler = settler;
    this.row = row;
    this.id = row.id;
    this.queue = row.queue;
    this.message = row.message;
    this.job = row.job;
    if (row.attempt !== undefined) this.attempt = row.attempt;
    if (row.redeliveries !== undefined) this.redeliveries = row.redeliveries;
    if (row.isRepeat !== undefined) this.isRepeat = row.isRepeat;
    if (row.enqueuedAtMs !== undefined) this.enqueuedAtMs = row.enqueuedAtMs;
    if (row.readyAtMs !== undefined) this.readyAtMs = row.readyAtMs;
  }

  settle(verdict: Verdict): Promise<void> {
    return this.#settler.settle(this, verdict);
  }

  get lease(): Lease {
    return this;
  }

  get ms(): number {
    return this.#settler.leaseMs;
  }

  extend(): Promise<void> {
    return this.#settler.extend(this);
  }
}

interface SettlerDeps {
  readonly layout: Layout;
  readonly database: SqlSession;
  readonly turns: Turns;
  readonly wakeups: Wakeups;
}

/** Rows of one turn that are changed by one statement. */
interface Group {
  readonly rows: ClaimedRow[];
  /** The ids of those that were ours. */
  readonly changed: Promise<ReadonlySet<string>>;
}

/**
 * Settles deliveries and renews their leases.
 *
 * 1. The acknowledgements of one turn are one statement, and so are the renewals.
 * 2. A row is changed only while its lease has our name; else the settle is LEASE_LOST.
 * 3. Our name is the same for all rows. So this part knows which delivery of a row is the current one, and refuses the others.
 */
export class RowSettler {
  readonly leaseMs: number;
  readonly #deps: SettlerDeps;
  /** The current deliveries by id. */
  readonly #held = new Map<string, RowDelivery>();
  /** The groups that take further rows. */
  readonly #groups: { remove?: Group | undefined; renew?: Group | undefined } = {};

  constructor(deps: SettlerDeps, options: { leaseMs: number }) {
    this.#deps = deps;
    this.leaseMs = options.leaseMs;
  }

  readonly isHeld = (id: string): boolean => this.#held.has(id);

  /** The delivery of a row that was claimed; an earlier one of the same row is lost. */
  hold(row: ClaimedRow): RowDelivery {
    const delivery = new RowDelivery(this, row);
    this.#held.set(row.id, delivery);
    return delivery;
  }

  async settle(delivery: RowDelivery, verdict: Verdict): Promise<void> {
    this.#refuseIfLost(delivery);
    let wasOurs: boolean;
    try {
      // An earlier call may have done it, and its answer was lost.
      wasOurs = await this.#apply(delivery, verdict) ||
        delivery.mayBeSettled && !await this.#isTaken(delivery);
    } catch (error) {
      delivery.mayBeSettled ||= error instanceof FervoError && error.code === "QUEUE_UNAVAILABLE";
      throw error;
    }
    this.#drop(delivery);
    if (!wasOurs) throw lost(delivery);
  }

  async extend(delivery: RowDelivery): Promise<void> {
    this.#refuseIfLost(delivery);
    if (await this.#join("renew", delivery)) return;
    this.#drop(delivery);
    throw lost(delivery);
  }

  async #apply(delivery: RowDelivery, verdict: Verdict): Promise<boolean> {
    const { layout, turns, wakeups } = this.#deps;
    if (verdict.kind === "ack" || verdict.kind === "handled") return await this.#join("remove", delivery);
    const wasOurs = await turns.run((session) => layout.settle(session, delivery.row, verdict));
    if (verdict.kind !== "bury") wakeups.announce();
    return wasOurs;
  }

  async #isTaken({ row }: RowDelivery): Promise<boolean> {
    const { layout, database } = this.#deps;
    return await layout.isTaken(database, row);
  }

  /** Adds a row to the group of this turn; resolves with whether the row was ours. */
  async #join(change: "remove" | "renew", { row, mayBeSettled }: RowDelivery): Promise<boolean> {
    if (mayBeSettled) {
      // The group may have failed by another row of it, such as one that somebody has locked.
      const changed = await this.#deps.turns.run((session) => this.#change(change, session, [row]));
      return changed.has(row.id);
    }
    const { rows, changed } = this.#groups[change] ??= this.#open(change);
    rows.push(row);
    return (await changed).has(row.id);
  }

  #open(change: "remove" | "renew"): Group {
    const rows: ClaimedRow[] = [];
    const takeNoMore = () => {
      if (this.#groups[change]?.rows === rows) this.#groups[change] = undefined;
    };
    const changed = this.#deps.turns.run((session) => {
      takeNoMore();
      return this.#change(change, session, rows);
    }, { isPatient: true });
    // Without a connection no transaction has begun.
    changed.catch(takeNoMore);
    return { rows, changed };
  }

  async #change(
    change: "remove" | "renew",
    session: SqlSession,
    rows: readonly ClaimedRow[],
  ): Promise<Given<ReadonlySet<string>>> {
    const { layout } = this.#deps;
    return change === "renew" ? await layout.renew(session, rows) : { result: layout.remove(session, rows) };
  }

  #refuseIfLost(delivery: RowDelivery): void {
    if (this.#held.get(delivery.id) !== delivery) throw lost(delivery);
  }

  #drop(delivery: RowDelivery): void {
    if (this.#held.get(delivery.id) === delivery) this.#held.delete(delivery.id);
  }
}

function lost({ id }: RowDelivery): QueueError {
  return new QueueError(
    "LEASE_LOST",
    `Job "${id}" is no longer ours: it was settled, or its lease ended and another worker took it`,
  );
}
