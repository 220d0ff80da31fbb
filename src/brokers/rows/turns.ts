import { setImmediate } from "node:timers";
import { asFervoError, FervoError } from "../../core/errors.ts";
import type { Given, SqlDatabase } from "../../sql/database.ts";
import type { Clock } from "../../core/time/clock.ts";
import type { SqlSession } from "../../sql/driver.ts";
import { againAfterDuplicate, type FailureKind, SqlFailure } from "../../sql/failure.ts";

interface Change {
  readonly give: (session: SqlSession) => Promise<Given<unknown>>;
  readonly isPatient: boolean;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: FervoError) => void;
}

/** How long a change waits for company, milliseconds. */
const PATIENCE_MS = 2;

/** Failures that one change may have caused. */
const OF_ONE: ReadonlySet<FailureKind> = new Set(["again", "refused", "duplicate", "schema", "denied"]);

/**
 * Makes changes in as few transactions and round trips as possible: all changes of one turn of the event loop share one, and so
 * do those that come while a transaction runs.
 *
 * 1. Sends the statements in the order of the calls, and the commit with the last one. Statements of different changes may
 *    alternate.
 * 2. Resolves a change once its transaction is committed. After a rollback, rejects only the changes that fail alone, too.
 * 3. Makes a change again that meets a duplicate key alone: it looks for the key before it enters it.
 */
export class Turns {
  readonly #database: SqlDatabase;
  readonly #clock: Clock;
  #changes: Change[] = [];
  #running: Promise<void> | undefined;
  /** Ends the wait for company. */
  #hurry: (() => void) | undefined;

  constructor(deps: { database: SqlDatabase; clock: Clock }) {
    this.#database = deps.database;
    this.#clock = deps.clock;
  }

  /**
   * Makes a change in the next transaction.
   *
   * @param options.isPatient Nobody waits for it: while changes flow, it waits a moment for another one to share the transaction.
   * @param give Called within the transaction; again after a rollback that it may have caused. Its result counts only when the
   * transaction was committed.
   * @throws {FervoError} its own error; QUEUE_UNAVAILABLE: whether it was made is unknown
   */
  run<T>(give: (session: SqlSession) => Promise<Given<T>>, { isPatient = false } = {}): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#changes.push({ give, isPatient, resolve: resolve as (result: unknown) => void, reject });
      if (!isPatient) this.#hurry?.();
      this.#running ??= this.#run();
    });
  }

  /** Resolves when nothing is left to do. */
  async drain(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  async #run(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve));
    for (let isFirst = true; this.#changes.length > 0; isFirst = false) {
      if (!isFirst && this.#changes.every(({ isPatient }) => isPatient)) await this.#company();
      const changes = this.#changes;
      this.#changes = [];
      await this.#commit(changes, false);
    }
    this.#running = undefined;
  }

  /** Resolves with the next change that somebody waits for, or after a moment. */
  async #company(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#hurry = resolve;
    const timer = this.#clock.setTimer(resolve, PATIENCE_MS);
    await promise;
    timer.cancel();
    this.#hurry = undefined;
    // The rest of its turn of the event loop comes along.
    await new Promise<void>((resolve) => setImmediate(resolve));
  }

  async #commit(changes: readonly Change[], isAlone: boolean): Promise<void> {
    try {
      const give = (session: SqlSession) => together(changes.map(({ give }) => give(session)));
      const results = await this.#database.transact(
        isAlone ? (session) => againAfterDuplicates(give(session)) : give,
      );
      for (const [i, change] of changes.entries()) change.resolve(results[i]);
    } catch (error) {
      if (!isAlone && isOfOne(error)) {
        for (const change of changes) await this.#commit([change], true);
      } else {
        for (const change of changes) change.reject(asFervoError(error));
      }
    }
  }
}

/** Made again after a duplicate key, be it before its last statement or in it. */
async function againAfterDuplicates<T>(giving: Promise<Given<T>>): Promise<Given<T>> {
  const { result } = await againAfterDuplicate(giving);
  return { result: againAfterDuplicate(result) };
}

/** What all give. Waits for each, also for those behind a failure, so that no statement follows the end of the transaction. */
async function together<T>(all: readonly Promise<Given<T>>[]): Promise<Given<T[]>> {
  // Nobody asks for the result of a change when another one fails.
  for (const giving of all) giving.then(({ result }) => result.catch(() => {}), () => {});
  const given = await allDone(all);
  return { result: allDone(given.map(({ result }) => result)) };
}

/** Waits for all; rejects with the first failure. */
async function allDone<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(promises);
  return results.map((result) => {
    if (result.status === "rejected") throw result.reason;
    return result.value;
  });
}

function isOfOne(error: unknown): boolean {
  if (!(error instanceof FervoError)) return false;
  const { cause } = error;
  return cause instanceof SqlFailure ? OF_ONE.has(cause.kind) : error.code !== "QUEUE_UNAVAILABLE";
}
