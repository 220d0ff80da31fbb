/**
 * A time as ISO 8601 shows it, e.g. `2026-01-31T12:00:00.000Z`. Others write times too, and a number may be none that a date
 * can hold: it is shown as it is, e.g. `1e+303` or `Infinity`. Never throws.
 *
 * @param epochMs UTC, epoch milliseconds.
 */
export function isoDate(epochMs: number): string {
  const date = new Date(epochMs);
  return Number.isNaN(date.getTime()) ? String(epochMs) : date.toISOString();
}
