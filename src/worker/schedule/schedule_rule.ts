import { Cron } from "croner";

/** When a schedule is due: by a cron expression in a time zone, or at every multiple of an interval. */
export type ScheduleRuleOptions =
  | { readonly cron: string; readonly timeZone: string }
  | { readonly everyMs: number };

/**
 * The due times of a schedule. They depend on the rule alone, and so are the same for every worker. All times are epoch
 * milliseconds.
 */
export interface ScheduleRule {
  /** The rule as a text, different for each rule. */
  readonly text: string;
  /** The first time after `ms`; undefined without any. */
  nextAfter(ms: number): number | undefined;
  /** The latest `count` times that are not after `ms`, the earliest first. */
  latestUntil(ms: number, count: number): number[];
}

export function createRule(options: ScheduleRuleOptions): ScheduleRule {
  return "cron" in options ? new CronRule(options) : new IntervalRule(options.everyMs);
}

/** Why a cron expression is invalid, as the end of a sentence; undefined when it is valid. */
export function whyCronIsRefused(cron: string): string | undefined {
  try {
    const isEverDue = new CronRule({ cron, timeZone: "UTC" }).nextAfter(0) !== undefined;
    return isEverDue ? undefined : "it is never due: there is no such day";
  } catch (error) {
    // croner names the field.
    return (error as Error).message.replace(/^CronPattern: /, "");
  }
}

/** Whether the runtime knows it as an IANA time zone. */
export function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    // The runtime accepts an offset such as "+02:00", and croner does not.
    return /^[A-Za-z]/.test(name);
  } catch {
    return false;
  }
}

/**
 * A cron expression of five fields, or six with seconds first.
 *
 * 1. With `*` as its hour, or `*` in its minutes or seconds, it follows the clock as it is: an hour that is left out has no
 *    times, an hour that comes twice has them twice.
 * 2. Any other expression has fixed times, each once a day: a time that is left out is due when the clock has changed, and a
 *    time that comes twice is due the first time.
 */
class CronRule implements ScheduleRule {
  readonly text: string;
  /** In UTC, which never changes: its times are those of a wall clock, read as UTC. */
  readonly #cron: Cron;
  readonly #zone: ZoneClock;
  readonly #isFixed: boolean;

  /** @throws {TypeError} when the expression is invalid */
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
      // The time that the clock shows at the change may be due itself.
      [fromMs, shown] = [changeMs, shownAfter - 1_000];
    }
  }

  latestUntil(ms: number, count: number): number[] {
    const zone = this.#zone;
    // croner returns times before a time, and takes whole seconds.
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
      // Around a change of the clock, some of the found times do not exist.
      if (latest.length >= count || shown.length < looked) return latest.slice(-count);
    }
  }
}

/** Whether an expression names hours, and minutes in them. */
function isForFixedTimes(cron: string): boolean {
  const fields = cron.trim().split(/\s+/);
  if (fields.length === 1) return cron !== "@hourly";
  const [hour, ...smaller] = fields.slice(0, -3).reverse();
  return !/^(?:\*|\?|\*\/1)$/.test(hour!) && !smaller.some((field) => field.includes("*"));
}

/** The largest change of a clock ever: Samoa left out a day. */
const LONGEST_CHANGE_MS = 24 * 3_600_000;
/** No clock changes twice within this time. */
const CHANGE_STEP_MS = 6 * 3_600_000;

/** A wall clock of a time zone: its offset to UTC, and its changes. */
class ZoneClock {
  readonly #format: Intl.DateTimeFormat | undefined;

  constructor(timeZone: string) {
    // UTC never changes, and most schedules use it.
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

  /** The first change of the clock later than `fromMs` and no later than `toMs`; undefined without one. */
  changeWithin(fromMs: number, toMs: number): number | undefined {
    if (this.#format === undefined) return undefined;
    const before = this.offsetMs(fromMs);
    for (let low = fromMs; low < toMs;) {
      let high = Math.min(low + CHANGE_STEP_MS, toMs);
      if (this.offsetMs(high) !== before) {
        // Clocks change at whole seconds.
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

  /** Whether the clock showed the same time before it was last set back. */
  hasShownBefore(ms: number): boolean {
    if (this.#format === undefined) return false;
    const changeMs = this.changeWithin(ms - LONGEST_CHANGE_MS, ms);
    if (changeMs === undefined) return false;
    const shown = ms + this.offsetMs(ms);
    return shown - this.offsetMs(changeMs - 1) < changeMs;
  }
}

const PARTS = ["year", "month", "day", "hour", "minute", "second"] as const;

/** Counted from 1970, so that all workers have the same times. */
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
