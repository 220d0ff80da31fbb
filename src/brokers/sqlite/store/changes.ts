import type { Clock } from "../../../core/time/clock.ts";

/** A moment in the database's history, for a later comparison. */
export interface ChangeMark {
  readonly others: number;
  readonly own: number;
}

/** After a change, more may follow at once: how long to look often, and how often, milliseconds. */
const ALERT_MS = 250;
const ALERT_STEPS_MS = [1, 1, 1, 1, 2, 2, 4];
/** How often to look while asleep. With watched files this is only a safety net. */
const WATCHED_SLEEP_MS = 1_000;
const UNWATCHED_SLEEP_MS = 20;

/**
 * Reports changes of a SQLite database within milliseconds, and at no cost while nothing happens.
 *
 * `PRAGMA data_version` shows whether another connection has committed, but must be polled. The system reports writes to the
 * write-ahead log, but a moment before the commit is visible; at thousands of writes a second that costs more than the writes;
 * and it does not work on every file system. So:
 *
 * - alert: for a short time after a wait begins or the log was written, look every few milliseconds;
 * - asleep: after that, watch the log, and look once a second in case watching fails.
 *
 * Only the log may be watched, never the folder: `Deno.watchFs` opens and closes each file with an event, and closing any
 * descriptor of a file drops all POSIX locks that the process has on it (https://sqlite.org/howtocorrupt.html, section 2.2).
 * SQLite locks the database and its `-shm` file, and never the log.
 */
export class SqliteChanges {
  #path: string;
  readonly #clock: Clock;
  readonly #readDataVersion: () => number;
  readonly #wakeups = new Set<() => void>();
  #own = 0;
  #sleepers = 0;
  #watcher: Deno.FsWatcher | undefined;
  #canWatch = true;

  /** @param readDataVersion `PRAGMA data_version` of the connection that looks for jobs. */
  constructor(deps: { path: string; clock: Clock; readDataVersion: () => number }) {
    this.#path = deps.path;
    this.#clock = deps.clock;
    this.#readDataVersion = deps.readDataVersion;
  }

  /** The current moment. Take it before looking for jobs, so that a job inserted after the look ends the wait. */
  mark(): ChangeMark {
    return { others: this.#readDataVersion(), own: this.#own };
  }

  /** This connection has made a change that a waiter may want; `data_version` does not count own changes. */
  announceOwn(): void {
    this.#own++;
    this.#wakeAll();
  }

  /** Another file has replaced the database. */
  moveTo(path: string): void {
    this.#path = path;
    this.#stopWatching();
    this.#canWatch = true;
    if (this.#sleepers > 0) this.#startWatching();
    this.announceOwn();
  }

  /** Resolves at a change after `since`, after `timeoutMs`, or when `signal` aborts. */
  async wait(since: ChangeMark, timeoutMs: number, signal: AbortSignal): Promise<void> {
    const startMs = this.#clock.monotonicMs();
    let alertUntilMs = startMs + ALERT_MS;
    let step = 0;
    while (!signal.aborted && !this.#hasChanged(since)) {
      const nowMs = this.#clock.monotonicMs();
      const leftMs = startMs + timeoutMs - nowMs;
      if (leftMs <= 0) return;
      if (nowMs < alertUntilMs) {
        const stepMs = ALERT_STEPS_MS[Math.min(step++, ALERT_STEPS_MS.length - 1)]!;
        await this.#pause(Math.min(stepMs, leftMs), signal);
      } else if (await this.#sleep(since, leftMs, signal)) {
        alertUntilMs = this.#clock.monotonicMs() + ALERT_MS;
        step = 0;
      }
    }
  }

  #hasChanged(since: ChangeMark): boolean {
    return this.#own !== since.own || this.#readDataVersion() !== since.others;
  }

  /** Sleeps until a write to the log or a change, at most for `leftMs`. True when it was woken. */
  async #sleep(since: ChangeMark, leftMs: number, signal: AbortSignal): Promise<boolean> {
    const endMs = this.#clock.monotonicMs() + leftMs;
    if (this.#sleepers++ === 0) this.#startWatching();
    try {
      // First, because a commit before the watching began raises no event.
      while (!signal.aborted && !this.#hasChanged(since)) {
        const sleepMs = Math.min(
          this.#canWatch ? WATCHED_SLEEP_MS : UNWATCHED_SLEEP_MS,
          endMs - this.#clock.monotonicMs(),
        );
        if (sleepMs <= 0) return false;
        if (await this.#pause(sleepMs, signal)) return true;
      }
      return false;
    } finally {
      if (--this.#sleepers === 0) this.#stopWatching();
    }
  }

  /** Resolves after `ms`, or earlier with true when it was woken, or when `signal` aborts. */
  #pause(ms: number, signal: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const end = (isWoken: boolean) => {
        timer.cancel();
        this.#wakeups.delete(wake);
        signal.removeEventListener("abort", abort);
        resolve(isWoken);
      };
      const wake = () => end(true);
      const abort = () => end(false);
      const timer = this.#clock.setTimer(abort, ms);
      this.#wakeups.add(wake);
      signal.addEventListener("abort", abort);
    });
  }

  #wakeAll(): void {
    for (const wake of this.#wakeups) wake();
  }

  /** The log stays the same file while a connection is open, and ours is. */
  #startWatching(): void {
    if (!this.#canWatch) return;
    try {
      this.#watcher = Deno.watchFs(`${this.#path}-wal`, { recursive: false });
      void this.#forwardEvents(this.#watcher);
    } catch {
      // No inotify here, or none left (fs.inotify.max_user_instances): then it looks more often.
      this.#canWatch = false;
    }
  }

  async #forwardEvents(watcher: Deno.FsWatcher): Promise<void> {
    try {
      for await (const _event of watcher) this.#wakeAll();
    } catch {
      if (watcher !== this.#watcher) return;
      this.#canWatch = false;
      this.#wakeAll();
    }
  }

  #stopWatching(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }
}
