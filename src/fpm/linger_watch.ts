import type { Clock } from "../core/time/clock.ts";
import { FervoError } from "../core/errors.ts";
import type { Observer } from "../core/observer.ts";
import type { FastCgiRequest, SilentRequest } from "../fastcgi/connection.ts";
import type { Pool } from "../fastcgi/pool.ts";
import type { FpmStatus } from "./status.ts";
import { type FpmControl, isCut, runningOf } from "./control.ts";

/** How often php-fpm is asked at most while all requests run; milliseconds. */
const LOOK_EVERY_MS = 1_000;
/** The same while a request waits: its time must not end before that is seen again. */
const LOOK_AGAIN_MS = 50;

export interface LingerWatchDeps {
  readonly pool: Pick<Pool, "onSilence" | "onLateOutput" | "keepNone">;
  readonly fpm: Pick<FpmControl, "status">;
  readonly clock: Clock;
  readonly observe: Observer;
}

/**
 * Finds scripts that go on after their answer, as with fastcgi_finish_request(): their child is busy, and the next request on
 * its kept connection waits. On the wire they look like all others (docs/adr/0017).
 *
 * 1. When requests on kept connections have no answer, reads on the status page which of them run.
 * 2. Tells a waiting request so: its time has not begun, and a loss of its connection is not its fault.
 * 3. From the first such script on, lets the pool keep no connections, and reports that once.
 */
export class LingerWatch {
  readonly #deps: LingerWatchDeps;
  readonly #name: string;
  #isLooking = false;
  #nextLookMs = 0;
  #isFound = false;

  /** @param name The php-fpm pool in the configuration. */
  constructor(deps: LingerWatchDeps, name: string) {
    this.#deps = deps;
    this.#name = name;
    deps.pool.onSilence = (silent) => void this.#look(silent);
    deps.pool.onLateOutput = (params) => this.#found(params);
  }

  /** Never rejects. */
  async #look(silent: readonly SilentRequest[]): Promise<void> {
    const { fpm, clock } = this.#deps;
    if (this.#isLooking || clock.monotonicMs() < this.#nextLookMs) return;
    this.#isLooking = true;
    let isWaiting = false;
    try {
      const status = await fpm.status();
      if (status !== undefined) isWaiting = silent.filter((one) => this.#judge(one, status)).length > 0;
    } catch (error) {
      // php-fpm does not answer now; the requests themselves show more.
      if (!(error instanceof FervoError)) throw error;
    } finally {
      this.#isLooking = false;
      this.#nextLookMs = clock.monotonicMs() + (isWaiting ? LOOK_AGAIN_MS : LOOK_EVERY_MS);
    }
  }

  /** Whether the request waits for the script of the previous one. */
  #judge(request: SilentRequest, status: FpmStatus): boolean {
    const [uri, previous] = [uriIn(request.params), uriIn(request.previousParams)];
    if (uri === undefined || previous === undefined || uri === previous) return false;
    const hasBegun = runningOf(status, uri).length > 0;
    if (!hasBegun && runningOf(status, previous).length === 0) return false;
    request.setBegun(hasBegun);
    if (!hasBegun) this.#found(request.previousParams);
    return !hasBegun;
  }

  #found(params: FastCgiRequest["params"]): void {
    this.#deps.pool.keepNone();
    if (this.#isFound) return;
    this.#isFound = true;
    this.#deps.observe({ type: "connections_not_kept", fpm: this.#name, uri: uriIn(params) ?? "" });
  }
}

/** SCRIPT_NAME of a request, if the status page shows all of it. */
function uriIn(params: FastCgiRequest["params"]): string | undefined {
  const uri = params.find(([name]) => name === "SCRIPT_NAME")?.[1];
  return uri === undefined || isCut(uri) ? undefined : uri;
}
