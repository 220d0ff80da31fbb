import type { Pauses } from "../../core/admin.ts";
import type { BeanstalkdConnection } from "./connection.ts";
import { tubesOf } from "./dead_letters.ts";
import { numberIn, refuseTube } from "./mapping.ts";
import { readStats } from "./reply.ts";

/** The longest pause there is, seconds: 136 years. */
const FOR_EVER_S = 2 ** 32 - 1;

/**
 * beanstalkd's own pauses, which all its clients obey. It forgets them when it restarts, and with the tube: when that
 * holds no job and nobody uses or watches it.
 */
export class BeanstalkdPauses implements Pauses {
  readonly isEnforced = true;
  readonly #call: <T>(run: (connection: BeanstalkdConnection) => Promise<T>) => Promise<T>;

  /** @param deps.call Runs what it is given with the connection that never waits. */
  constructor(deps: { call: <T>(run: (connection: BeanstalkdConnection) => Promise<T>) => Promise<T> }) {
    this.#call = deps.call;
  }

  list(): Promise<string[]> {
    return this.#call(async (connection) => {
      const tubes = await tubesOf(connection);
      const paused = await Promise.all(tubes.map((tube) => isPaused(connection, tube)));
      return tubes.filter((_, i) => paused[i]).sort();
    });
  }

  async pause(queue: string): Promise<void> {
    refuseTube(queue);
    await this.#call((connection) => {
      // A tube that nobody uses does not exist, and cannot be paused.
      connection.use(queue);
      return connection.send(`pause-tube ${queue} ${FOR_EVER_S}`, ["PAUSED"]);
    });
  }

  async resume(queue: string): Promise<boolean> {
    refuseTube(queue);
    return await this.#call(async (connection) => {
      if (!await isPaused(connection, queue)) return false;
      await connection.send(`pause-tube ${queue} 0`, ["PAUSED", "NOT_FOUND"]);
      return true;
    });
  }
}

async function isPaused(connection: BeanstalkdConnection, tube: string): Promise<boolean> {
  const reply = await connection.send(`stats-tube ${tube}`, ["OK", "NOT_FOUND"]);
  if (reply.word === "NOT_FOUND") return false;
  return connection.read(reply, ({ body }) => numberIn(readStats(body!), "pause-time-left")) > 0;
}
