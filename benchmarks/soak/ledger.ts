import type { DeadLetter } from "../../src/core/admin.ts";
import { canBeDone } from "./jobs.ts";
import type { Run } from "./runs.ts";

/** What became of all jobs. */
export interface Balance {
  readonly confirmed: number;
  /** Of the confirmed: those for which there is a run that ended well. */
  readonly done: number;
  /** Of the confirmed and not done: those among the dead letters. */
  readonly dead: number;
  /** Of the dead: those that can be done. */
  readonly deadInVain: readonly number[];
  /** Of the confirmed: neither. */
  readonly left: readonly number[];
  /** Pushes whose answer never came, and how many of those jobs ran or died. */
  readonly unconfirmed: number;
  readonly unconfirmedThere: number;
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
   * @param byJob All runs, by the number of their job.
   * @param letters All dead letters.
   */
  balance(byJob: ReadonlyMap<number, readonly Run[]>, letters: readonly DeadLetter[]): Balance {
    const done = new Set<number>();
    let count = 0;
    for (const [number, runs] of byJob) {
      count += runs.length;
      if (runs.some(({ outcome }) => outcome === "ack")) done.add(number);
    }
    const dead = new Set(letters.map(numberOf));
    const isThere = (number: number) => done.has(number) || dead.has(number);
    const confirmed = [...this.#confirmed];
    const deadOnly = confirmed.filter((number) => dead.has(number) && !done.has(number));
    return {
      confirmed: confirmed.length,
      done: confirmed.filter((number) => done.has(number)).length,
      dead: deadOnly.length,
      deadInVain: deadOnly.filter(canBeDone),
      left: confirmed.filter((number) => !isThere(number)),
      unconfirmed: this.#unconfirmed.size,
      unconfirmedThere: [...this.#unconfirmed].filter(isThere).length,
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
