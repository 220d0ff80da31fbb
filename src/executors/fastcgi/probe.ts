import { asFervoError, FervoError } from "../../core/errors.ts";
import { isMisconfigured, type Outcome } from "../../core/outcome.ts";
import type { Pool } from "../../fastcgi/pool.ts";
import type { FastCgiResponse } from "../../fastcgi/response.ts";
import { type AnswerOptions, noOutcome, notStarted, outcomeOf } from "./answer.ts";
import { checkRequest, type RequestOptions } from "./requests.ts";
import { fpmsOwnAnswer, isAnsweredAlike, isLogged } from "./fpm_answer.ts";
import { type FpmControl, isAway, UNKNOWN_PATH } from "../../fpm/control.ts";
import { pingRequest } from "../../fpm/status.ts";

type ScriptOptions = Pick<RequestOptions & AnswerOptions, "script" | "params" | "ackOn">;

export interface FpmProbeDeps {
  /** The probe uses the job's connections. */
  readonly pool: Pick<Pool, "request">;
  readonly fpm: Pick<FpmControl, "ping" | "ask">;
  /** Why the pool cannot serve all its consumers now; undefined when it can, or it is unknown. */
  readonly poolProblem?: (() => Promise<FervoError | undefined>) | undefined;
}

/**
 * Whether php-fpm can run jobs again: see `Executor.probe`.
 *
 * A missing script is probed by the check of docs/protocol.md, section 1; any answer of the script shows that it exists. So a
 * script without the check gets one empty request for each probe. A script that cannot send the outcome header may not know the
 * check, and is not probed: the next job shows.
 */
export async function probeFpm(
  { pool, fpm, poolProblem }: FpmProbeDeps,
  { script, params, ackOn }: ScriptOptions,
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
      const answer = await fpm.ask(checkRequest(script, params), pool, signal);
      const own = fpmsOwnAnswer(answer, script);
      if (own !== undefined || cause.code !== "APPLICATION_NOT_STARTED") return own;
      // A framework's front controller starts the application for the check, and reports the result.
      const outcome = outcomeOf(answer, { ackOn, script });
      if (outcome.kind === "ack") return undefined;
      return outcome.kind === "release" ? outcome.error : notStarted(outcome.error);
    }
    await fpm.ping(pool, signal);
    return undefined;
  } catch (error) {
    return asFervoError(error);
  }
}

/**
 * A job can send the same answer as php-fpm itself. Asked once more without a job, php-fpm repeats it, and a script does not. A
 * script that may not know the check is not asked: php-fpm shows by another answer what its own answers look like.
 *
 * @param outcome A release that was read from `response`.
 * @returns The outcome, or that there was none.
 */
export async function confirmMisconfigured(
  { pool, fpm }: FpmProbeDeps,
  { script, params, ackOn }: ScriptOptions,
  { outcome, response }: { readonly outcome: Outcome; readonly response: FastCgiResponse },
  signal: AbortSignal,
): Promise<Outcome> {
  if (fpmsOwnAnswer(response, script) === undefined) return outcome;
  let isOwn = isLogged(response);
  try {
    if (ackOn === "outcome") {
      isOwn = fpmsOwnAnswer(await fpm.ask(checkRequest(script, params), pool, signal), script) !== undefined;
    } else if (!isOwn) {
      isOwn = isAnsweredAlike(response, await fpm.ask(pingRequest(UNKNOWN_PATH), pool, signal));
    }
  } catch (error) {
    if (isAway(error)) return { kind: "release", reason: "unavailable", error };
    if (!(error instanceof FervoError)) throw error;
  }
  return isOwn ? outcome : noOutcome(response);
}
