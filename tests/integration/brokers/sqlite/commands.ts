/**
 * What other processes do to a queue in the tests: `deno run -A brokers/sqlite/commands.ts COMMAND PATH …`.
 * See {@link OtherProcess}.
 */
import { DatabaseSync } from "node:sqlite";
import { bytes, take, textOf } from "../../../conformance/fixture.ts";
import { FervoError } from "../../../../src/core/errors.ts";
import { migrate } from "../../../../src/brokers/sqlite/store/schema.ts";
import { openSqlite } from "./broker.ts";
import { ACK } from "../../../support/verdicts.ts";

const [command, path, ...args] = Deno.args as [string, string, ...string[]];
const input = Deno.stdin.readable.pipeThrough(new TextDecoderStream()).getReader();

const COMMANDS: Readonly<Record<string, () => Promise<void>>> = {
  /** Pushes one job. */
  async push() {
    await using broker = openSqlite(path);
    say(await broker.push("q", bytes(args[0]!)));
  },

  /** Pushes until it is killed, and says the id of each job that the queue holds. */
  async pushForever() {
    const broker = openSqlite(path);
    await Promise.all(Array.from({ length: 8 }, async () => {
      for (;;) say(await broker.push("q", bytes("x".repeat(1_000))));
    }));
  },

  /** Takes jobs and keeps them until it is killed. */
  async hold() {
    const broker = openSqlite(path, { leaseMs: Number(args[0]) });
    const deliveries = await take(broker, { max: Number(args[1]) });
    say(`${deliveries.length}`);
    await told();
  },

  /** Receives and acknowledges until it is told to end; says every payload. */
  async consume() {
    const broker = openSqlite(path);
    const end = new AbortController();
    void told().then(() => end.abort());
    say("ready");
    const payloads: string[] = [];
    while (!end.signal.aborted) {
      const deliveries = await take(broker, { max: 5, waitMs: 60_000, signal: end.signal });
      payloads.push(...deliveries.map(textOf));
      await Promise.all(deliveries.map((delivery) => delivery.settle(ACK)));
    }
    await broker.close();
    say(JSON.stringify(payloads));
  },

  /** Holds the write lock until it is told to let it go. */
  async lock() {
    const db = new DatabaseSync(path);
    db.exec("BEGIN IMMEDIATE");
    say("locked");
    await told();
    db.exec("COMMIT");
    db.close();
    say("released");
  },

  /** Opens the queue, or one after another, and pushes a job, each when it is told to; says "ok" or the error's text. */
  async open() {
    for (const queue of [path, ...args]) {
      say("ready");
      await told();
      await outcomeOf(async () => {
        await using broker = openSqlite(queue);
        await broker.push("q", bytes("job"));
      });
    }
  },

  /** Migrates a database when it is told to, to the versions given as JSON. */
  async migrate() {
    say("ready");
    await told();
    await outcomeOf(() => {
      const db = new DatabaseSync(path, { timeout: 10_000 });
      migrate(db, path, JSON.parse(args[0]!) as string[]);
      db.close();
      return Promise.resolve();
    });
  },

  /**
   * Pushes until there is no room, makes room with the shell command that it is given (`$PID` is its own id), and takes
   * what there is.
   */
  async fill() {
    await using broker = openSqlite(path);
    const pushed: string[] = [];
    const push = async (name: string) => {
      await broker.push("q", bytes(name.padEnd(3_900, ".")));
      pushed.push(name);
    };
    for (let i = 0; i < 5; i++) await push(`job ${i}`);
    const held = await take(broker, { max: 3 });
    let error: unknown;
    while (error === undefined && pushed.length < 10_000) {
      await push(`job ${pushed.length}`).catch((thrown) => error = thrown);
    }
    const again = await broker.push("q", bytes("more".padEnd(3_900, "."))).then(() => "pushed", codeOf);
    const depthWhenFull = await broker.admin.depth("q");
    await new Deno.Command("sh", { args: ["-c", args[0]!], env: { PID: `${Deno.pid}` } }).output();
    const received = held.map(textOf);
    for (const delivery of held) await delivery.settle(ACK);
    for (;;) {
      const deliveries = await take(broker, { max: 50, waitMs: 0 });
      if (deliveries.length === 0) break;
      received.push(...deliveries.map(textOf));
      await Promise.all(deliveries.map((delivery) => delivery.settle(ACK)));
    }
    await push("after");
    const after = await take(broker, { max: 50, waitMs: 0 });
    say(JSON.stringify({
      pushed: pushed.slice(0, -1),
      received: received.map((name) => name.replaceAll(".", "")),
      after: after.map((delivery) => textOf(delivery).replaceAll(".", "")),
      code: codeOf(error),
      message: String(error),
      again,
      depthWhenFull,
    }));
  },
};

function say(line: string): void {
  Deno.stdout.writeSync(bytes(`${line}\n`));
}

/** Waits for a line. */
async function told(): Promise<void> {
  await input.read();
}

async function outcomeOf(run: () => Promise<void>): Promise<void> {
  say(await run().then(() => "ok", String));
}

function codeOf(error: unknown): string {
  return error instanceof FervoError ? error.code : String(error);
}

await COMMANDS[command]!();
// A read from stdin may be pending.
Deno.exit(0);
