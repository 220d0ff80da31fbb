import { raw } from "../../../../src/formats/raw.ts";
import type { TestBroker } from "../../../conformance/fixture.ts";
import { systemClock } from "../../../../src/core/time/clock.ts";
import {
  DEFAULT_SQLITE_OPTIONS,
  SqliteBroker,
  type SqliteBrokerDeps,
  type SqliteBrokerOptions,
} from "../../../../src/brokers/sqlite/broker.ts";
import { MovableClock } from "../../../support/movable_clock.ts";

/** A folder of one's own, gone with its scope. */
export async function makeFolder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "fervo-sqlite-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** Opens the queue at `path` with the machine's clock and the default options, unless told otherwise. */
export function openSqlite(
  path: string,
  { clock = systemClock, format = raw, holdings, observe, ...options }: OpenSqliteOptions = {},
): SqliteBroker {
  const deps = { ...(holdings && { holdings }), ...(observe && { observe }) };
  return SqliteBroker.open({ clock, format, owner: `test:${Deno.pid}`, ...deps }, {
    ...DEFAULT_SQLITE_OPTIONS,
    path,
    ...options,
  });
}

export type OpenSqliteOptions = Partial<SqliteBrokerOptions> & Partial<SqliteBrokerDeps>;

/** The embedded queue for the conformance suite. Each instance has a connection of its own, as a process would. */
export class SqliteFileQueue implements TestBroker {
  readonly leaseMs = 60_000;
  readonly #folder: { path: string } & AsyncDisposable;
  readonly #clock = new MovableClock();

  private constructor(folder: { path: string } & AsyncDisposable) {
    this.#folder = folder;
  }

  static async start(): Promise<SqliteFileQueue> {
    return new SqliteFileQueue(await makeFolder());
  }

  open(): Promise<SqliteBroker> {
    const path = `${this.#folder.path}/queue.sqlite`;
    return Promise.resolve(openSqlite(path, { clock: this.#clock, leaseMs: this.leaseMs }));
  }

  passTime(ms: number): Promise<void> {
    this.#clock.moveAhead(ms);
    return Promise.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#folder[Symbol.asyncDispose]();
  }
}
