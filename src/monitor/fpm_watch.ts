import type { Clock } from "../core/time/clock.ts";
import type { FervoError } from "../core/errors.ts";
import { type FpmControl, isAway } from "../fpm/control.ts";
import type { Pool, PoolStats } from "../fastcgi/pool.ts";
import type { FpmStatus } from "../fpm/status.ts";
import { Probe } from "./probe.ts";

export interface FpmWatchDeps {
  readonly clock: Clock;
  readonly pool: Pick<Pool, "stats" | "maxConnections">;
  readonly control: Pick<FpmControl, "status" | "ping">;
}

export interface FpmWatchOptions {
  /** By which the configuration calls it. */
  readonly name: string;
  /** The status page has a listener of its own, and answers though all children are busy. */
  readonly hasStatusAddress: boolean;
}

/** How a php-fpm pool is doing now; it is up also when it is too busy to tell more. */
export type FpmState =
  | { readonly isUp: true; readonly status: FpmStatus | undefined }
  | { readonly isUp: false; readonly error: FervoError };

const BUSY: FpmState = { isUp: true, status: undefined };

/** A php-fpm pool as the worker sees it: whether it is there, and what its status page says. */
export class FpmWatch {
  readonly name: string;
  readonly #deps: FpmWatchDeps;
  readonly #options: FpmWatchOptions;
  readonly #probe: Probe<FpmState>;

  constructor(deps: FpmWatchDeps, options: FpmWatchOptions) {
    this.name = options.name;
    this.#deps = deps;
    this.#options = options;
    const { clock, control } = deps;
    this.#probe = new Probe({ clock }, () => ask(control));
  }

  /** The worker's own connections to it. */
  get connections(): PoolStats {
    return this.#deps.pool.stats;
  }

  /** Asks php-fpm, at most once a second and one time after the other. Never rejects, and takes 2 s at most. */
  async state(): Promise<FpmState> {
    const { pool } = this.#deps;
    // It is there, for it runs our jobs; a question would stand in its listen queue behind them, and stay there.
    if (!this.#options.hasStatusAddress && pool.stats.busy >= pool.maxConnections) return BUSY;
    return await this.#probe.get() ?? BUSY;
  }
}

async function ask(control: FpmWatchDeps["control"]): Promise<FpmState> {
  try {
    const status = await control.status();
    if (status === undefined) await control.ping();
    return { isUp: true, status };
  } catch (error) {
    // An answer that is no status page, or none for lack of time, still comes from somebody.
    return isAway(error) ? { isUp: false, error } : BUSY;
  }
}
