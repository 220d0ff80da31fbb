import { asFervoError, type FervoError } from "../../core/errors.ts";
import { isMisconfigured } from "../../core/outcome.ts";
import type { Pool } from "../../fastcgi/pool.ts";
import type { AnswerOptions } from "./answer.ts";
import { checkRequest, type RequestOptions } from "./requests.ts";
import { fpmsOwnAnswer } from "./fpm_answer.ts";
import type { FpmControl } from "../../fpm/control.ts";

export interface FpmProbeDeps {
  /** Its connections are asked on: the question takes the place of a job. */
  readonly pool: Pick<Pool, "request">;
  readonly fpm: Pick<FpmControl, "ping" | "ask">;
  /** Why the pool cannot serve all its consumers, as it is now; undefined when it can, or does not tell. */
  readonly poolProblem?: (() => Promise<FervoError | undefined>) | undefined;
}

/**
 * Whether php-fpm can run jobs again: see `Executor.probe`.
 *
 * A script that was not found is asked for by the check of docs/protocol.md, section 1; whatever it answers, it is there.
 * So one that does not know the check gets an empty request at most once each time. One that cannot send the outcome
 * header cannot be expected to know it, and is not asked: the next job shows.
 */
export async function probeFpm(
  { pool, fpm, poolProblem }: FpmProbeDeps,
  { script, params, ackOn }: Pick<RequestOptions & AnswerOptions, "script" | "params" | "ackOn">,
  cause: FervoError,
  signal: AbortSignal,
): Promise<FervoError | undefined> {
  try {
    if (!isMisconfigured(cause)) {
      await fpm.ping(pool, signal);
      return undefined;
    }
    const problem = await poolProblem?.();
    if (problem !== undefined) return problem;
    if (ackOn === "outcome") {
      return fpmsOwnAnswer(await fpm.ask(checkRequest(script, params), pool, signal), script);
    }
    await fpm.ping(pool, signal);
    return undefined;
  } catch (error) {
    return asFervoError(error);
  }
}
