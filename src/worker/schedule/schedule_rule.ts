import { Cron } from "croner";

/** When a schedule is due: as its cron expression says in a time zone, or at every multiple of a time. */
export type ScheduleRuleOptions =
  | { readonly cron: string; readonly timeZone: string }
  | { readonly everyMs: number };

/**
 * The times at which a schedule is due, the same for whoever asks: they depend on the rule alone. All times are epoch
 * milliseconds.
 */
export interface ScheduleRule {
  /** The rule as a text; another rule has another one. */
  readonly text: string;
  /** The first time after `ms`; undefined when there is none any more. */
  nextAfter(ms: number): number | undefined;
  /** The latest `count` times that are not after `ms`, the earliest first. */
  latestUntil(ms: number, count: number): number[];
}

export function createRule(options: ScheduleRuleOptions): ScheduleRule {
  return "cron" in options ? new CronRule(options) : new IntervalRule(options.everyMs);
}

/** Why a cron expression cannot be used; undefined when it can. The text is the end of a sentence. */
export function whyCronIsRefused(cron: string): string | undefined {
  try {
    const isEverDue = new CronRule({ cron, timeZone: "UTC" }).nextAfter(0) !== undefined;
    return isEverDue ? undefined : "it is never due: there is no such day";
  } catch (error) {
    // croner names the field.
    return (error as Error).message.replace(/^CronPattern: /, "");
  }
}

/** Whether it is one of the IANA time zones, as the runtime knows them. */
export function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    // An offset such as "+02:00" is taken there, and is no zone for croner.
    return /^[A-Za-z]/.test(name);
  } catch {
    return false;
  }
}

/**
 * A cron expression of five fields, or six with seconds first.
 *
 * 1. With `*` as its hour, or `*` in its minutes or seconds, it goes by the clock as it is: an hour that is left out has no
 *    times, one that comes twice has them twice.
 * 2. Any other is for fixed times, each once a day: one that is left out is due when the clock has changed, and one that comes
 *    twice is due the first time.
 */
class CronRule implements ScheduleRule {
  readonly text: string;
  /** On a clock that never changes; its times are those that a clock on the wall shows, as if it were one of UTC. */
  readonly #cron: Cron;
  readonly #zone: ZoneClock;
  readonly #isFixed: boolean;

  /** @throws {TypeError} when the expression is none */
  constructor({ cron, timeZone }: { cron: string; timeZone: string }) {
    this.text = `${cron} ${timeZone}`;
    this.#cron = new Cron(cron, { timezone: "UTC", mode: "5-or-6-parts", paused: true });
    this.#zone = new ZoneClock(timeZone);
    this.#isFixed = isForFixedTimes(cron);
  }

  nextAfter(ms: number): number | undefined {
    const zone = this.#zone;
    let fromMs = ms;
    let shown = ms + zone.offsetMs(ms);
    for (;;) {
      const nextShown = this.#cron.nextRun(new Date(shown))?.getTime();
      if (nextShown === undefined) return undefined;
      const nextMs = nextShown - zone.offsetMs(fromMs);
      const changeMs = zone.changeWithin(fromMs, nextMs);
      if (changeMs === undefined) {
        if (!this.#isFixed || !zone.hasShownBefore(nextMs)) return nextMs;
        [fromMs, shown] = [Math.max(fromMs, nextMs), nextShown];
        continue;
      }
      const shownAfter = changeMs + zone.offsetMs(changeMs);
      if (this.#isFixed && nextShown < shownAfter) return changeMs;
      // What the clock shows at the change may be due itself.
      [fromMs, shown] = [changeMs, shownAfter - 1_000];
    }
  }

  latestUntil(ms: number, count: number): number[] {
    const zone = this.#zone;
    // It gives those before a time, which it takes in whole seconds.
    const before = new Date(Math.floor((ms + zone.offsetMs(ms)) / 1_000) * 1_000 + 1_000);
    for (let looked = count + 1;; looked *= 2) {
      const shown = this.#cron.previousRuns(looked, before).map((run) => run.getTime());
      if (shown.length === 0) return [];
      const fromMs = shown.at(-1)! - zone.offsetMs(ms);
      const changeMs = zone.changeWithin(fromMs - LONGEST_CHANGE_MS, ms);
      const changedBy = changeMs === undefined ? 0 : zone.offsetMs(changeMs) - zone.offsetMs(changeMs - 1);
      const latest: number[] = [];
      let at = this.nextAfter(fromMs - Math.abs(changedBy) - 1);
      for (; at !== undefined && at <= ms; at = this.nextAfter(at)) latest.push(at);
      // Around a change of the clock, some of those that were looked for are no times of their own.
      if (latest.length >= count || shown.length < looked) return latest.slice(-count);
    }
  }
}

/** Whether an expression names hours, and minutes of them. */
function isForFixedTimes(cron: string): boolean {
  const fields = cron.trim().split(/\s+/);
  if (fields.length === 1) return cron !== "@hourly";
  const [hour, ...smaller] = fields.slice(0, -3).reverse();
  return !/^(?:\*|\?|\*\/1)$/.test(hour!) && !smaller.some((field) => field.includes("*"));
}

/** No clock has been changed by more at once: Samoa left out a day. */
const LONGEST_CHANGE_MS = 24 * 3_600_000;
/** No clock is changed twice within. */
const CHANGE_STEP_MS = 6 * 3_600_000;

/** A clock on the wall of a time zone: by how much it is ahead of UTC, and when that changes. */
class ZoneClock {
  readonly #format: Intl.DateTimeFormat | undefined;

  constructor(timeZone: string) {
    // It never changes, and is what most schedules go by.
    if (timeZone === "UTC") return;
    const digits = { year: "numeric", month: "numeric", day: "numeric" } as const;
    const time = { hour: "numeric", minute: "numeric", second: "numeric", hourCycle: "h23" } as const;
    this.#format = new Intl.DateTimeFormat("en", {
      timeZone,
      calendar: "gregory",
      era: "short",
      ...digits,
      ...time,
    });
  }

  /** How far the clock is ahead of UTC at that time, milliseconds. */
  offsetMs(ms: number): number {
    if (this.#format === undefined) return 0;
    const parts = this.#format.formatToParts(ms);
    const [year, month, day, hour, minute, second] = PARTS.map((type) =>
      Number(parts.find((part) => part.type === type)!.value)
    );
    const shown = Date.UTC(year!, month! - 1, day!, hour!, minute!, second!);
    return shown - Math.floor(ms / 1_000) * 1_000;
  }

  /** When the clock is changed first, later than `fromMs` and no later than `toMs`; undefined when it is not. */
  changeWithin(fromMs: number, toMs: number): number | undefined {
    if (this.#format === undefined) return undefined;
    const before = this.offsetMs(fromMs);
    for (let low = fromMs; low < toMs;) {
      let high = Math.min(low + CHANGE_STEP_MS, toMs);
      if (this.offsetMs(high) !== before) {
        // Clocks are changed at whole seconds.
        [low, high] = [Math.floor(low / 1_000), Math.ceil(high / 1_000)];
        while (high - low > 1) {
          const middle = Math.floor((low + high) / 2);
          if (this.offsetMs(middle * 1_000) === before) low = middle;
          else high = middle;
        }
        return high * 1_000;
      }
      low = high;
    }
    return undefined;
  }

  /** Whether the clock showed what it shows now before it was last set back. */
  hasShownBefore(ms: number): boolean {
    if (this.#format === undefined) return false;
    const changeMs = this.changeWithin(ms - LONGEST_CHANGE_MS, ms);
    if (changeMs === undefined) return false;
    const shown = ms + this.offsetMs(ms);
    return shown - this.offsetMs(changeMs - 1) < changeMs;
  }
}

const PARTS = ["year", "month", "day", "hour", "minute", "second"] as const;

/** Multiples are those since 1970, so that all workers have the same ones. */
class IntervalRule implements ScheduleRule {
  readonly text: string;
  readonly #everyMs: number;

  constructor(everyMs: number) {
    this.#everyMs = everyMs;
    this.text = `every ${everyMs} ms`;
  }

  nextAfter(ms: number): number {
    return (Math.floor(ms / this.#everyMs) + 1) * this.#everyMs;
  }

  latestUntil(ms: number, count: number): number[] {
    const last = Math.floor(ms / this.#everyMs);
    return Array.from({ length: count }, (_, i) => (last - count + 1 + i) * this.#everyMs);
  }
}
