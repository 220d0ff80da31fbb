import { sleep, systemClock } from "../../src/core/time/clock.ts";
import { Beanstalkd } from "../../tests/support/beanstalkd.ts";
import { RedisServer } from "../../tests/support/redis_server.ts";
import { runProgram } from "../../tests/support/run_program.ts";

/** A broker that can be made to fail. */
export interface SoakBroker extends AsyncDisposable {
  /** Its table in the worker's configuration. */
  readonly table: string;
  /** How it fails, for the log. */
  readonly trouble: string;
  /** A message of the broker's format with this payload. */
  message(payload: string): string;
  /** Fails for so long; resolves when it is back. */
  fail(ms: number): Promise<void>;
  /** Puts a backup of it in its place, while the workers run and nobody pushes. */
  restore?(): Promise<void>;
}

/** @param folder On a disk; for the embedded queue's file. */
export const BROKERS: Readonly<Record<string, (folder: string) => Promise<SoakBroker>>> = {
  sqlite: (folder) => {
    const path = `${folder}/queue.sqlite`;
    return Promise.resolve({
      table: `driver = "sqlite"\npath = "${path}"\nlease_ms = 5000`,
      trouble: "a producer holds the lock of its file",
      message: (payload) => payload,
      // As a PHP process that hangs in its transaction.
      fail: async (ms) => {
        const code = `$db = new PDO('sqlite:' . $argv[1]); $db->exec('PRAGMA busy_timeout = 20000');` +
          `$db->exec('BEGIN IMMEDIATE'); usleep(1000 * $argv[2]); $db->exec('ROLLBACK');`;
        const { success, said } = await runProgram("php", "-r", code, path, String(ms));
        if (!success) throw new Error(said);
      },
      restore: async () => {
        const backup = `${path}.backup`;
        const code = `(new SQLite3($argv[1]))->backup(new SQLite3($argv[2])) || exit(1);`;
        const { success, said } = await runProgram("php", "-r", code, path, backup);
        if (!success) throw new Error(said);
        for (const end of ["", "-wal", "-shm"]) await Deno.rename(path + end, `${path}.old${end}`);
        await Deno.rename(backup, path);
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    });
  },
  redis: async () => {
    const server = await RedisServer.start({ config: ["appendonly yes", "appendfsync everysec"] });
    return {
      table: `driver = "redis"\nurl = "${server.url}"\nlease_ms = 10000`,
      trouble: "redis-server (appendonly) is killed, and started again",
      // Whose only argument is the payload; "retry" stays the consumer's.
      message: (payload) => JSON.stringify({ class: "DeferEvent", args: [payload] }),
      fail: async (ms) => {
        await server.kill();
        await sleep(systemClock, ms);
        await server.start();
      },
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  },
  beanstalkd: async () => {
    const server = await Beanstalkd.start();
    return {
      table: `driver = "beanstalkd"\naddress = "${server.addressText}"\nttr_ms = 10000`,
      trouble: "beanstalkd (-b, -f 0) is killed, and started again",
      message: (payload) => payload,
      fail: async (ms) => {
        await server.kill();
        await sleep(systemClock, ms);
        await server.restart();
      },
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  },
};
