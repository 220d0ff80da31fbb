import { sleep, systemClock } from "../../src/core/time/clock.ts";
import { Beanstalkd } from "../../tests/support/beanstalkd.ts";
import { RedisServer } from "../../tests/support/redis_server.ts";
import { runProgram } from "../../tests/support/run_program.ts";
import type { SoakBroker } from "./broker.ts";
import { mysql, postgres } from "./databases.ts";

/** @param folder On a disk; for the embedded queue's file. */
export const BROKERS: Readonly<Record<string, (folder: string) => Promise<SoakBroker>>> = {
  sqlite: (folder) => {
    const path = `${folder}/queue.sqlite`;
    return Promise.resolve({
      table: `driver = "sqlite"\npath = "${path}"\nlease_ms = 5000`,
      message: (payload) => payload,
      recoveryMs: 30_000,
      hasWorkersClock: true,
      failures: [{
        what: "a producer holds the lock of its file",
        weight: 2,
        // As a PHP process that hangs in its transaction.
        begin: async (ms) => {
          const code = `$db = new PDO('sqlite:' . $argv[1]); $db->exec('PRAGMA busy_timeout = 20000');` +
            `$db->exec('BEGIN IMMEDIATE'); usleep(1000 * $argv[2]); $db->exec('ROLLBACK');`;
          const { success, said } = await runProgram("php", "-r", code, path, String(ms));
          if (!success) throw new Error(said);
        },
      }],
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
      // Whose only argument is the payload; "retry" stays the consumer's.
      message: (payload) => JSON.stringify({ class: "DeferEvent", args: [payload] }),
      recoveryMs: 30_000,
      hasWorkersClock: true,
      failures: [{
        what: "redis-server (appendonly) is killed, and started again",
        weight: 2,
        begin: async (ms) => {
          await server.kill();
          await sleep(systemClock, ms);
          await server.start();
        },
      }],
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  },
  beanstalkd: async () => {
    const server = await Beanstalkd.start();
    return {
      table: `driver = "beanstalkd"\naddress = "${server.addressText}"\nttr_ms = 10000`,
      message: (payload) => payload,
      recoveryMs: 30_000,
      hasWorkersClock: true,
      failures: [{
        what: "beanstalkd (-b, -f 0) is killed, and started again",
        weight: 2,
        begin: async (ms) => {
          await server.kill();
          await sleep(systemClock, ms);
          await server.restart();
        },
      }],
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  },
  postgres: () => postgres(),
  mysql: () => mysql(),
};
