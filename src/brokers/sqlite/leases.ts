import { ClockWatch, type Timer } from "../../core/time/clock.ts";
import type { Observer } from "../../core/observer.ts";
import { BackgroundWork } from "../background.ts";
import type { SqliteShared } from "./shared.ts";
import { read } from "./store/writer.ts";

/** How often to look whether the time of day was set, milliseconds. */
export const LOOK_EVERY_MS = 500;
/**
 * A worker ends no lease for this long after its start, milliseconds: the time of day may have been set just before, and the
 * owners notice it within this.
 */
const SETTLE_IN_MS = 1_500;
/** Any lease ends sooner than its length and this from now, milliseconds, unless another clock has made it. */
const SLACK_MS = 1_000;

/** A row's id as it is looked up: a number where JavaScript has it exactly. */
export type RowKey = number | bigint;

export function keyOf(id: number | bigint): RowKey {
  if (typeof id === "number") return id;
  const number = Number(id);
  return Number.isSafeInteger(number) ? number : id;
}

/** A job that this process holds: its row, the name of its lease, and who keeps that. */
export interface Leased {
  readonly rowId: RowKey;
  readonly token: string;
  readonly leases: SqliteLeases;
}

/** The jobs that this process holds, by their ids, for each file: one for all brokers of a process. */
export class SqliteHoldings {
  readonly #byPath = new Map<string, Map<RowKey, Leased>>();

  /** @param path The file's real path. */
  of(path: string): Map<RowKey, Leased> {
    let leased = this.#byPath.get(path);
    if (leased === undefined) this.#byPath.set(path, leased = new Map());
    return leased;
  }
}

/** A lease of another process that may have ended, as it was when it was first seen so. */
interface Suspect {
  readonly id: bigint;
  readonly lease: string | null;
  readonly dueMs: bigint;
  /** Monotonic milliseconds. */
  readonly sinceMs: number;
}

/** What a lease is called: unique, and with its length for whoever has to judge it. */
export function leaseName(owner: string, claim: number, leaseMs: number): string {
  return `${owner}#${claim}#${leaseMs}ms`;
}

/**
 * Whose the reserved jobs are, and for how long.
 *
 * A lease ends at a time of day, which outlives every process. But the time of day can be set, and a worker that believed
 * it then would take jobs that others run, and those that it runs itself. So this
 *
 * 1. knows what this process holds: that is renewed rather than handed out again, whatever the time is;
 * 2. makes jobs ready again whose lease has ended;
 * 3. notices that the time of day was set, and renews all leases at once;
 * 4. from then on takes a lease of another process for ended only when, by the monotonic clock, it was seen for its whole
 *    length and not renewed; and so from when a lease shows that its owner has another time;
 * 5. does the same with a lease that ends later than any can: the clock that made it was ahead.
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
  /** Whether a lease may have ended by the time of day, and its owner live. */
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

  /** Which opening of the file this is. */
  get opening(): number {
    return this.#shared.file.openings;
  }

  /** To be called when another file was opened in the place of the former one. */
  begin(): void {
    this.#suspects.clear();
    this.#mustSearch = true;
    this.#lookedAtMs = -Infinity;
    this.#trustedFromMs = this.#shared.clock.monotonicMs() + SETTLE_IN_MS;
    const inFlight = [...this.#leased.values()].filter(({ leases }) => leases === this).length;
    this.#observe({ type: "queue_replaced", path: this.#shared.file.path, inFlight });
  }

  /** Begins to look. Idempotent. */
  start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    this.#lookLater(LOOK_EVERY_MS);
  }

  /** Ends the looking, and forgets all leases. */
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
    // A look like that of the timer, which may be late: no lease has ended yet.
    if (isTrusted && (dueMs === undefined || dueMs > this.#shared.clock.nowMs())) this.#lookedAtMs = lookMs;
    return dueMs;
  }

  /** In a transaction: makes ready what is due. */
  promote(nowMs: number): void {
    this.#noticeStep();
    this.#sql.promote.run(nowMs);
    if (this.#isTrusted) this.#endDue(nowMs);
  }

  /** In a transaction: ends the leases that have ended by the time of day. */
  #endDue(nowMs: number): void {
    const lookMs = this.#shared.clock.monotonicMs();
    const sinceMs = lookMs - this.#lookedAtMs;
    this.#lookedAtMs = lookMs;
    for (const row of this.#sql.ended.all(nowMs)) {
      const { id, lease, dueMs } = row as unknown as Suspect;
      if (this.#isHeld(id, lease)) {
        this.#sql.renew.run(nowMs + (lengthOf(lease) ?? this.#leaseMs), id, lease);
      } else if (nowMs - Number(dueMs) > sinceMs + SLACK_MS) {
        // At the last look it had not ended: by the clock that made it, it is younger.
        this.#isInDoubt = true;
        return;
      } else {
        this.#sql.end.run(id, dueMs);
      }
    }
  }

  /** Whether a lease that ends at a time of day ends then. */
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
    // What waits for a time of day waits for another one now.
    this.#shared.changes.announceOwn();
    if (this.#isStarted) this.#lookLater(0);
  }

  #lookLater(delayMs: number): void {
    if (this.#isClosed) return;
    this.#timer?.cancel();
    this.#timer = this.#shared.clock.setTimer(() => this.#lookNow(), delayMs);
  }

  #lookNow(): void {
    // A timer that was cancelled in the turn in which it was due may fire nevertheless.
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

  /** In a transaction. */
  #renewAll(): void {
    const endMs = this.#shared.clock.nowMs() + this.#leaseMs;
    for (const { rowId, token, leases } of this.#leased.values()) {
      if (leases === this) this.#sql.renew.run(endMs, rowId, token);
    }
  }

  /** The leases that have ended though their time of day does not tell. */
  #judge(): Suspect[] {
    const { clock } = this.#shared;
    const [nowMs, sinceMs] = [clock.nowMs(), clock.monotonicMs()];
    const suspect = (row: unknown) => {
      const { id, lease, dueMs } = row as Suspect;
      if (!this.#suspects.has(id)) this.#suspects.set(id, { id, lease, dueMs, sinceMs });
    };
    if (this.#mustSearch) {
      // It reads past all delayed jobs. Between two steps of the clock no such lease comes into being.
      for (const row of this.#sql.after.iterate(nowMs + SLACK_MS)) {
        const { lease, dueMs } = row as unknown as Suspect;
        const latestMs = nowMs + (lengthOf(lease) ?? this.#leaseMs) + SLACK_MS;
        // It may be no number.
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

/** How long a lease of that name lasts when it is renewed, milliseconds, where its name tells. */
function lengthOf(lease: string | null): number | undefined {
  const [, length] = /#(\d{1,9})ms$/.exec(lease ?? "") ?? [];
  return length === undefined ? undefined : Number(length);
}

function prepareStatements({ file }: SqliteShared) {
  // The first condition is the index's own.
  const delayed = "state IN ('delayed', 'reserved') AND state = 'delayed'";
  const reserved = "state IN ('delayed', 'reserved') AND state = 'reserved'";
  // Whatever is there, it is a number that can be read.
  const earliest = `SELECT min(min(due_at), ${Number.MAX_SAFE_INTEGER}) AS due_at FROM fervo_jobs`;
  const suspect =
    `SELECT id, CAST(lease AS TEXT) AS lease, due_at AS dueMs FROM fervo_jobs WHERE ${reserved}`;
  // A lease that is renewed, or another one, ends at another time.
  const same = "id = ? AND due_at = ? AND state = 'reserved'";
  return {
    nextDue: file.prepare(`${earliest} WHERE state IN ('delayed', 'reserved')`),
    nextDelayed: file.prepare(`${earliest} WHERE ${delayed}`),
    promote: file.prepare(`UPDATE fervo_jobs SET state = 'ready' WHERE ${delayed} AND due_at <= ?`),
    ended: file.prepare(`${suspect} AND due_at <= ?`, { bigInts: true }),
    after: file.prepare(`${suspect} AND due_at > ?`, { bigInts: true }),
    isSame: file.prepare(`SELECT 1 FROM fervo_jobs WHERE ${same}`),
    // The lease stays in the row: until somebody else takes the job, a late settle by its holder still counts.
    end: file.prepare(`UPDATE fervo_jobs SET state = 'ready' WHERE ${same}`),
    renew: file.prepare("UPDATE fervo_jobs SET state = 'reserved', due_at = ? WHERE id = ? AND lease = ?"),
  };
}
