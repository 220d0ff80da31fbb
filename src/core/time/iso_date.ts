/**
 * A time in ISO 8601, e.g. `2026-01-31T12:00:00.000Z`. Foreign data may have numbers that no date can hold: these are shown as
 * they are, e.g. `1e+303` or `Infinity`. Never throws.
 *
 * @param epochMs UTC, epoch milliseconds.
 */
export function isoDate(epochMs: number): string {
  const date = new Date(epochMs);
  return Number.isNaN(date.getTime()) ? String(epochMs) : date.toISOString();
}
