/** A value in `--json`, on one line. A foreign number that JSON cannot have becomes a text. */
export function jsonLine(value: unknown): string {
  return `${JSON.stringify(value, (_, each) => isNoJson(each) ? String(each) : each)}\n`;
}

function isNoJson(value: unknown): boolean {
  return typeof value === "bigint" || (typeof value === "number" && !Number.isFinite(value));
}
