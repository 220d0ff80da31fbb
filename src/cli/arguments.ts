import { InvalidArgumentError } from "commander";
import { isUniqueKey, UNIQUE_KEYS } from "../core/format.ts";
import { isQueueName, QUEUE_NAME_RULE } from "../core/text/queue_name.ts";

const UNITS_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `500ms`, `10s`, `5m`, `2h`, `1d` in milliseconds. */
export function durationMs(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text);
  if (!match) {
    throw new InvalidArgumentError(`Expected a number with a unit, such as 500ms, 10s, 5m, 2h or 1d.`);
  }
  return Math.round(Number(match[1]) * UNITS_MS[match[2]!]!);
}

/** A date, in UTC without an offset, as epoch milliseconds; undefined for any other text. */
export function dateMs(text: string): number | undefined {
  if (!/^\d{4}-\d\d-\d\d/.test(text)) return undefined;
  const hasZone = /(?:Z|[+-]\d\d:?\d\d)$/.test(text.slice(10));
  const ms = Date.parse(text.length > 10 && !hasZone ? `${text}Z` : text);
  return Number.isNaN(ms) ? undefined : ms;
}

/** A whole number of at least `min`. */
export function wholeNumber(min: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === "" || !Number.isSafeInteger(value) || value < min) {
      throw new InvalidArgumentError(
        min === Number.MIN_SAFE_INTEGER
          ? "Expected a whole number."
          : `Expected a whole number of at least ${min}.`,
      );
    }
    return value;
  };
}

/** A queue's name that is also valid in a configuration: else its jobs would wait for ever. */
export function queueName(text: string): string {
  if (!isQueueName(text)) {
    throw new InvalidArgumentError(`Expected ${QUEUE_NAME_RULE}`);
  }
  return text;
}

/** A unique key that brokers can store. */
export function uniqueKey(text: string): string {
  if (!isUniqueKey(text)) throw new InvalidArgumentError(`Expected ${UNIQUE_KEYS}.`);
  return text;
}

/** Collects `NAME=VALUE` from an option that may be given many times. */
export function nameAndValue(text: string, earlier: [string, string][] = []): [string, string][] {
  const equals = text.indexOf("=");
  if (equals < 1) throw new InvalidArgumentError("Expected NAME=VALUE.");
  return [...earlier, [text.slice(0, equals), text.slice(equals + 1)]];
}
