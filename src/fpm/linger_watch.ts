import type { Clock } from "../core/time/clock.ts";
import { FervoError } from "../core/errors.ts";
import type { Observer } from "../core/observer.ts";
import type { FastCgiRequest, SilentRequest } from "../fastcgi/connection.ts";
import type { Pool } from "../fastcgi/pool.ts";
import type { FpmStatus } from "./status.ts";
import { type FpmControl, isCut, runningOf } from "./control.ts";

/** How often php-fpm is asked at most, while all requests that are looked at just run; milliseconds. */
const LOOK_EVERY_MS = 1_000;
/** The same while one was seen to wait: its time must not be over before that is seen again. */
const LOOK_AGAIN_MS = 50;

export interface LingerWatchDeps {
  readonly pool: Pick<Pool, "onSilence" | "onLateOutput" | "keepNone">;
  readonly fpm: Pick<FpmControl, "status">;
  readonly clock: Clock;
  readonly observe: Observer;
}

/**
 * Finds scripts that go on after they have answered, as with fastcgi_finish_request(): their child is busy, and what is sent
 * on its kept connection waits for it. On the wire they look like all others (docs/adr/0017).
 *
 * 1. When requests on kept connections get no answer, looks at the status page which of them run.
 * 2. Tells one that waits so: its time has not begun, and its connection's loss is not its doing.
 * 3. From the first such script on, lets the pool keep no connections, and tells that once.
 */
export class LingerWatch {
  readonly #deps: LingerWatchDeps;
  readonly #name: string;
  #isLooking = false;
  #nextLookMs = 0;
  #isFound = false;

  /** @param name Of the php-fpm pool in the configuration. */
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
      // php-fpm cannot be asked now; the requests tell more of that.
      if (!(error instanceof FervoError)) throw error;
    } finally {
      this.#isLooking = false;
      this.#nextLookMs = clock.monotonicMs() + (isWaiting ? LOOK_AGAIN_MS : LOOK_EVERY_MS);
    }
  }

  /** Whether the request waits for the script of the one before. */
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

/** SCRIPT_NAME of a request, where the status page shows all of it. */
function uriIn(params: FastCgiRequest["params"]): string | undefined {
  const uri = params.find(([name]) => name === "SCRIPT_NAME")?.[1];
  return uri === undefined || isCut(uri) ? undefined : uri;
}
