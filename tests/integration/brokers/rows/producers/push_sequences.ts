import assert from "node:assert/strict";
import { eventually } from "../../../../support/eventually.ts";
import { SeededRandom } from "../../../../support/seeded_random.ts";
import { OtherProcess } from "../../sqlite/process.ts";
import { ApplicationDatabase, type ServerKind } from "./application_database.ts";
import { PushModel, type Step } from "./push_model.ts";

const PUSHER = new URL("./pusher.php", import.meta.url).pathname;
const PHP = ["php", "-d", "display_errors=0", "-d", "log_errors=0"];

const MAX_STEPS = 24;
/** One step in this many is an end of the connection. */
const STEPS_PER_END = 60;

/** What has happened, so that a test can see that it proves something. */
export interface Played {
  readonly jobs: number;
  /** Processes that were killed. */
  readonly kills: number;
  /** Connections that the server has ended. */
  readonly ends: number;
  /** Of both, those while a commit was under way. How many of these the server has done differs from run to run. */
  readonly commits: number;
}

/**
 * Plays random sequences of an application that pushes jobs in its transactions, and compares the tables with the model after each.
 * Numbers come from the seed, so they are the same in each run; how far a step is that is under way at a kill is not.
 *
 * @param how "pdo", or "bundle": the bundle's backend over DBAL.
 */
export async function playPushSequences(
  kind: ServerKind,
  how: "pdo" | "bundle",
  { sequences, seed }: { readonly sequences: number; readonly seed: number },
): Promise<Played> {
  await using server = await kind.start();
  await using database = await ApplicationDatabase.create(kind, server);
  await using player = await PushPlayer.start(database, how, new SeededRandom(seed));
  for (let sequence = 0; sequence < sequences; sequence++) {
    const mistakes = await player.play();
    assert.deepEqual(mistakes, [], `${player.steps.join("\n")}\nin sequence ${sequence} of the seed ${seed}`);
  }
  return player.played;
}

/** One application, and what it has done. */
class PushPlayer implements AsyncDisposable {
  readonly played = { jobs: 0, kills: 0, ends: 0, commits: 0 };
  /** Of the sequence. */
  steps: string[] = [];
  readonly #database: ApplicationDatabase;
  readonly #how: string;
  readonly #random: SeededRandom;
  readonly #model: PushModel;
  #process!: OtherProcess;
  #connectionId = 0;
  #number = 0;

  private constructor(database: ApplicationDatabase, how: string, random: SeededRandom) {
    this.#database = database;
    this.#how = how;
    this.#random = random;
    this.#model = new PushModel(database.kind.name === "postgres");
  }

  static async start(database: ApplicationDatabase, how: string, random: SeededRandom): Promise<PushPlayer> {
    const player = new PushPlayer(database, how, random);
    await player.#startProcess();
    return player;
  }

  /** A sequence; resolves with what is wrong then. */
  async play(): Promise<string[]> {
    this.steps = [];
    for (let left = 1 + this.#random.below(MAX_STEPS); left > 0; left--) {
      const step = this.#nextStep();
      if (this.#random.below(STEPS_PER_END) > 0) await this.#do(step);
      else await this.#endOrKill(step);
    }
    // Another sequence begins outside of a transaction.
    if (this.#model.isInTransaction) {
      await this.#random.pick([
        () => this.#do({ do: "commit" }),
        () => this.#do({ do: "roll back" }),
        () => this.#leave(),
      ])();
    }
    return await this.#compare();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }

  #nextStep(): Step {
    const { isInTransaction, savepoints } = this.#model;
    const job = ++this.#number;
    if (!isInTransaction) {
      return this.#random.pick<Step>([{ do: "begin" }, { do: "begin" }, { do: "push", job }, { do: "fail" }]);
    }
    const steps: Step[] = [
      { do: "push", job },
      { do: "push", job },
      { do: "push", job },
      { do: "order", job },
      { do: "order", job },
      { do: "savepoint", name: `s${job}` },
      { do: "savepoint", name: `s${job}` },
      { do: "commit" },
      { do: "roll back" },
    ];
    if (this.#random.below(4) === 0) steps.push({ do: "fail" });
    if (savepoints.length > 0) {
      const name = this.#random.pick(savepoints);
      for (let weight = 3; weight > 0; weight--) steps.push({ do: "roll back to", name });
      steps.push({ do: "release", name }, { do: "release", name });
    }
    return this.#random.pick(steps);
  }

  async #do(step: Step): Promise<void> {
    const isRefused = this.#model.refuses(step);
    await this.#tell(step);
    const error = await this.#answer();
    assert.equal(error !== undefined, isRefused, `${this.steps.join("\n")}: ${error}`);
    this.#model.answered(step);
  }

  /** In a transaction, half of them meet its commit. */
  async #endOrKill(step: Step): Promise<void> {
    const isCommit = this.#model.isInTransaction && this.#random.below(2) === 0;
    const during = isCommit ? { do: "commit" } as const : step;
    switch (this.#random.below(4)) {
      case 0:
        return await this.#kill();
      case 1:
        return await this.#killDuring(during);
      case 2:
        return await this.#end();
      default:
        return await this.#endDuring(during);
    }
  }

  /** SIGKILL between two steps. */
  async #kill(): Promise<void> {
    this.steps.push("SIGKILL");
    await this.#process.kill();
    this.#model.lost();
    await this.#startAgain();
  }

  /** SIGKILL while a step is under way, or just before, or just after. */
  async #killDuring(step: Step): Promise<void> {
    if (step.do === "commit") this.played.commits++;
    await this.#tell(step);
    this.steps.push("SIGKILL");
    // Each kind of wait lets the step come further.
    for (let turns = this.#random.below(4); turns > 0; turns--) await this.#database.client.run("SELECT 1");
    await this.#process.kill();
    this.#model.lost(step);
    await this.#startAgain();
  }

  /** The server ends the connection between two steps. */
  async #end(): Promise<void> {
    this.steps.push("the server ends the connection");
    await this.#endConnection();
    this.#model.lost();
    await this.#connect();
  }

  /** The server ends the connection while a step is under way, or just before, or just after. */
  async #endDuring(step: Step): Promise<void> {
    if (step.do === "commit") this.played.commits++;
    const isRefused = this.#model.refuses(step);
    const telling = this.#tell(step);
    this.steps.push("the server ends the connection");
    const [error] = await Promise.all([telling.then(() => this.#answer()), this.#endConnection()]);
    this.#model.lost(step, error === undefined && !isRefused);
    await this.#connect();
  }

  /** The application leaves its transaction open, and connects anew. */
  async #leave(): Promise<void> {
    this.steps.push("the application leaves");
    this.#model.lost();
    await this.#connect();
  }

  async #tell(step: Step): Promise<void> {
    this.steps.push(JSON.stringify(step));
    if (step.do === "push") this.played.jobs++;
    await this.#process.tell(JSON.stringify(step));
  }

  /** The error of the step; undefined when it was done. */
  async #answer(): Promise<string | undefined> {
    return JSON.parse(await this.#process.line()).error;
  }

  async #endConnection(): Promise<void> {
    this.played.ends++;
    const { client, kind } = this.#database;
    const id = this.#connectionId;
    await client.run(
      kind.name === "postgres" ? `SELECT pg_terminate_backend(${id})` : `KILL CONNECTION ${id}`,
    );
    await this.#connectionIsGone();
  }

  /** Until then a commit that was under way may still be done. */
  async #connectionIsGone(): Promise<void> {
    const { client, kind } = this.#database;
    const list = kind.name === "postgres"
      ? `SELECT 1 AS one FROM pg_stat_activity WHERE pid = ${this.#connectionId}`
      : `SELECT 1 AS one FROM information_schema.PROCESSLIST WHERE ID = ${this.#connectionId}`;
    await eventually(
      "the server has ended the connection",
      async () => (await client.run(list)).rows.length === 0,
    );
  }

  async #startAgain(): Promise<void> {
    this.played.kills++;
    await this.#process[Symbol.asyncDispose]();
    await this.#connectionIsGone();
    await this.#startProcess();
  }

  async #startProcess(): Promise<void> {
    this.#process = new OtherProcess([...PHP, PUSHER, this.#how, ...this.#database.phpArguments]);
    await this.#connect();
  }

  async #connect(): Promise<void> {
    await this.#process.tell(JSON.stringify({ do: "connect" }));
    const { ok, error } = JSON.parse(await this.#process.line());
    assert.ok(ok > 0, error);
    this.#connectionId = ok;
  }

  async #compare(): Promise<string[]> {
    const { client } = this.#database;
    const numbers = async (text: string) => (await client.run(text)).rows.map(({ number }) => Number(number));
    const jobs = (await client.run("SELECT payload FROM fervo_jobs")).rows
      .map(({ payload }) => Number(new TextDecoder().decode(payload as Uint8Array)));
    const orders = await numbers("SELECT id AS number FROM orders");
    if (jobs.length > 0) await client.run("DELETE FROM fervo_jobs");
    if (orders.length > 0) await client.run("DELETE FROM orders");
    return this.#model.mistakes(jobs, orders);
  }
}
