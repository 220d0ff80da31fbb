/* Times as scores of Redis's sorted sets: seconds, as text. Others may have written any score. */
import type { Buffer } from "node:buffer";

/** The latest time that a date can hold, epoch milliseconds. */
const MAX_TIME_MS = 8.64e15;

/** A time as a score: three decimals. */
export function scoreOf(epochMs: number): string {
  return (epochMs / 1_000).toFixed(3);
}

/** When a score is due, epoch milliseconds: any number, -Infinity or Infinity. An invalid score is never due. */
export function dueOfScore(score: Buffer): number {
  const text = String(score);
  if (/^[+-]?inf/i.test(text)) return text.startsWith("-") ? -Infinity : Infinity;
  const dueMs = Math.ceil(Number(text) * 1_000);
  return Number.isNaN(dueMs) ? Infinity : dueMs;
}

/** Whether Redis accepts it as a score. */
export function isScore(text: string): boolean {
  return /^[+-]?inf$/.test(text) || (text !== "" && !Number.isNaN(Number(text)));
}

/** The time of a score, epoch milliseconds; undefined when no date can hold it. */
export function timeOfScore(score: Buffer | string): number | undefined {
  const timeMs = Math.round(Number(String(score)) * 1_000);
  return Math.abs(timeMs) <= MAX_TIME_MS ? timeMs : undefined;
}
