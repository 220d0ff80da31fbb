/** A step of the application on its connection. A savepoint's name is its own within the transaction. */
export type Step =
  | { readonly do: "begin" | "commit" | "roll back" }
  /** Pushes a job. */
  | { readonly do: "push"; readonly job: number }
  /** Places the order of the same number. */
  | { readonly do: "order"; readonly job: number }
  /** A statement that the server refuses. */
  | { readonly do: "fail" }
  | { readonly do: "savepoint" | "roll back to" | "release"; readonly name: string };

/** What one transaction has written; each is there, or none. */
interface Written {
  readonly jobs: number[];
  readonly orders: number[];
}

interface Scope extends Written {
  /** Of its savepoint; "" of the transaction itself. */
  readonly name: string;
}

/**
 * What a database must have after the steps of an application: what was written is there if and only if its transaction, or the
 * statement outside of one, was committed.
 */
export class PushModel {
  readonly #isAbortedByErrors: boolean;
  #scopes: Scope[] = [];
  #isAborted = false;
  #committed: Written[] = [];
  /** The answer to the commit was lost. */
  #uncertain: Written[] = [];

  /** @param isAbortedByErrors A failed statement ends the transaction, up to a savepoint before it: PostgreSQL. */
  constructor(isAbortedByErrors: boolean) {
    this.#isAbortedByErrors = isAbortedByErrors;
  }

  get isInTransaction(): boolean {
    return this.#scopes.length > 0;
  }

  /** The names of open savepoints, the outermost first. */
  get savepoints(): readonly string[] {
    return this.#scopes.slice(1).map(({ name }) => name);
  }

  /** Whether the server refuses the step. */
  refuses(step: Step): boolean {
    return step.do === "fail" ||
      (this.#isAborted && ["push", "order", "savepoint", "release"].includes(step.do));
  }

  /** The step was answered as {@link refuses} has it. */
  answered(step: Step): void {
    if (this.refuses(step)) this.#isAborted = this.#isAbortedByErrors && this.isInTransaction;
    else this.#done(step);
  }

  /**
   * The connection is lost.
   *
   * @param during The step that was under way.
   * @param wasDone Whether it was answered with success.
   */
  lost(during?: Step, wasDone = false): void {
    const written = during === undefined ? undefined : this.#writtenBy(during);
    if (written !== undefined) (wasDone ? this.#committed : this.#uncertain).push(written);
    this.#end();
  }

  /** What is wrong with these rows; then begins anew. */
  mistakes(jobs: readonly number[], orders: readonly number[]): string[] {
    // Of an uncertain transaction all is there, when anything of it is.
    const there = this.#uncertain.filter((written) =>
      written.jobs.some((job) => jobs.includes(job)) || written.orders.some((order) => orders.includes(order))
    );
    const expected = merged([...this.#committed, ...there]);
    const mistakes = [
      ...difference("job", jobs, expected.jobs),
      ...difference("order", orders, expected.orders),
    ];
    this.#committed = [];
    this.#uncertain = [];
    return mistakes;
  }

  /** What is committed when the step is done. */
  #writtenBy(step: Step): Written | undefined {
    if (this.#isAborted) return undefined;
    if (step.do === "commit") return merged(this.#scopes);
    if (this.isInTransaction) return undefined;
    if (step.do === "push") return { jobs: [step.job], orders: [] };
    return step.do === "order" ? { jobs: [], orders: [step.job] } : undefined;
  }

  #done(step: Step): void {
    const written = this.#writtenBy(step);
    if (written !== undefined) this.#committed.push(written);
    switch (step.do) {
      case "begin":
        this.#scopes = [scope("")];
        break;
      case "push":
        this.#scopes.at(-1)?.jobs.push(step.job);
        break;
      case "order":
        this.#scopes.at(-1)?.orders.push(step.job);
        break;
      case "savepoint":
        this.#scopes.push(scope(step.name));
        break;
      case "roll back to":
        this.#cut(step.name);
        this.#scopes.push(scope(step.name));
        this.#isAborted = false;
        break;
      case "release": {
        const { jobs, orders } = merged(this.#cut(step.name));
        this.#scopes.at(-1)!.jobs.push(...jobs);
        this.#scopes.at(-1)!.orders.push(...orders);
        break;
      }
      case "commit":
      case "roll back":
        this.#end();
    }
  }

  /** Takes the savepoint out, with all after it. */
  #cut(name: string): Scope[] {
    return this.#scopes.splice(this.#scopes.findIndex((scope) => scope.name === name));
  }

  #end(): void {
    this.#scopes = [];
    this.#isAborted = false;
  }
}

function scope(name: string): Scope {
  return { name, jobs: [], orders: [] };
}

function merged(scopes: readonly Written[]): Written {
  return { jobs: scopes.flatMap(({ jobs }) => jobs), orders: scopes.flatMap(({ orders }) => orders) };
}

function difference(what: string, found: readonly number[], expected: readonly number[]): string[] {
  const missing = expected.filter((number) => !found.includes(number));
  const tooMany = found.filter((number, at) => !expected.includes(number) || found.indexOf(number) !== at);
  return [
    ...missing.map((number) => `${what} ${number} was committed, and is not there`),
    ...tooMany.map((number) => `${what} ${number} is there, and was not committed`),
  ];
}
