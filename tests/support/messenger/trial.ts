/** One application with its own database and ledger, and what has become of its messages. */
import type { AppDatabase, Databases } from "./databases.ts";
import type { Message } from "./cases.ts";
import { MessengerApp, type SymfonyVersion } from "./messenger_app.ts";

/** What a handler has written of a message: see app/src/Handler/Ledger.php. */
export interface LedgerLine {
  /** "hold" is a batch handler's, which keeps the message for later. */
  readonly what: "begin" | "end" | "hold";
  readonly handler: string;
  readonly process: number;
  readonly atMs: number;
  readonly sapi: string;
}

/** A row as the command app:report tells of it. */
interface Row {
  readonly name: string;
  readonly queue: string;
  readonly headers: readonly string[];
  readonly message: string;
  readonly stamps: readonly string[];
  /** Of `available_at` behind `created_at`, seconds. */
  readonly delay: number;
  /** Epoch seconds. */
  readonly availableAt: number;
  readonly isDelivered: boolean;
}

interface Report {
  readonly inserted: readonly Row[];
  readonly left: readonly Row[];
  readonly shown: readonly { readonly name: string; readonly text: string }[];
}

/** What is compared, in lines. Each message is called NAME. */
export interface Story {
  /** Each row that was ever inserted: its queue, its delay, its headers, the message and its stamps. */
  readonly inserted: readonly string[];
  /** What the handlers did. */
  readonly runs: readonly string[];
  /** The rows of the message at the end. */
  readonly left: readonly string[];
  /** What `messenger:failed:show ID -vv` says. */
  readonly shown: readonly string[];
}

/**
 * One application with a database and a ledger of its own. The database keeps a copy of each row that anybody inserts into Messenger's
 * table (app:prepare); all are gone with the scope.
 */
export class Trial implements AsyncDisposable {
  readonly app: MessengerApp;
  readonly database: AppDatabase;
  readonly #ledger: string;

  private constructor(app: MessengerApp, database: AppDatabase, ledger: string) {
    this.app = app;
    this.database = database;
    this.#ledger = ledger;
  }

  static async create(
    databases: Databases,
    options: { symfony: SymfonyVersion; hasBundle: boolean },
  ): Promise<Trial> {
    const database = await databases.create();
    const ledger = await Deno.makeTempDir({ prefix: "fervo-ledger-" });
    try {
      const env = { APP_DATABASE: database.doctrineUrl, APP_LEDGER: ledger };
      const app = await MessengerApp.create({ ...options, env });
      const trial = new Trial(app, database, ledger);
      await app.console("app:prepare");
      return trial;
    } catch (error) {
      database[Symbol.dispose]();
      await Deno.remove(ledger, { recursive: true });
      throw error;
    }
  }

  /** Dispatches messages by the application's bus. */
  async dispatch(messages: readonly Message[]): Promise<void> {
    await this.app.consoleWith(JSON.stringify(messages), "app:dispatch");
  }

  /** What handlers have done with a message, in order. */
  async ledger(name: string): Promise<LedgerLine[]> {
    return (await this.ledgerText(name)).map((line) => {
      const [what, handler, process, atMs, sapi] = line.split(" ") as [
        LedgerLine["what"],
        string,
        string,
        string,
        string,
      ];
      return { what, handler, process: Number(process), atMs: Number(atMs), sapi };
    });
  }

  /** How many messages handlers have begun with. */
  async begun(): Promise<number> {
    return (await Array.fromAsync(Deno.readDir(this.#ledger))).length;
  }

  /** The same as the lines of its file. */
  async ledgerText(name: string): Promise<string[]> {
    return (await Deno.readTextFile(`${this.#ledger}/${name}`).catch(() => "")).split("\n").slice(0, -1);
  }

  /** What has become of each message, and of those that handlers have dispatched. */
  async stories(): Promise<Map<string, Story>> {
    const report: Report = JSON.parse(await this.app.console("app:report"));
    const names = new Set(report.inserted.map(({ name }) => name));
    const stories = new Map<string, Story>();
    for (const name of [...names].sort()) {
      const inserted = report.inserted.filter((row) => row.name === name);
      const runs = (await this.ledger(name)).filter(({ what }) => what !== "hold");
      mustNotBeEarly(name, inserted, runs);
      stories.set(name, {
        inserted: inserted.map((row) => this.#inWords(row)),
        runs: runs.map(({ what, handler }) => `${handler} ${what}s`),
        left: report.left.filter((row) => row.name === name)
          .map((row) => `${this.#inWords(row)}${row.isDelivered ? ", delivered" : ""}`),
        shown: report.shown.filter((one) => one.name === name)
          .flatMap(({ text }) => this.#withoutChance(name, text)),
      });
    }
    return stories;
  }

  #inWords({ name, queue, delay, headers, message, stamps }: Row): string {
    // Symfony 5.4 and 6.4 cut a delay to whole seconds, and 7.4 rounds it up.
    const delays = stamps.flatMap((stamp) => /^DelayStamp\(delay: (\d+)\)$/.exec(stamp)?.[1] ?? []);
    const late = delay - Number(delays.at(-1) ?? 0) / 1_000;
    const when = Math.abs(late) < 1.001 ? "in time" : `${late} s late`;
    return [queue, when, `headers [${headers.join(" ")}]`, message, ...stamps].join(", ")
      .replaceAll(name, "NAME");
  }

  /** Without what two runs never have in common: times, ids, folders, and who called the bus. */
  #withoutChance(name: string, text: string): string[] {
    const lines = text.replaceAll(name, "NAME").replaceAll(this.app.directory, "APP")
      .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, "TIME")
      .replace(/There are \d+ messages/, "There are N messages")
      .replace(/(Message Id +)\d+/, "$1ID")
      .replaceAll(/(messenger:failed:\w+) \d+/g, "$1 ID")
      .split("\n").map((line) => line.trim().replaceAll(/ {2,}|-{2,}/g, " ")).filter((line) => line !== "");
    const bus = lines.findIndex((line) => /\/messenger\/RoutableMessageBus\.php:\d+ /i.test(line));
    const last = lines.findLastIndex((line) => /\.php:\d+ \{|bin\/console:\d+ \{/.test(line));
    return bus === -1 ? lines : [...lines.slice(0, bus + 1), ...lines.slice(last + 1)];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.database[Symbol.dispose]();
    await this.app[Symbol.asyncDispose]();
    await Deno.remove(this.#ledger, { recursive: true });
  }
}

/** Each row lets the message run once more, and not before its time. */
function mustNotBeEarly(name: string, inserted: readonly Row[], runs: readonly LedgerLine[]): void {
  const [first] = runs;
  const begins = runs.filter(({ what, handler }) => what === "begin" && handler === first?.handler);
  for (const [index, { availableAt, queue }] of inserted.entries()) {
    const atMs = begins[index]?.atMs;
    if (queue !== "failed" && atMs !== undefined && atMs < 1_000 * availableAt) {
      const what = JSON.stringify({ inserted, runs }, undefined, 1);
      throw new Error(`${name} ran ${1_000 * availableAt - atMs} ms before its time: ${what}`);
    }
  }
}
