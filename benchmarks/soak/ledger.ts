import type { DeadLetter } from "../../src/core/driver.ts";
import { kindOf } from "./jobs.ts";

/** What became of all jobs. */
export interface Balance {
  readonly confirmed: number;
  /** Of the confirmed: those for which there is a run that ended well. */
  readonly done: number;
  /** Of the confirmed and not done: those among the dead letters. */
  readonly dead: number;
  /** Of the confirmed: neither. */
  readonly left: readonly number[];
  /** Pushes whose answer never came, and how many of those jobs ran or died. */
  readonly unconfirmed: number;
  readonly unconfirmedThere: number;
  /** Runs beyond the first of a job's attempt, by the kind of the job. */
  readonly repeatedAttempts: ReadonlyMap<string, number>;
  /** Runs of jobs after one that ended well, as a later attempt. */
  readonly laterAttempts: number;
  /** Jobs that have a run that ended well, and a dead letter. */
  readonly doneAndDead: number;
  readonly runs: number;
}

/** Which jobs were pushed. */
export class Ledger {
  readonly #confirmed = new Set<number>();
  readonly #unconfirmed = new Set<number>();

  get confirmed(): number {
    return this.#confirmed.size;
  }

  confirm(number: number): void {
    this.#confirmed.add(number);
  }

  /** Whether the broker has it is not known. */
  doubt(number: number): void {
    this.#unconfirmed.add(number);
  }

  /**
   * @param runs A line for each run that has decided how it ends: number, attempt, outcome.
   * @param letters All dead letters.
   */
  balance(runs: string, letters: readonly DeadLetter[]): Balance {
    const done = new Set<number>();
    const attempts = new Set<string>();
    const repeatedAttempts = new Map<string, number>();
    let [count, laterAttempts] = [0, 0];
    for (const line of runs.split("\n")) {
      if (line === "") continue;
      count++;
      const [number, attempt, outcome] = line.split(" ");
      const name = `${number} ${attempt}`;
      if (attempts.has(name)) {
        const kind = kindOf(Number(number));
        repeatedAttempts.set(kind, (repeatedAttempts.get(kind) ?? 0) + 1);
      } else if (done.has(Number(number))) laterAttempts++;
      attempts.add(name);
      if (outcome === "ack") done.add(Number(number));
    }
    const dead = new Set(letters.map(numberOf));
    const isThere = (number: number) => done.has(number) || dead.has(number);
    const confirmed = [...this.#confirmed];
    return {
      confirmed: confirmed.length,
      done: confirmed.filter((number) => done.has(number)).length,
      dead: confirmed.filter((number) => dead.has(number) && !done.has(number)).length,
      left: confirmed.filter((number) => !isThere(number)),
      unconfirmed: this.#unconfirmed.size,
      unconfirmedThere: [...this.#unconfirmed].filter(isThere).length,
      repeatedAttempts,
      laterAttempts,
      doneAndDead: [...dead].filter((number) => done.has(number)).length,
      runs: count,
    };
  }
}

/** The number of the job in a dead letter, also of one in Sidekiq's format. */
function numberOf({ payload }: DeadLetter): number {
  const message = JSON.parse(new TextDecoder().decode(payload));
  return ("args" in message ? JSON.parse(message.args[0]) : message).number;
}
