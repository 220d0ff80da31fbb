/** What was done since the last look. */
export interface Work {
  /** When that look is, monotonic milliseconds. */
  readonly nowMs: number;
  /** Jobs that have ended. */
  readonly jobs: number;
  /** All slots were in use. */
  readonly isSaturated: boolean;
}

/** What is measured for less, or over fewer jobs, is chance. */
const WINDOW_MS = 1_900;
const WINDOW_JOBS = 50;
/** Jobs so long that these do not come together are not measured, milliseconds. */
const WINDOW_MAX_MS = 6_000;
/** The slots of a trial, of those before. */
const FEWER = 0.75;
/** Fewer slots do as much when they lose no more than this share of what they would lose if each slot counted. */
const LOSS = 0.15;
/** From one trial to the next, milliseconds; each time twice as long. */
const PAUSE_MS = 15_000;
const PAUSE_MAX_MS = 600_000;
/** A trial is due at once with so many times more slots than at the last one, or when so many times less is done. */
const MORE = 1.25;
const SLOWER = 1.5;

/** So many slots do so much, jobs a millisecond. */
interface Measured {
  readonly slots: number;
  readonly rate: number;
}

/**
 * Finds out whether fewer slots would do as much. That is so when the processors or a database are what is short, and
 * not the children: then more slots only make each job take longer.
 *
 * 1. Measures the work for a while, then with a quarter of the slots less, and where that did as much once more as before:
 *    the jobs or the machine may have changed meanwhile.
 * 2. Where fewer still did as much, stays with them, and tries a quarter less again; else goes back.
 * 3. What it has found holds until the next trial. One comes when there are more slots, when less is done with the same,
 *    and else ever more rarely: each costs a little of the work.
 */
export class FitTrials {
  /** Of work with the same slots; begins with the first look at them. */
  #window: { readonly slots: number; readonly sinceMs: number; jobs: number } | undefined;
  /** The trial that is under way: what was done before, and, once that is known, with fewer. */
  #trial: { readonly before: Measured; readonly fewer: Measured | undefined } | undefined;
  /** What the last trial has found. */
  #last: Measured = { slots: 0, rate: 0 };
  #worth = Infinity;
  #dueMs = -Infinity;
  #pauseMs = PAUSE_MS;

  /** With more slots than so many no more would be done, as far as is known. When a trial is due, some more than that. */
  worth(nowMs: number): number {
    const mayExplore = this.#trial === undefined && nowMs >= this.#dueMs;
    return mayExplore ? Math.ceil(this.#worth / FEWER) : this.#worth;
  }

  get isUnderWay(): boolean {
    return this.#trial !== undefined;
  }

  /** Whether so many slots are to be tried before there are more. */
  isDue(slots: number): boolean {
    return slots >= this.#last.slots * MORE;
  }

  /** Forgets what was seen of these slots: there is another reason for another number of them. */
  abort(): void {
    this.#trial = undefined;
    this.#window = undefined;
  }

  /**
   * Heeds what was done.
   *
   * @param slots How many there were; all the time since the last look, or it counts from the next one.
   * @param min How many there have to be.
   * @returns How many there should be from now on.
   */
  heed(work: Work, slots: number, min: number): number {
    const { nowMs } = work;
    const rate = this.#measure(work, slots);
    if (rate === "nothing yet") return slots;
    const trial = this.#trial;
    if (rate === "no measure") {
      this.#trial = undefined;
      if (trial === undefined) return slots;
      this.#dueMs = nowMs + this.#pauseMs;
      return trial.before.slots;
    }
    const now = { slots, rate };
    if (trial === undefined) return this.#isDueNow(now, nowMs) ? this.#try(now, min, nowMs) : slots;
    if (trial.fewer === undefined) {
      if (isWorse(now, trial.before)) return this.#refuse(trial.before, nowMs);
      this.#trial = { ...trial, fewer: now };
      return trial.before.slots;
    }
    if (isWorse(trial.fewer, now)) return this.#refuse(now, nowMs);
    this.#worth = trial.fewer.slots;
    this.#last = trial.fewer;
    return this.#try(trial.fewer, min, nowMs);
  }

  /** Begins a trial of fewer slots than were measured now; where there cannot be fewer, these it is. */
  #try(now: Measured, min: number, nowMs: number): number {
    const fewer = Math.max(Math.floor(now.slots * FEWER), min);
    if (fewer >= now.slots) return this.#hold(now, nowMs);
    this.#trial = { before: now, fewer: undefined };
    return fewer;
  }

  /** Fewer did less. */
  #refuse(before: Measured, nowMs: number): number {
    // More than the last trial has found, and they do more: so may even more.
    if (before.slots > this.#last.slots) this.#worth = Infinity;
    return this.#hold(before, nowMs);
  }

  /** These slots it is, until the next trial. */
  #hold(now: Measured, nowMs: number): number {
    this.#trial = undefined;
    this.#last = now;
    this.#dueMs = nowMs + this.#pauseMs;
    this.#pauseMs = Math.min(this.#pauseMs * 2, PAUSE_MAX_MS);
    return now.slots;
  }

  /** Jobs a millisecond, when enough was seen. */
  #measure({ nowMs, jobs, isSaturated }: Work, slots: number): number | "nothing yet" | "no measure" {
    if (!isSaturated) {
      this.#window = undefined;
      return "no measure";
    }
    if (this.#window?.slots !== slots) {
      this.#window = { slots, sinceMs: nowMs, jobs: 0 };
      return "nothing yet";
    }
    this.#window.jobs += jobs;
    const ms = nowMs - this.#window.sinceMs;
    if (ms < WINDOW_MS || (this.#window.jobs < WINDOW_JOBS && ms < WINDOW_MAX_MS)) return "nothing yet";
    const rate = this.#window.jobs / ms;
    const isEnough = this.#window.jobs >= WINDOW_JOBS;
    this.#window = { slots, sinceMs: nowMs, jobs: 0 };
    return isEnough ? rate : "no measure";
  }

  #isDueNow({ slots, rate }: Measured, nowMs: number): boolean {
    if (slots >= this.#last.slots && rate * SLOWER < this.#last.rate) {
      this.#pauseMs = PAUSE_MS;
      return true;
    }
    return this.isDue(slots) || nowMs >= this.#dueMs;
  }
}

/** Whether fewer slots do less than more do, by more than what is lost for fewer processes in the way of each other. */
function isWorse(fewer: Measured, more: Measured): boolean {
  return fewer.rate < more.rate * (1 - LOSS * (1 - fewer.slots / more.slots));
}
