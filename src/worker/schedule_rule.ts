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
 * A cron expression of five fields, or six with seconds first. Where the clocks change: a time that is left out that day is
 * due when the clocks have changed; one that comes twice is due the first time. An expression that is due in several
 * minutes of an hour (`*`, `/`) goes by the hours as they are: none of those left out, all of those that come twice.
 */
class CronRule implements ScheduleRule {
  readonly text: string;
  readonly #cron: Cron;

  /** @throws {TypeError} when the expression is none */
  constructor({ cron, timeZone }: { cron: string; timeZone: string }) {
    this.text = `${cron} ${timeZone}`;
    this.#cron = new Cron(cron, { timezone: timeZone, mode: "5-or-6-parts", paused: true });
  }

  nextAfter(ms: number): number | undefined {
    return this.#cron.nextRun(new Date(ms))?.getTime();
  }

  latestUntil(ms: number, count: number): number[] {
    // It gives those before a time, which it takes in whole seconds.
    const before = new Date(Math.floor(ms / 1_000) * 1_000 + 1_000);
    return this.#cron.previousRuns(count, before).map((run) => run.getTime()).reverse();
  }
}

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
