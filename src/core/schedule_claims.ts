import { isoDate } from "./time/iso_date.ts";

/**
 * Which slots of a schedule are claimed, and which claims count for whom.
 *
 * A slot is claimed by a worker whose clock has reached it, so claims follow the time, in spans: one ends when no worker was
 * there, and the next one begins when one is back. Nothing in them tells a clock that was ahead from one that is behind. So
 * no claim is ever taken back, and each worker goes by its own clock:
 *
 * 1. A span that was begun at a time which is still to come ({@link SKEW_MS}) says that two clocks differ. While a worker
 *    goes on with it, or may do so, it counts: whoever is behind pushes nothing twice.
 * 2. When nobody has gone on with it for as long as its next slot takes, it is set aside: it counts again when its time has
 *    come, or when somebody claims in it.
 * 3. Of all other spans the latest claim counts, and all that is before it.
 */

/**
 * Clocks that differ by no more are taken for the same, milliseconds. It is what Kerberos and many others allow, far more
 * than machines with a time server differ by, and as long as a schedule rests at most without being told why.
 */
export const SKEW_MS = 300_000;

/** At most this many spans are kept. More than two are seldom of use: of those in the past only the latest counts. */
const MAX_SPANS = 8;

/** A later claim is read as one of then, for no rule knows times without end; epoch milliseconds. */
export const LATEST_MS = Date.UTC(9999, 11, 31);

/** Times in epoch milliseconds. */
export interface ClaimSpan {
  /** The time at which it was begun, by the clock of who did so. */
  readonly fromMs: number;
  /** The latest slot in it; before `fromMs` while somebody catches up. */
  readonly toMs: number;
  /** It does not count for those whose clock has not reached it. */
  readonly isAside: boolean;
}

/** What the broker keeps of a schedule. */
export interface ScheduleRecord {
  /** The rule of whoever claimed last. */
  readonly rule: string;
  /** In the order of time. */
  readonly spans: readonly ClaimSpan[];
}

/** What of it counts for a worker. */
export interface ScheduleClaims {
  /** Up to when slots are claimed, epoch milliseconds; undefined when no span has begun by the worker's clock. */
  readonly claimedToMs: number | undefined;
  /** The claims that were begun at a time which is still to come by the worker's clock. */
  readonly ahead?: {
    /** Up to when somebody was there, epoch milliseconds. */
    readonly untilMs: number;
    /** They do not count, and the schedule goes on. */
    readonly isAside: boolean;
  };
}

/** A claim as a worker makes it. Times in epoch milliseconds. */
export interface SlotClaim {
  readonly rule: string;
  readonly dueMs: number;
  /** The first slot that was not claimed, as far as the worker knows. */
  readonly firstMs: number;
  /** The worker's clock. */
  readonly nowMs: number;
}

/** A worker that asks which slots are claimed. Times in epoch milliseconds. */
export interface Beginning {
  readonly rule: string;
  /** The worker's clock. */
  readonly nowMs: number;
  /** Since when it has been there; since now unless given. */
  readonly sinceMs?: number;
}

/** What became of a claim: it is the caller's; the slot was claimed before; nobody can tell, as claims are ahead. */
export type ClaimResult = "ours" | "claimed" | "doubtful";

/** What of a record counts at a time. */
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
 * The record as a worker that begins leaves it; the same one when it changes nothing. A schedule that is new, or whose rule
 * is, is claimed up to when the worker came: what was due before was not missed.
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

/** The record with a claim in it, unless that cannot be had. */
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
  // Nobody was there for longer than clocks differ: or it is this clock that is ahead.
  const isNew = latest === undefined || nowMs - Math.max(firstMs, latest.fromMs) > SKEW_MS;
  if (isNew) before.push({ fromMs: nowMs, toMs: dueMs, isAside: false });
  else before[before.length - 1] = { ...latest, toMs: dueMs };
  return { rule, spans: limited([...before, ...parts.ahead]) };
}

/**
 * The record with all that is ahead set aside, which reached up to `untilMs`; undefined when it reaches further now, for
 * somebody goes on with it.
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
 * How claims stand that are still to come by a clock: `watched`, it is not known whether anybody goes on with them, and
 * nothing is pushed; `set_aside`, nobody does, and the schedule goes on; `claimed`, nothing is pushed until then.
 */
export type AheadState = "watched" | "set_aside" | "claimed";

/** Claims that are still to come by a clock, and up to when, epoch milliseconds. */
export interface ClaimedAhead {
  readonly state: AheadState;
  readonly untilMs: number;
}

/** What of the claims is still to come at a time. */
export function claimedAhead(claims: ScheduleClaims, nowMs: number): ClaimedAhead | undefined {
  const { claimedToMs = -Infinity, ahead } = claims;
  if (claimedToMs > nowMs + SKEW_MS) return { state: "claimed", untilMs: claimedToMs };
  return ahead && { state: ahead.isAside ? "set_aside" : "watched", untilMs: ahead.untilMs };
}

/** What that means, as a sentence without a full stop. */
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

/** The latest claim of all, whoever made it; epoch milliseconds. */
export function latestClaimMs(spans: readonly ClaimSpan[]): number {
  return Math.max(...spans.map(({ toMs }) => toMs));
}

/** As it is stored: `FROM-TO,FROM-TO?`, of which the last one is set aside. */
export function spansText(spans: readonly ClaimSpan[]): string {
  return spans.map(({ fromMs, toMs, isAside }) => `${fromMs}-${toMs}${isAside ? "?" : ""}`).join(",");
}

/** The spans of such a text; a single number is a claim without a span, as they once were. Undefined when it is none. */
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

function split(spans: readonly ClaimSpan[], nowMs: number) {
  const isAhead = ({ fromMs }: ClaimSpan) => fromMs > nowMs + SKEW_MS;
  return { begun: spans.filter((span) => !isAhead(span)), ahead: spans.filter(isAhead) };
}

/** Up to when somebody was there. */
function reachOf({ fromMs, toMs }: ClaimSpan): number {
  return Math.max(fromMs, toMs);
}

/** Joins the two that are nearest to each other when there are too many: what is between them counts as claimed. */
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
