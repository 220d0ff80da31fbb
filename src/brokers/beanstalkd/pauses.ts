import type { PausedQueue, PauseOptions, Pauses } from "../../core/admin.ts";
import type { Clock } from "../../core/time/clock.ts";
import type { BeanstalkdConnection } from "./connection.ts";
import { tubesOf } from "./dead_letters.ts";
import { MAX_DELAY_MS, numberIn, refuseTube, secondsOf } from "./mapping.ts";
import { readStats } from "./reply.ts";

/**
 * beanstalkd's own pauses, which all its clients obey: a number of seconds, without a reason. The longest one, 136 years,
 * stands for a pause without end. beanstalkd forgets a pause when it restarts, and with its tube: when the tube has no jobs and
 * nobody uses or watches it.
 */
export class BeanstalkdPauses implements Pauses {
  readonly isEnforced = true;
  readonly #clock: Clock;
  readonly #call: <T>(run: (connection: BeanstalkdConnection) => Promise<T>) => Promise<T>;

  /** @param deps.call Calls a function with the connection that never waits. */
  constructor(
    deps: { clock: Clock; call: <T>(run: (connection: BeanstalkdConnection) => Promise<T>) => Promise<T> },
  ) {
    this.#clock = deps.clock;
    this.#call = deps.call;
  }

  list(): Promise<PausedQueue[]> {
    return this.#call(async (connection) => {
      const tubes = (await tubesOf(connection)).sort();
      return (await Promise.all(tubes.map((tube) => this.#look(connection, tube))))
        .filter((paused) => paused !== undefined);
    });
  }

  async pause(queue: string, { untilMs = Infinity }: PauseOptions = {}): Promise<void> {
    refuseTube(queue);
    const forS = secondsOf(untilMs - this.#clock.nowMs());
    await this.#call((connection) => {
      // A tube without users does not exist, and cannot be paused.
      connection.use(queue);
      return connection.send(`pause-tube ${queue} ${forS}`, ["PAUSED"]);
    });
  }

  async resume(queue: string): Promise<boolean> {
    refuseTube(queue);
    return await this.#call(async (connection) => {
      if (await this.#look(connection, queue) === undefined) return false;
      await connection.send(`pause-tube ${queue} 0`, ["PAUSED", "NOT_FOUND"]);
      return true;
    });
  }

  /** Undefined when it is not paused. */
  async #look(connection: BeanstalkdConnection, tube: string): Promise<PausedQueue | undefined> {
    const reply = await connection.send(`stats-tube ${tube}`, ["OK", "NOT_FOUND"]);
    if (reply.word === "NOT_FOUND") return undefined;
    return connection.read(reply, ({ body }) => {
      const stats = readStats(body!);
      const forMs = numberIn(stats, "pause") * 1_000;
      if (forMs === 0) return undefined;
      // beanstalkd reports whole seconds, rounded down.
      const leftMs = (numberIn(stats, "pause-time-left") + 1) * 1_000;
      return { queue: tube, ...(forMs < MAX_DELAY_MS && { untilMs: this.#clock.nowMs() + leftMs }) };
    });
  }
}
