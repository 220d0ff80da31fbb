/** Figures as people read them, in all reports alike. */

/** With three significant digits, or all before the point; "–" without a measurement. */
export function figure(value: number | null): string {
  if (value === null || !Number.isFinite(value)) return "–";
  const whole = Math.floor(Math.log10(Math.abs(value))) + 1;
  const digits = Number.isInteger(value) ? 0 : Math.min(Math.max(3 - whole, 0), 9);
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** `12.3 µs`, `4.56 ms`, `7.89 s` */
export function duration(seconds: number): string {
  if (seconds < 0.001) return `${figure(1e6 * seconds)} µs`;
  return seconds < 1 ? `${figure(1e3 * seconds)} ms` : `${figure(seconds)} s`;
}

/** `58 %` */
export function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`;
}

/** In MiB or GiB. */
export function bytes(count: number): string {
  return count < 2 ** 30 ? `${figure(count / 2 ** 20)} MiB` : `${figure(count / 2 ** 30)} GiB`;
}
