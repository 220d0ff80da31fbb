/*
 * What the words of the contract are in those of beanstalkd, and back. Pure.
 */
import { FervoError } from "../../core/errors.ts";
import type { BeanstalkdReply } from "./reply.ts";
import { readStats } from "./reply.ts";

/** beanstalkd's numbers have 32 bits. */
const MAX_NUMBER = 2 ** 32 - 1;
/** The longest delay, milliseconds. */
export const MAX_DELAY_MS = MAX_NUMBER * 1_000;
/** The priority that producers use who do not care, e.g. pheanstalk's; it stands for our 0. */
const NORMAL_PRI = 1_024;
const TUBE_NAME = /^[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()-]{0,199}$/;

/** Why a queue cannot be a tube of this name; undefined when it can. The text is the end of a sentence. */
export function whyTubeIsRefused(name: string): string | undefined {
  return TUBE_NAME.test(name)
    ? undefined
    : "beanstalkd's tubes have 1 to 200 characters of A-Z a-z 0-9 + / ; . $ _ ( ) - and do not begin with -";
}

/** @throws {FervoError} CONFIG_INVALID when a queue cannot be a tube of this name */
export function refuseTube(name: string): void {
  const reason = whyTubeIsRefused(name);
  if (reason === undefined) return;
  throw new FervoError("CONFIG_INVALID", `Cannot use the queue "${name}": ${reason}`);
}

/** Higher priorities run first, lower `pri`s do. What is beyond the range becomes its end. */
export function priOf(priority: number): number {
  return Math.min(Math.max(NORMAL_PRI - priority, 0), MAX_NUMBER);
}

/** Whole seconds, rounded up: never earlier than wanted. */
export function secondsOf(ms: number): number {
  return Math.min(Math.ceil(Math.max(ms, 0) / 1_000), MAX_NUMBER);
}

/** An id is a whole number of 64 bits; any other text is none. */
export function isJobId(text: string): boolean {
  return /^[1-9]\d{0,19}$/.test(text) && BigInt(text) < 2n ** 64n;
}

/** What `stats-job` tells of a job. */
export interface JobStats {
  readonly tube: string;
  readonly state: "ready" | "delayed" | "reserved" | "buried";
  readonly pri: number;
  /** Since it was put by the server's clock, milliseconds; known to the second. Below 0 when that clock was set back. */
  readonly ageMs: number;
  /** Time to run: how long a reservation lasts unless renewed, milliseconds. */
  readonly ttrMs: number;
  /** How long this reservation lasts still, at the least; milliseconds. */
  readonly leftMs: number;
  /**
   * How often it was handed out, for good: a reservation that was given back uncounted ended in a kick, and so did a
   * burial that a person has undone.
   */
  readonly attempts: number;
}

/** @throws {SyntaxError} when it is no answer to `stats-job` */
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

/** When a job was put, epoch milliseconds; undefined when its age cannot be true. */
export function putAtMs({ ageMs }: JobStats, nowMs: number): number | undefined {
  return ageMs >= 0 && ageMs <= nowMs ? nowMs - ageMs : undefined;
}

/**
 * A whole number. Ages and times left are below 0 after the server's clock was set back.
 *
 * @throws {SyntaxError} when there is no such number
 */
export function numberIn(stats: ReadonlyMap<string, string>, name: string): number {
  const text = stats.get(name) ?? "";
  if (!/^-?\d+$/.test(text)) throw new SyntaxError(`its statistics have "${text}" for "${name}"`);
  return Number(text);
}
