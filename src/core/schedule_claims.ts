import { isoDate } from "./time/iso_date.ts";

/**
 * Which slots of a schedule are claimed, and which claims count for whom.
 *
 * A worker claims a slot when its clock has reached the slot. So claims form spans of time: a span ends when no worker runs,
 * and the next one begins when a worker is back. A span does not show whether its clock was ahead or this one is behind. So no
 * claim is ever taken back, and each worker follows its own clock:
 *
 * 1. A span that begins in the future ({@link SKEW_MS}) means that two clocks differ. While a worker extends it, or may do so,
 *    it counts: the worker that is behind pushes nothing twice.
 * 2. When no worker has extended it for as long as its next slot takes, it is set aside. It counts again when its time has
 *    come, or when a worker claims in it.
 * 3. Of all other spans, the latest claim counts, and everything before it.
 */

/**
 * Clocks that differ by this much count as equal, milliseconds. Kerberos and others allow as much, and it is far more than
 * machines with a time server differ by. A schedule rests for at most this long without a report.
 */
export const SKEW_MS = 300_000;

/** At most this many spans are kept. More than two are seldom useful: of past spans only the latest counts. */
const MAX_SPANS = 8;

/** A later claim is read as this time, because no rule handles times without end; epoch milliseconds. */
export const LATEST_MS = Date.UTC(9999, 11, 31);

/** Times in epoch milliseconds. */
export interface ClaimSpan {
  /** When it began, by the clock of the worker that began it. */
  readonly fromMs: number;
  /** Its latest slot; before `fromMs` during a catch-up. */
  readonly toMs: number;
  /** It does not count for workers whose clock has not reached it. */
  readonly isAside: boolean;
}

/** What the broker stores about a schedule. */
export interface ScheduleRecord {
  /** The rule of the latest claim. */
  readonly rule: string;
  /** In order of time. */
  readonly spans: readonly ClaimSpan[];
}

/** The part of it that counts for a worker. */
export interface ScheduleClaims {
  /** Slots are claimed up to this time, epoch milliseconds; undefined without a span that has begun by the worker's clock. */
  readonly claimedToMs: number | undefined;
  /** Claims that begin in the future of the worker's clock. */
  readonly ahead?: {
    /** The end of these claims, epoch milliseconds. */
    readonly untilMs: number;
    /** They do not count, and the schedule goes on. */
    readonly isAside: boolean;
  };
}

/** A claim as a worker makes it. Times in epoch milliseconds. */
export interface SlotClaim {
  readonly rule: string;
  readonly dueMs: number;
  /** The first unclaimed slot, as far as the worker knows. */
  readonly firstMs: number;
  /** The worker's clock. */
  readonly nowMs: number;
}

/** A worker asks which slots are claimed. Times in epoch milliseconds. */
export interface Beginning {
  readonly rule: string;
  /** The worker's clock. */
  readonly nowMs: number;
  /** When the worker started; now unless given. */
  readonly sinceMs?: number;
}

/** The result of a claim: it is the caller's; the slot was claimed before; or unknown, because of future claims. */
export type ClaimResult = "ours" | "claimed" | "doubtful";

/** The part of a record that counts at a time. */
export function claimsAt({ spans }: ScheduleRecord, nowMs: number): ScheduleClaims {
  const { begun, ahead } = split(spans, nowMs);
  const claimedToMs = begun.length === 0 ? undefined : Math.max(...begun.map(({ toMs }) => toMs));
  if (ahead.length === 0) return { claimedToMs };
  return {
    claimedToMs,
    ahead: { untilMs: Math.max(...ahead.map(reachOf)), isAside: ahead.every(({ isAside }) => isAside) },
  };
}

/**
 * The record after a worker began; the same object when nothing changes. A schedule that is new, or has a new rule, is claimed
 * up to the worker's start: earlier due times were not missed.
 */
export function begun(
  record: ScheduleRecord | undefined,
  { rule, nowMs, sinceMs = nowMs }: Beginning,
): ScheduleRecord {
  const entry = { fromMs: nowMs, toMs: sinceMs, isAside: false };
  if (record === undefined) return { rule, spans: [entry] };
  const { claimedToMs, ahead } = claimsAt(record, nowMs);
  if (ahead?.isAside === false) return record;
  if (claimedToMs === undefined) return { rule, spans: limited([entry, ...record.spans]) };
  if (record.rule === rule) return record;
  const parts = split(record.spans, nowMs);
  const latest = { ...parts.begun.at(-1)!, toMs: Math.max(claimedToMs, sinceMs) };
  return { rule, spans: [...parts.begun.slice(0, -1), latest, ...parts.ahead] };
}

/** The record with this claim, unless it is refused. */
export function claimed(
  record: ScheduleRecord | undefined,
  { rule, dueMs, firstMs, nowMs }: SlotClaim,
): ScheduleRecord | Exclude<ClaimResult, "ours"> {
  const { claimedToMs = -Infinity, ahead } = record === undefined
    ? { claimedToMs: undefined }
    : claimsAt(record, nowMs);
  if (claimedToMs >= dueMs) return "claimed";
  if (ahead?.isAside === false) return "doubtful";
  const parts = split(record?.spans ?? [], nowMs);
  const before = parts.begun.map((span) => ({ ...span, isAside: false }));
  const latest = before.at(-1);
  // No worker ran for longer than clocks differ, or this clock is ahead.
  const isNew = latest === undefined || nowMs - Math.max(firstMs, latest.fromMs) > SKEW_MS;
  if (isNew) before.push({ fromMs: nowMs, toMs: dueMs, isAside: false });
  else before[before.length - 1] = { ...latest, toMs: dueMs };
  return { rule, spans: limited([...before, ...parts.ahead]) };
}

/**
 * The record with all future claims set aside if they still end at `untilMs`; undefined when another worker has extended them.
 */
export function setAside(
  record: ScheduleRecord,
  { untilMs, nowMs }: { untilMs: number; nowMs: number },
): ScheduleRecord | undefined {
  if (claimsAt(record, nowMs).ahead?.untilMs !== untilMs) return undefined;
  const { begun, ahead } = split(record.spans, nowMs);
  return { ...record, spans: [...begun, ...ahead.map((span) => ({ ...span, isAside: true }))] };
}

/**
 * The state of future claims: `watched`, it is unknown whether another worker extends them, and nothing is pushed; `set_aside`,
 * no worker does, and the schedule goes on; `claimed`, nothing is pushed until they have passed.
 */
export type AheadState = "watched" | "set_aside" | "claimed";

/** Future claims, and their end, epoch milliseconds. */
export interface ClaimedAhead {
  readonly state: AheadState;
  readonly untilMs: number;
}

/** The future claims at a time. */
export function claimedAhead(claims: ScheduleClaims, nowMs: number): ClaimedAhead | undefined {
  const { claimedToMs = -Infinity, ahead } = claims;
  if (claimedToMs > nowMs + SKEW_MS) return { state: "claimed", untilMs: claimedToMs };
  return ahead && { state: ahead.isAside ? "set_aside" : "watched", untilMs: ahead.untilMs };
}

/** The meaning, as a sentence without a full stop. */
export function claimedAheadReason({ state, untilMs }: ClaimedAhead): string {
  const until = `its times are claimed up to ${
    isoDate(untilMs)
  }, a time in the future: a clock was ahead, or this one is behind`;
  const meaning = {
    watched: "the schedule pushes no jobs until it is known whether another worker uses this claim",
    set_aside: "no other worker uses this claim, so the schedule pushes jobs until the claimed times begin",
    claimed: "the schedule pushes no jobs before then",
  };
  return `${until}; ${meaning[state]}`;
}

/** The latest claim of any worker; epoch milliseconds. */
export function latestClaimMs(spans: readonly ClaimSpan[]): number {
  return Math.max(...spans.map(({ toMs }) => toMs));
}

/** The stored text: `FROM-TO,FROM-TO?`, with `?` for a span that is set aside. */
export function spansText(spans: readonly ClaimSpan[]): string {
  return spans.map(({ fromMs, toMs, isAside }) => `${fromMs}-${toMs}${isAside ? "?" : ""}`).join(",");
}

/**
 * The spans of a stored text; a single number is a claim without a span, as earlier versions wrote. Undefined for an invalid
 * text.
 */
export function spansOf(text: string): readonly ClaimSpan[] | undefined {
  const spans: ClaimSpan[] = [];
  for (const part of text.split(",")) {
    const [, from, to = from, aside] = /^(\d{1,16})(?:-(\d{1,16})(\?)?)?$/.exec(part) ?? [];
    if (from === undefined) return undefined;
    const [fromMs, toMs] = [from, to].map((ms) => Math.min(Number(ms), LATEST_MS)) as [number, number];
    spans.push({ fromMs, toMs, isAside: aside !== undefined });
  }
  return spans.toSorted((one, other) => one.fromMs - other.fromMs);
}

/**
 * A stored record of a broker that stores the latest claim beside the spans. A person may have set that claim, which is documented;
 * then the stored spans no longer belong to it.
 *
 * @param claimedToMs Epoch milliseconds, 0 to {@link LATEST_MS}.
 * @param text The stored spans; empty without them.
 */
export function storedRecord(rule: string, claimedToMs: number, text: string): ScheduleRecord {
  const spans = spansOf(text);
  const areIts = spans !== undefined && latestClaimMs(spans) === claimedToMs;
  return { rule, spans: areIts ? spans : [{ fromMs: claimedToMs, toMs: claimedToMs, isAside: false }] };
}

function split(spans: readonly ClaimSpan[], nowMs: number) {
  const isAhead = ({ fromMs }: ClaimSpan) => fromMs > nowMs + SKEW_MS;
  return { begun: spans.filter((span) => !isAhead(span)), ahead: spans.filter(isAhead) };
}

/** The end of a span. */
function reachOf({ fromMs, toMs }: ClaimSpan): number {
  return Math.max(fromMs, toMs);
}

/** Joins the two spans nearest to each other when there are too many: the time between them counts as claimed. */
function limited(spans: readonly ClaimSpan[]): readonly ClaimSpan[] {
  if (spans.length <= MAX_SPANS) return spans;
  const gapsMs = spans.slice(1).map((span, i) =>
    span.isAside === spans[i]!.isAside ? span.fromMs - reachOf(spans[i]!) : Infinity
  );
  const at = gapsMs.indexOf(Math.min(...gapsMs));
  const [one, other] = [spans[at]!, spans[at + 1]!];
  const joined = { ...one, toMs: Math.max(one.toMs, other.toMs) };
  return limited([...spans.slice(0, at), joined, ...spans.slice(at + 2)]);
}
