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
      // A front controller of a framework's jobs starts the application for the check, and says how that went.
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
 * A job can answer what php-fpm itself does. Asked once more, without a job, php-fpm does it again, and a script does not;
 * one that need not know the check is not asked: php-fpm shows by an answer of its own what these look like.
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
