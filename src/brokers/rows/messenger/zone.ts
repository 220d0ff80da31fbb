/** Offsets change at a quarter of an hour at the earliest, milliseconds. */
const SLOT_MS = 15 * 60_000;
/** Offsets that are kept: finding one takes as long as all the rest of reading a row. */
const KEPT_SLOTS = 64;
const DAY_MS = 24 * 3_600_000;

/**
 * The time zone of the times in a table, which have no zone themselves.
 *
 * In the hour that a zone has twice, once a year, a time of the table means its second pass.
 */
export class Zone {
  readonly name: string;
  readonly #format: Intl.DateTimeFormat | undefined;
  readonly #offsets = new Map<number, number>();

  /** @throws {RangeError} when there is no such zone */
  constructor(name: string) {
    this.name = name;
    const format = new Intl.DateTimeFormat("en-US", { timeZone: name, timeZoneName: "longOffset" });
    this.#format = format.resolvedOptions().timeZone === "UTC" ? undefined : format;
  }

  /** How far its time is ahead of UTC at an instant, milliseconds. @param atMs Epoch milliseconds. */
  offsetMs(atMs: number): number {
    if (this.#format === undefined || !Number.isFinite(atMs)) return 0;
    const slot = Math.floor(atMs / SLOT_MS);
    const known = this.#offsets.get(slot);
    if (known !== undefined) return known;
    const offsetMs = offsetOf(this.#format, slot * SLOT_MS);
    if (this.#offsets.size === KEPT_SLOTS) this.#offsets.clear();
    this.#offsets.set(slot, offsetMs);
    return offsetMs;
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
    const [beforeMs, afterMs] = [-DAY_MS, DAY_MS].map((ms) => localMs - this.offsetMs(localMs + ms)) as [
      number,
      number,
    ];
    const instants = [beforeMs, afterMs].filter((atMs) => atMs + this.offsetMs(atMs) === localMs);
    // A time that a zone leaves out is one that was reckoned before the change.
    return instants.length > 0 ? Math.max(...instants) : beforeMs;
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
