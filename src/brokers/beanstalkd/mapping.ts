/* Maps the contract's terms to beanstalkd's, and back. Pure. */
import { FervoError } from "../../core/errors.ts";
import type { BeanstalkdReply } from "./reply.ts";
import { readStats } from "./reply.ts";

/** beanstalkd's numbers have 32 bits. */
const MAX_NUMBER = 2 ** 32 - 1;
/** The longest delay, milliseconds. */
export const MAX_DELAY_MS = MAX_NUMBER * 1_000;
/** The priority of producers without a wish, such as pheanstalk's default; it stands for our 0. */
const NORMAL_PRI = 1_024;
const TUBE_NAME = /^[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()-]{0,199}$/;

/** Why a queue cannot be a tube, as the end of a sentence; undefined when it can. */
export function whyTubeIsRefused(name: string): string | undefined {
  return TUBE_NAME.test(name)
    ? undefined
    : "beanstalkd's tubes have 1 to 200 characters of A-Z a-z 0-9 + / ; . $ _ ( ) - and do not begin with -";
}

/** @throws {FervoError} CONFIG_INVALID when a queue cannot be a tube */
export function refuseTube(name: string): void {
  const reason = whyTubeIsRefused(name);
  if (reason === undefined) return;
  throw new FervoError("CONFIG_INVALID", `Cannot use the queue "${name}": ${reason}`);
}

/** A higher priority runs first, and so does a lower `pri`. A value beyond the range becomes its limit. */
export function priOf(priority: number): number {
  return Math.min(Math.max(NORMAL_PRI - priority, 0), MAX_NUMBER);
}

/** Whole seconds, rounded up: never too early. */
export function secondsOf(ms: number): number {
  return Math.min(Math.ceil(Math.max(ms, 0) / 1_000), MAX_NUMBER);
}

/** An id is a whole number of 64 bits; any other text is invalid. */
export function isJobId(text: string): boolean {
  return /^[1-9]\d{0,19}$/.test(text) && BigInt(text) < 2n ** 64n;
}

/** The result of `stats-job`. */
export interface JobStats {
  readonly tube: string;
  readonly state: "ready" | "delayed" | "reserved" | "buried";
  readonly pri: number;
  /** Since the put, by the server's clock, milliseconds, in whole seconds. Negative after that clock was set back. */
  readonly ageMs: number;
  /** Time to run: the length of a reservation unless renewed, milliseconds. */
  readonly ttrMs: number;
  /** The least time that this reservation still lasts, milliseconds. */
  readonly leftMs: number;
  /**
   * How often it was reserved and not given back uncounted: each uncounted release ended in a kick, and so did each burial that
   * a person undid.
   */
  readonly attempts: number;
}

/** @throws {SyntaxError} when it is not an answer to `stats-job` */
export function jobStatsOf(reply: BeanstalkdReply): JobStats {
  const stats = readStats(reply.body!);
  return {
    tube: stats.get("tube") ?? "",
    state: stats.get("state") as JobStats["state"],
    pri: numberIn(stats, "pri"),
    ageMs: numberIn(stats, "age") * 1_000,
    ttrMs: numberIn(stats, "ttr") * 1_000,
    leftMs: numberIn(stats, "time-left") * 1_000,
    attempts: numberIn(stats, "reserves") - numberIn(stats, "kicks"),
  };
}

/** When a job was put, epoch milliseconds; undefined for an impossible age. */
export function putAtMs({ ageMs }: JobStats, nowMs: number): number | undefined {
  return ageMs >= 0 && ageMs <= nowMs ? nowMs - ageMs : undefined;
}

/**
 * A whole number. Ages and remaining times are negative after the server's clock was set back.
 *
 * @throws {SyntaxError} when the number is missing
 */
export function numberIn(stats: ReadonlyMap<string, string>, name: string): number {
  const text = stats.get(name) ?? "";
  if (!/^-?\d+$/.test(text)) throw new SyntaxError(`its statistics have "${text}" for "${name}"`);
  return Number(text);
}
