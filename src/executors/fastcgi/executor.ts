import type { Clock } from "../../core/time/clock.ts";
import { asFervoError, FervoError } from "../../core/errors.ts";
import type { Job } from "../../core/job.ts";
import type { Observer } from "../../core/observer.ts";
import { ACK, type Outcome, outcomeOfFault } from "../../core/outcome.ts";
import type { ConnectionLostError, FastCgiRequest } from "../../fastcgi/connection.ts";
import type { Pool, Sending } from "../../fastcgi/pool.ts";
import type { BodyListener, FastCgiResponse } from "../../fastcgi/response.ts";
import type { Batch, Executor, Run } from "../executor.ts";
import { AckedStderr, DEFAULT_STDERR_OPTIONS, type StderrOptions } from "./acked_stderr.ts";
import { type AnswerOptions, outcomeOf, outcomeOfBatchEnd, outcomeOfError } from "./answer.ts";
import { BatchAnswer } from "./batch.ts";
import { batchRequests, jobRequests, type RequestOptions, startByOf, uriOf, uriOfBatch } from "./requests.ts";
import { Losses, lostWithFpm } from "./losses.ts";
import { confirmMisconfigured, type FpmProbeDeps, probeFpm } from "./probe.ts";
import { END_CHILD_MS, type FpmControl, isAway } from "../../fpm/control.ts";
import { REPEAT } from "../job_variables.ts";

export interface FastCgiExecutorOptions extends AnswerOptions, RequestOptions, StderrOptions {
  /** End the PHP process of a job whose time is up. */
  readonly killOnTimeout: boolean;
}

export const DEFAULT_FASTCGI_EXECUTOR_OPTIONS: Omit<FastCgiExecutorOptions, "script"> = {
  params: {},
  ackOn: "outcome",
  payloadParam: "",
  killOnTimeout: false,
  firstByteTimeoutMs: 0,
  ...DEFAULT_STDERR_OPTIONS,
};

export interface FastCgiExecutorDeps extends FpmProbeDeps {
  readonly pool: Pick<Pool, "request" | "close">;
  /** The same pool, looked at from the outside. */
  readonly fpm: Pick<FpmControl, "hasLeftWithin" | "isRunning" | "endChild" | "ping" | "ask">;
  readonly clock: Clock;
  readonly observe: Observer;
}

const ALONE: Sending = { isAlone: true };

/**
 * Runs each job, or several of them, as one FastCGI request to the front controller.
 *
 * 1. Sends the job as docs/protocol.md says: what comes from a message are values, never a param's name, the script
 *    or the address.
 * 2. Reads the answer by the table in docs/protocol.md.
 * 3. Where an answer does not come, finds out whether that was the job's doing or php-fpm's.
 * 4. Ends the PHP process of a job whose time is up, if it is to; the job's slot does not wait for that. One that is cut off
 *    ends when its process has.
 * 5. Finds out by requests without a job whether php-fpm is back, and finds the script.
 */
export class FastCgiExecutor implements Executor {
  readonly #pool: FastCgiExecutorDeps["pool"];
  readonly #fpm: FastCgiExecutorDeps["fpm"];
  readonly #clock: Clock;
  readonly #observe: Observer;
  readonly #probing: FpmProbeDeps;
  readonly #options: FastCgiExecutorOptions;
  readonly #ackedStderr: AckedStderr;
  readonly #requestOf: (job: Job, run?: Run) => FastCgiRequest;
  readonly #batchRequestOf: (batch: Batch, onBody: BodyListener, run?: Run) => FastCgiRequest;
  /** How jobs are sent that have attempts left; one value for all. */
  readonly #anyConnection: Sending;
  readonly #endings = new Set<Promise<unknown>>();
  readonly #losses = new Losses();

  /** @throws {FastCgiError} FASTCGI_PARAM_TOO_LARGE when the configured params do not fit one record. */
  constructor(deps: FastCgiExecutorDeps, options: FastCgiExecutorOptions) {
    this.#pool = deps.pool;
    this.#fpm = deps.fpm;
    this.#clock = deps.clock;
    this.#observe = deps.observe;
    this.#probing = deps;
    this.#options = options;
    this.#ackedStderr = new AckedStderr(deps, options);
    this.#requestOf = jobRequests(options, deps.clock);
    this.#batchRequestOf = batchRequests(options, deps.clock);
    this.#anyConnection = { again: (request, lost) => this.#repeat(request, lost) };
  }

  /** A run that is cut off ends when its child has. */
  get abortMs(): number {
    return this.#options.killOnTimeout ? END_CHILD_MS : 0;
  }

  async execute(job: Job, signal: AbortSignal, run?: Run): Promise<Outcome> {
    const startedMs = run?.beganMs ?? this.#clock.monotonicMs();
    try {
      if (this.#losses.has(job)) {
        const unavailable = await this.#stillAway();
        if (unavailable) return unavailable;
        job = { ...job, isRepeat: true };
      }
      const how = this.#isLastAttempt(job) ? ALONE : this.#anyConnection;
      const request = this.#requestOf(job, run);
      const response = await this.#pool.request(request, signal, how);
      this.#losses.forget(job);
      const outcome = outcomeOf(response, this.#options, job.id);
      return outcome === ACK
        ? this.#ackedStderr.outcomeOf(job, response.stderr)
        : await this.#confirmed(outcome, response, request, signal);
    } catch (error) {
      return await this.#outcomeOfFailure(error, job, () => uriOf(job), startedMs);
    }
  }

  async executeBatch(batch: Batch, signal: AbortSignal, run?: Run): Promise<Outcome | undefined> {
    const startedMs = run?.beganMs ?? this.#clock.monotonicMs();
    const answer = new BatchAnswer(batch.jobs, (told, job, stderr) => {
      this.#losses.forget(job);
      batch.onOutcome(told === ACK ? this.#ackedStderr.outcomeOf(job, stderr) : told);
    });
    try {
      const [first, ...others] = batch.jobs as [Job, ...Job[]];
      // Records come as jobs end: without one, at most the first has begun.
      const repeat = () => ({ ...batch, jobs: [{ ...first, isRepeat: true }, ...others] });
      if (this.#losses.has(first)) {
        const unavailable = await this.#stillAway();
        if (unavailable) return unavailable;
        batch = repeat();
      }
      const how: Sending = batch.jobs.some((job) => this.#isLastAttempt(job)) ? ALONE : {
        again: async (_, lost) =>
          await this.#mayNotHaveRun(lost, first)
            ? this.#batchRequestOf(repeat(), answer.onBody, run)
            : undefined,
      };
      const request = this.#batchRequestOf(batch, answer.onBody, run);
      const response = await this.#pool.request(request, signal, how);
      if (answer.running === undefined) {
        this.#ackedStderr.afterBatch(batch.jobs, response.stderr);
        return undefined;
      }
      const outcome = outcomeOfBatchEnd(response, this.#options.script);
      return await this.#confirmed(outcome, response, request, signal);
    } catch (error) {
      const job = answer.running;
      const uri = () => uriOfBatch(batch.jobs);
      if (job !== undefined) return await this.#outcomeOfFailure(error, job, uri, startedMs);
      this.#ackedStderr.afterBatch(batch.jobs, "", error);
      // All jobs have ended: what is left is a child that has not.
      if (error instanceof FervoError && error.code === "JOB_TIMEOUT") {
        void this.#endChildOf(batch.jobs.at(-1)!, uri(), "timeout");
      }
      return undefined;
    }
  }

  probe(cause: FervoError, signal: AbortSignal): Promise<FervoError | undefined> {
    return probeFpm(this.#probing, this.#options, cause, signal);
  }

  async close(): Promise<void> {
    await this.#pool.close();
    await Promise.all(this.#endings);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /**
   * What a request that failed means for the job that it ran.
   *
   * @param uri SCRIPT_NAME of the request.
   */
  async #outcomeOfFailure(
    error: unknown,
    job: Job,
    uri: () => string,
    startedMs: number,
  ): Promise<Outcome> {
    if (!(error instanceof FervoError)) return outcomeOfError(error);
    try {
      switch (error.code) {
        case "FASTCGI_CONNECTION_LOST":
          return await this.#outcomeOfLoss(error, job, this.#clock.monotonicMs() - startedMs);
        case "FASTCGI_FIRST_BYTE_TIMEOUT":
          return await this.#outcomeOfSilence(error, job, uri());
        case "FASTCGI_PROTOCOL":
          return await this.#outcomeOfNonsense(error);
        case "SHUTDOWN":
          return await this.#outcomeOfCut(error, job, uri());
        case "JOB_TIMEOUT":
          void this.#endChildOf(job, uri(), "timeout");
      }
      return outcomeOfError(error);
    } catch (fault) {
      return outcomeOfFault(fault);
    }
  }

  /** What a job that is not done gets in the end, where its answer alone does not tell. */
  #confirmed(
    outcome: Outcome,
    response: FastCgiResponse,
    request: FastCgiRequest,
    signal: AbortSignal,
  ): Outcome | Promise<Outcome> {
    if (outcome.kind === "release") {
      return confirmMisconfigured(this.#probing, this.#options, { outcome, response }, signal);
    }
    if (outcome.kind !== "retry" || outcome.error.code !== "JOB_NO_OUTCOME" || !response.hasWaited) {
      return outcome;
    }
    // A script that begins too late does nothing, as docs/protocol.md says.
    if (this.#clock.nowMs() < startByOf(request)) return outcome;
    const text =
      "The job could not begin in time: its PHP process went on with the one before after its answer";
    return {
      kind: "release",
      reason: "unavailable",
      error: new FervoError("FASTCGI_FIRST_BYTE_TIMEOUT", text),
    };
  }

  /**
   * No other attempt will make good what this one has done: nothing may be in doubt. A kept connection that is lost leaves
   * open whether its child had left before or has died of the job; one of the job's own does not.
   */
  #isLastAttempt({ attempt, maxAttempts, retryUntilMs }: Job): boolean {
    return attempt >= maxAttempts || (retryUntilMs !== undefined && this.#clock.nowMs() > retryUntilMs);
  }

  /** The same request as a repeat, if it is to be sent once more. */
  async #repeat(request: FastCgiRequest, lost: ConnectionLostError): Promise<FastCgiRequest | undefined> {
    const facts = Object.fromEntries(request.params);
    const [id, queue, attempt] = [
      facts["FERVO_JOB_ID"]!,
      facts["FERVO_QUEUE"]!,
      Number(facts["FERVO_ATTEMPT"]),
    ];
    if (!await this.#mayNotHaveRun(lost, { id, queue, attempt })) return undefined;
    return REPEAT[0] in facts ? request : { ...request, params: [...request.params, REPEAT] };
  }

  /**
   * Whether a job whose kept connection ended without an answer is sent once more: unless a child alone died, of a php-fpm
   * that has stayed, and not while it went on with the job before.
   */
  async #mayNotHaveRun(
    lost: ConnectionLostError,
    { queue, id, attempt }: Pick<Job, "queue" | "id" | "attempt">,
  ): Promise<boolean> {
    if (lost.isReset && !lost.isWaiting && await this.#fpm.hasLeftWithin(lost.afterMs) === false) {
      return false;
    }
    this.#observe({ type: "job_resent", queue, id, attempt, error: lost });
    return true;
  }

  /** A child that dies is the job's doing; that php-fpm is stopped, restarted or reloaded is not. */
  async #outcomeOfLoss(error: FervoError, job: Job, ageMs: number): Promise<Outcome> {
    if (await this.#fpm.hasLeftWithin(ageMs) === true && this.#losses.add(job)) return lostWithFpm(error);
    this.#losses.forget(job);
    return outcomeOfError(error);
  }

  /**
   * A job that was lost together with php-fpm is sent again when php-fpm answers: what ends the connections of all, as
   * listen.allowed_clients or a proxy does, is not that job's doing however often it is met.
   *
   * @returns What the job gets while php-fpm does not.
   */
  async #stillAway(): Promise<Outcome | undefined> {
    try {
      await this.#fpm.ping();
    } catch (error) {
      if (isAway(error)) return lostWithFpm(error);
      if (!(error instanceof FervoError)) throw error;
    }
    return undefined;
  }

  /**
   * A job that no child has begun did not fail; it waits in php-fpm's listen queue. The request stays there, so that PHP
   * has to know by FERVO_START_BY that it is too late.
   */
  async #outcomeOfSilence(error: FervoError, job: Job, uri: string): Promise<Outcome> {
    if (await this.#fpm.isRunning(uri) === false) {
      return { kind: "release", reason: "unavailable", error };
    }
    void this.#endChildOf(job, uri, "timeout");
    return outcomeOfError(error);
  }

  /** PHP does not end when its connection does. Whoever puts the job back is to know whether it has. */
  async #outcomeOfCut(error: FervoError, job: Job, uri: string): Promise<Outcome> {
    const hasEnded = await this.#endChildOf(job, uri, "shutdown");
    return { kind: "release", reason: "shutdown", error, ...(!hasEnded && { mayRunOn: true }) };
  }

  /** What answers a ping with nonsense, too, is no FastCGI application: no job has run there. */
  async #outcomeOfNonsense(error: FervoError): Promise<Outcome> {
    try {
      await this.#fpm.ping();
    } catch (alike) {
      if (!(alike instanceof FervoError)) throw alike;
      if (alike.code !== "FASTCGI_OVERLOADED") return { kind: "release", reason: "unavailable", error };
    }
    return outcomeOfError(error);
  }

  /** Resolves with whether the child has ended for certain; never rejects. */
  #endChildOf(job: Job, uri: string, after: "timeout" | "shutdown"): Promise<boolean> {
    if (!this.#options.killOnTimeout) return Promise.resolve(false);
    const { queue, id, attempt } = job;
    const ending = this.#fpm.endChild(uri).then(
      (pid) => {
        this.#observe({ type: "child_ended", after, queue, id, attempt, pid });
        return pid !== undefined;
      },
      (thrown) => {
        this.#observe({ type: "child_not_ended", after, queue, id, attempt, error: asFervoError(thrown) });
        return false;
      },
    ).finally(() => this.#endings.delete(ending));
    this.#endings.add(ending);
    return ending;
  }
}
