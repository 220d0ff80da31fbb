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
  /** Its name in the configuration. */
  readonly name: string;
  /** The status page has its own listener, and answers although all children are busy. */
  readonly hasStatusAddress: boolean;
}

/** The state of a php-fpm pool now; it is up even when it is too busy to say more. */
export type FpmState =
  | { readonly isUp: true; readonly status: FpmStatus | undefined }
  | { readonly isUp: false; readonly error: FervoError };

const BUSY: FpmState = { isUp: true, status: undefined };

/** A php-fpm pool from the worker's point of view: whether it answers, and its status page. */
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

  /** Asks php-fpm, at most once a second and one call after the other. Never rejects, and takes at most 2 s. */
  async state(): Promise<FpmState> {
    const { pool } = this.#deps;
    // It is up, because it runs our jobs; a request for the page would wait behind them in its listen queue.
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
    // An answer without a status page, or a timeout, still comes from a running php-fpm.
    return isAway(error) ? { isUp: false, error } : BUSY;
  }
}
