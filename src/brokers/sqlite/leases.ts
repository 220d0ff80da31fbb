import { ClockWatch, type Timer } from "../../core/time/clock.ts";
import type { Observer } from "../../core/observer.ts";
import { BackgroundWork } from "../background.ts";
import type { SqliteShared } from "./shared.ts";
import { read } from "./store/writer.ts";

/** How often to check whether the time of day was set, milliseconds. */
export const LOOK_EVERY_MS = 500;
/**
 * A worker ends no lease for this long after its start, milliseconds: the time of day may have been set just before, and the
 * owners notice it within this time.
 */
const SETTLE_IN_MS = 1_500;
/** A valid lease ends sooner than its length and this from now, milliseconds, unless another clock has made it. */
const SLACK_MS = 1_000;

/** A row's id for a lookup: a number if JavaScript has it exactly. */
export type RowKey = number | bigint;

export function keyOf(id: number | bigint): RowKey {
  if (typeof id === "number") return id;
  const number = Number(id);
  return Number.isSafeInteger(number) ? number : id;
}

/** A leased job: its row, the name of its lease, and the part that renews it. */
export interface Leased {
  readonly rowId: RowKey;
  readonly token: string;
  readonly leases: SqliteLeases;
}

/** The leased jobs of this process by id, for each file: shared by all brokers of the process. */
export class SqliteHoldings {
  readonly #byPath = new Map<string, Map<RowKey, Leased>>();

  /** @param path The file's real path. */
  of(path: string): Map<RowKey, Leased> {
    let leased = this.#byPath.get(path);
    if (leased === undefined) this.#byPath.set(path, leased = new Map());
    return leased;
  }
}

/** A lease of another process that may have ended, as first seen. */
interface Suspect {
  readonly id: bigint;
  readonly lease: string | null;
  readonly dueMs: bigint;
  /** Monotonic milliseconds. */
  readonly sinceMs: number;
}

/** A lease's name: unique, and with its length for other workers. */
export function leaseName(owner: string, claim: number, leaseMs: number): string {
  return `${owner}#${claim}#${leaseMs}ms`;
}

/**
 * Who has leased which jobs, and for how long.
 *
 * A lease ends at a time of day, which outlives every process. But the time of day can be set. A worker that believed it would
 * then take jobs that others run, and jobs that it runs itself. So this part
 *
 * 1. knows the leases of this process: these are renewed and never handed out again, whatever the time is;
 * 2. makes jobs ready again when their lease has ended;
 * 3. notices that the time of day was set, and renews all leases at once;
 * 4. from then on ends a lease of another process only when, by the monotonic clock, it was not renewed for its whole length;
 *    and does so, too, when a lease shows that its owner has another time;
 * 5. does the same with a lease that ends later than any valid one: the clock that made it was ahead.
 */
export class SqliteLeases {
  readonly #shared: SqliteShared;
  readonly #leased: Map<RowKey, Leased>;
  readonly #leaseMs: number;
  readonly #observe: Observer;
  readonly #background: BackgroundWork;
  readonly #watch: ClockWatch;
  readonly #sql: ReturnType<typeof prepareStatements>;
  readonly #suspects = new Map<bigint, Suspect>();
  #trustedFromMs: number;
  #timer: Timer | undefined;
  #looking: Promise<void> | undefined;
  #isStarted = false;
  #isClosed = false;
  /** Whether a lease may have ended by the time of day while its owner lives. */
  #isInDoubt = false;
  #lookedAtMs = -Infinity;
  #mustRenew = false;
  #mustSearch = true;

  /** @param deps.leased The leased rows of this process, shared with its other brokers. */
  constructor(
    shared: SqliteShared,
    deps: { leased: Map<RowKey, Leased>; observe: Observer },
    options: { leaseMs: number },
  ) {
    this.#shared = shared;
    this.#leased = deps.leased;
    this.#observe = deps.observe;
    this.#leaseMs = options.leaseMs;
    this.#background = new BackgroundWork(deps.observe, "leases");
    this.#watch = new ClockWatch(shared.clock);
    this.#sql = prepareStatements(shared);
    this.#trustedFromMs = shared.clock.monotonicMs() + SETTLE_IN_MS;
  }

  /** The number of the file's opening. */
  get opening(): number {
    return this.#shared.file.openings;
  }

  /** Called when another file was opened in its place. */
  begin(): void {
    this.#suspects.clear();
    this.#mustSearch = true;
    this.#lookedAtMs = -Infinity;
    this.#trustedFromMs = this.#shared.clock.monotonicMs() + SETTLE_IN_MS;
    const inFlight = [...this.#leased.values()].filter(({ leases }) => leases === this).length;
    this.#observe({ type: "queue_replaced", path: this.#shared.file.path, inFlight });
  }

  start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    this.#lookLater(LOOK_EVERY_MS);
  }

  /** Stops, and forgets all leases. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#looking;
    for (const delivery of this.#leased.values()) if (delivery.leases === this) this.drop(delivery);
  }

  hold(delivery: Leased): void {
    this.#leased.set(delivery.rowId, delivery);
  }

  drop(delivery: Leased): void {
    if (this.#leased.get(delivery.rowId) === delivery) this.#leased.delete(delivery.rowId);
  }

  /** When the next delayed job is due or the next lease ends, epoch milliseconds. */
  nextDueMs(): number | undefined {
    const isTrusted = this.#isTrusted;
    const lookMs = this.#shared.clock.monotonicMs();
    const statement = isTrusted ? this.#sql.nextDue : this.#sql.nextDelayed;
    const dueMs = statement.get()!["due_at"] as number | null ?? undefined;
    // A check like the timer's, which may be late: no lease has ended yet.
    if (isTrusted && (dueMs === undefined || dueMs > this.#shared.clock.nowMs())) this.#lookedAtMs = lookMs;
    return dueMs;
  }

  /** Within a transaction: makes due jobs ready. */
  promote(nowMs: number): void {
    this.#noticeStep();
    this.#sql.promote.run(nowMs);
    if (this.#isTrusted) this.#endDue(nowMs);
  }

  /** Within a transaction: ends the leases that have ended by the time of day. */
  #endDue(nowMs: number): void {
    const lookMs = this.#shared.clock.monotonicMs();
    const sinceMs = lookMs - this.#lookedAtMs;
    this.#lookedAtMs = lookMs;
    for (const row of this.#sql.ended.all(nowMs)) {
      const { id, lease, dueMs } = row as unknown as Suspect;
      if (this.#isHeld(id, lease)) {
        this.#sql.renew.run(nowMs + (lengthOf(lease) ?? this.#leaseMs), id, lease);
      } else if (nowMs - Number(dueMs) > sinceMs + SLACK_MS) {
        // At the last check it had not ended: the clock that made it differs.
        this.#isInDoubt = true;
        return;
      } else {
        this.#sql.end.run(id, dueMs);
      }
    }
  }

  /** Whether a lease ends at its time of day. */
  get #isTrusted(): boolean {
    return !this.#isInDoubt && this.#shared.clock.monotonicMs() >= this.#trustedFromMs;
  }

  #isHeld(id: bigint, lease: string | null): boolean {
    return this.#leased.get(keyOf(id))?.token === lease;
  }

  #noticeStep(): void {
    const byMs = this.#watch.stepMs();
    if (byMs === 0) return;
    this.#isInDoubt = this.#mustRenew = this.#mustSearch = true;
    this.#observe({ type: "clock_stepped", byMs });
    // Waits for a time of day are wrong now.
    this.#shared.changes.announceOwn();
    if (this.#isStarted) this.#lookLater(0);
  }

  #lookLater(delayMs: number): void {
    if (this.#isClosed) return;
    this.#timer?.cancel();
    this.#timer = this.#shared.clock.setTimer(() => this.#lookNow(), delayMs);
  }

  #lookNow(): void {
    // A timer that was cancelled in the turn in which it was due may still fire.
    if (this.#isClosed) return;
    this.#looking ??= this.#background.run(() => this.#look()).finally(() => {
      this.#looking = undefined;
      this.#lookLater(LOOK_EVERY_MS);
    });
  }

  async #look(): Promise<void> {
    this.#noticeStep();
    const { writer, changes, file } = this.#shared;
    if (this.#mustRenew) {
      await writer.write(() => this.#renewAll());
      this.#mustRenew = false;
    }
    if (!this.#isInDoubt) {
      const lookMs = this.#shared.clock.monotonicMs();
      // The holder renews its leases.
      const rows = await read(file, () => this.#sql.ended.all(this.#shared.clock.nowMs()));
      if ((rows as unknown as Suspect[]).every(({ id, lease }) => this.#isHeld(id, lease))) {
        this.#lookedAtMs = lookMs;
      } else if (this.#isTrusted) {
        await writer.write(() => this.#endDue(this.#shared.clock.nowMs()));
        changes.announceOwn();
      }
    }
    const ended = await read(file, () => this.#judge());
    if (ended.length === 0) return;
    await writer.write(() => {
      for (const { id, dueMs } of ended) this.#sql.end.run(id, dueMs);
    });
    changes.announceOwn();
  }

  /** Within a transaction. */
  #renewAll(): void {
    const endMs = this.#shared.clock.nowMs() + this.#leaseMs;
    for (const { rowId, token, leases } of this.#leased.values()) {
      if (leases === this) this.#sql.renew.run(endMs, rowId, token);
    }
  }

  /** Ended leases whose time of day does not show it. */
  #judge(): Suspect[] {
    const { clock } = this.#shared;
    const [nowMs, sinceMs] = [clock.nowMs(), clock.monotonicMs()];
    const suspect = (row: unknown) => {
      const { id, lease, dueMs } = row as Suspect;
      if (!this.#suspects.has(id)) this.#suspects.set(id, { id, lease, dueMs, sinceMs });
    };
    if (this.#mustSearch) {
      // This reads past all delayed jobs. No such lease appears between two steps of the clock.
      for (const row of this.#sql.after.iterate(nowMs + SLACK_MS)) {
        const { lease, dueMs } = row as unknown as Suspect;
        const latestMs = nowMs + (lengthOf(lease) ?? this.#leaseMs) + SLACK_MS;
        // It may not be a number.
        if (!(Number(dueMs) <= latestMs)) suspect(row);
      }
      this.#mustSearch = false;
    }
    if (this.#isInDoubt) { for (const row of this.#sql.ended.all(nowMs)) suspect(row); }
    const ended: Suspect[] = [];
    for (const one of this.#suspects.values()) {
      const isSame = this.#sql.isSame.get(one.id, one.dueMs) !== undefined;
      const hasEnded = sinceMs - one.sinceMs >= (lengthOf(one.lease) ?? this.#leaseMs);
      if (!isSame || this.#isHeld(one.id, one.lease)) this.#suspects.delete(one.id);
      else if (hasEnded) ended.push(one);
    }
    return ended;
  }
}

/** The length of a renewed lease of that name, milliseconds, if the name has it. */
function lengthOf(lease: string | null): number | undefined {
  const [, length] = /#(\d{1,9})ms$/.exec(lease ?? "") ?? [];
  return length === undefined ? undefined : Number(length);
}

function prepareStatements({ file }: SqliteShared) {
  // The first condition is the index's own.
  const delayed = "state IN ('delayed', 'reserved') AND state = 'delayed'";
  const reserved = "state IN ('delayed', 'reserved') AND state = 'reserved'";
  // Any stored value becomes a readable number.
  const earliest = `SELECT min(min(due_at), ${Number.MAX_SAFE_INTEGER}) AS due_at FROM fervo_jobs`;
  const suspect =
    `SELECT id, CAST(lease AS TEXT) AS lease, due_at AS dueMs FROM fervo_jobs WHERE ${reserved}`;
  // A renewed lease, or another one, ends at another time.
  const same = "id = ? AND due_at = ? AND state = 'reserved'";
  return {
    nextDue: file.prepare(`${earliest} WHERE state IN ('delayed', 'reserved')`),
    nextDelayed: file.prepare(`${earliest} WHERE ${delayed}`),
    promote: file.prepare(`UPDATE fervo_jobs SET state = 'ready' WHERE ${delayed} AND due_at <= ?`),
    ended: file.prepare(`${suspect} AND due_at <= ?`, { bigInts: true }),
    after: file.prepare(`${suspect} AND due_at > ?`, { bigInts: true }),
    isSame: file.prepare(`SELECT 1 FROM fervo_jobs WHERE ${same}`),
    // The lease stays in the row: a late settle of its holder still counts until another worker takes the job.
    end: file.prepare(`UPDATE fervo_jobs SET state = 'ready' WHERE ${same}`),
    renew: file.prepare("UPDATE fervo_jobs SET state = 'reserved', due_at = ? WHERE id = ? AND lease = ?"),
  };
}
