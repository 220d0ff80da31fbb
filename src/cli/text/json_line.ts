/** A value as `--json` prints it: in a line. What others wrote may be a number that JSON has no place for: it is a text. */
export function jsonLine(value: unknown): string {
  return `${JSON.stringify(value, (_, each) => isNoJson(each) ? String(each) : each)}\n`;
}

function isNoJson(value: unknown): boolean {
  return typeof value === "bigint" || (typeof value === "number" && !Number.isFinite(value));
}
