/** Offsets change at a quarter of an hour at the earliest: the latest one is kept for this long, milliseconds. */
const KEPT_MS = 15 * 60_000;

/**
 * The time zone of the times in a table, which have no zone themselves.
 *
 * In the hour that a zone has twice, once a year, a time of the table means its second pass.
 */
export class Zone {
  readonly name: string;
  readonly #format: Intl.DateTimeFormat | undefined;
  #slot = NaN;
  #offsetMs = 0;

  /** @throws {RangeError} when there is no such zone */
  constructor(name: string) {
    this.name = name;
    const format = new Intl.DateTimeFormat("en-US", { timeZone: name, timeZoneName: "longOffset" });
    this.#format = format.resolvedOptions().timeZone === "UTC" ? undefined : format;
  }

  /** How far its time is ahead of UTC at an instant, milliseconds. @param atMs Epoch milliseconds. */
  offsetMs(atMs: number): number {
    if (this.#format === undefined || !Number.isFinite(atMs)) return 0;
    const slot = Math.floor(atMs / KEPT_MS);
    if (slot !== this.#slot) {
      this.#offsetMs = offsetOf(this.#format, slot * KEPT_MS);
      this.#slot = slot;
    }
    return this.#offsetMs;
  }

  /** An instant as the table has it, down to the second: `2026-12-01 09:30:00`. */
  text(atMs: number): string {
    return new Date(atMs + this.offsetMs(atMs)).toISOString().slice(0, 19).replace("T", " ");
  }

  /** The instant of a time of the table, epoch milliseconds; undefined for any other value. */
  instantMs(text: unknown): number | undefined {
    if (typeof text !== "string") return undefined;
    const localMs = Date.parse(`${text.replace(" ", "T")}Z`);
    if (Number.isNaN(localMs)) return undefined;
    const nearMs = localMs - this.offsetMs(localMs);
    return localMs - this.offsetMs(nearMs);
  }
}

/** `GMT+02:00`, or `GMT` alone. */
function offsetOf(format: Intl.DateTimeFormat, atMs: number): number {
  const name = format.formatToParts(atMs).find(({ type }) => type === "timeZoneName")!.value;
  const [, sign, hours, minutes, seconds = "0"] = /([+-])(\d\d):(\d\d)(?::(\d\d))?/.exec(name) ?? [];
  if (sign === undefined) return 0;
  const offsetMs = ((Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1_000;
  return sign === "-" ? -offsetMs : offsetMs;
}
