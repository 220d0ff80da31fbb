import type { Clock } from "../../core/time/clock.ts";
import { type ErrorCode, FervoError } from "../../core/errors.ts";
import type { Job } from "../../core/job.ts";
import type { Observer } from "../../core/observer.ts";
import { ACK, type Outcome } from "../../core/outcome.ts";
import type { ConnectionLostError, FastCgiRequest } from "../../fastcgi/connection.ts";
import type { Pool, Sending } from "../../fastcgi/pool.ts";
import type { BodyListener, FastCgiResponse } from "../../fastcgi/response.ts";
import type { Batch, BatchEnd, Executor, JobFailure, Run } from "../executor.ts";
import { AckedStderr, DEFAULT_STDERR_OPTIONS, type StderrOptions } from "./acked_stderr.ts";
import { type AnswerOptions, notBegun, outcomeOf, outcomeOfBatchEnd } from "./answer.ts";
import { BatchAnswer } from "./batch.ts";
import { Failures } from "./failures.ts";
import {
  batchRequests,
  jobRequests,
  postMortemRequests,
  type RequestOptions,
  startByOf,
  uriOf,
  uriOfBatch,
  uriOfPostMortem,
} from "./requests.ts";
import { confirmMisconfigured, type FpmProbeDeps, probeFpm } from "./probe.ts";
import { END_CHILD_MS, type FpmControl } from "../../fpm/control.ts";
import { REPEAT } from "../job_variables.ts";

export interface FastCgiExecutorOptions extends AnswerOptions, RequestOptions, StderrOptions {
  /** End the PHP process of a job that timed out. */
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
  /** The same pool, by its status page. */
  readonly fpm: Pick<FpmControl, "hasLeftWithin" | "isRunning" | "endChild" | "ping" | "ask">;
  readonly clock: Clock;
  readonly observe: Observer;
}

const ALONE: Sending = { isAlone: true };

/** The answer to a request; or that none was sent, and the outcome of its jobs. */
type Answered =
  | { readonly request: FastCgiRequest; readonly response: FastCgiResponse }
  | { readonly unavailable: Outcome };

/** The end of a request. */
interface Ended {
  /** STDERR that is left when all jobs had theirs. */
  readonly stderr: string;
  readonly error?: unknown;
  /** The outcome of a job that ran then. */
  outcomeOf(job: Job): Promise<Outcome>;
  /** Whether its child no longer runs the job, for certain; ends the child, if allowed. */
  isOver(job: Job): Promise<boolean>;
}

/**
 * Runs each job, or several, as one FastCGI request to the front controller.
 *
 * 1. Sends the job as docs/protocol.md says: a message supplies values, never a param's name, the script or the address.
 * 2. Reads the answer by the table in docs/protocol.md.
 * 3. Without an answer, finds out whether the job or php-fpm was the cause ({@link Failures}).
 * 4. Ends the PHP process of a job that timed out, if configured. The slot does not wait for that, unless the job gets a
 *    post-mortem. A job that is cut off ends with its process.
 * 5. Finds out by requests without a job whether php-fpm is back, and finds the script.
 */
export class FastCgiExecutor implements Executor {
  readonly #pool: FastCgiExecutorDeps["pool"];
  readonly #clock: Clock;
  readonly #probing: FpmProbeDeps;
  readonly #options: FastCgiExecutorOptions;
  readonly #ackedStderr: AckedStderr;
  readonly #failures: Failures;
  readonly #requestOf: (job: Job, run?: Run) => FastCgiRequest;
  readonly #batchRequestOf: (batch: Batch, onBody: BodyListener, run?: Run) => FastCgiRequest;
  readonly #postMortemRequestOf: (job: Job, failure: JobFailure, onBody: BodyListener) => FastCgiRequest;
  /** How jobs with attempts left are sent; one value for all. */
  readonly #anyConnection: Sending;

  /** @throws {FastCgiError} FASTCGI_PARAM_TOO_LARGE when the configured params do not fit one record. */
  constructor(deps: FastCgiExecutorDeps, options: FastCgiExecutorOptions) {
    this.#pool = deps.pool;
    this.#clock = deps.clock;
    this.#probing = deps;
    this.#options = options;
    this.#ackedStderr = new AckedStderr(deps, options);
    this.#failures = new Failures(deps, options);
    this.#requestOf = jobRequests(options, deps.clock);
    this.#batchRequestOf = batchRequests(options, deps.clock);
    this.#postMortemRequestOf = postMortemRequests(options);
    this.#anyConnection = { again: (request, lost) => this.#repeat(request, lost) };
  }

  /** A job that is cut off ends with its child. */
  get abortMs(): number {
    return this.#options.killOnTimeout ? END_CHILD_MS : 0;
  }

  async execute(job: Job, signal: AbortSignal, run?: Run): Promise<Outcome> {
    const startedMs = run?.beganMs ?? this.#clock.monotonicMs();
    try {
      if (this.#failures.wasLostWithFpm(job)) {
        const unavailable = await this.#failures.stillAway();
        if (unavailable) return unavailable;
        job = { ...job, isRepeat: true };
      }
      const how = this.#isLastAttempt(job) ? ALONE : this.#anyConnection;
      const request = this.#requestOf(job, run);
      const response = await this.#pool.request(request, signal, how);
      this.#failures.answered(job);
      const outcome = outcomeOf(response, this.#options, job.id);
      return outcome.kind === "ack"
        ? this.#acked(outcome, job, response.stderr)
        : await this.#confirmed(outcome, response, request, signal);
    } catch (error) {
      return await this.#failures.outcomeOf(error, { job, uri: () => uriOf(job), startedMs });
    }
  }

  async executeBatch(batch: Batch, signal: AbortSignal, run?: Run): Promise<BatchEnd | undefined> {
    const startedMs = run?.beganMs ?? this.#clock.monotonicMs();
    const { jobs } = batch;
    const answer = new BatchAnswer(jobs, {
      onBegun: batch.onBegun ?? (() => {}),
      onOutcome: (told, job, stderr) => {
        this.#failures.answered(job);
        batch.onOutcome(told.kind === "ack" ? this.#acked(told, job, stderr) : told, job);
      },
    });
    const [first] = jobs as [Job];
    const uri = uriOfBatch(jobs);
    const end = await this.#ended(this.#sendBatch(batch, answer, signal, run), { uri, startedMs, signal });
    const { running } = answer;
    if (running.length > 0) {
      const outcome = await end.outcomeOf(running[0]!);
      return {
        outcome,
        jobs: running,
        hasEnded: first.framework !== undefined && await end.isOver(running[0]!),
      };
    }
    if (first.framework !== undefined && !answer.hasRecord) {
      const outcome = notBegun(await end.outcomeOf(first));
      // Its child could still begin jobs that are put back.
      if (isError(end.error, "JOB_TIMEOUT")) await end.isOver(first);
      return { outcome, jobs: [first], hasEnded: true };
    }
    this.#ackedStderr.afterBatch(answer.ended, end.stderr, end.error);
    // All begun jobs have ended: the child has not, and could begin the next one.
    const isWhole = answer.ended.length === jobs.length;
    if (isError(end.error, "JOB_TIMEOUT") || !isWhole && isError(end.error, "SHUTDOWN")) {
      const ending = end.outcomeOf(jobs.at(-1)!).then(() => isWhole || end.isOver(jobs.at(-1)!));
      if (!isWhole) await ending;
    }
    return undefined;
  }

  async tellFailure(job: Job, failure: JobFailure, signal: AbortSignal): Promise<Outcome | undefined> {
    const startedMs = this.#clock.monotonicMs();
    let told: Outcome | undefined;
    const listener = { onBegun: () => {}, onOutcome: (outcome: Outcome) => told = outcome };
    const answer = new BatchAnswer([job], listener, "post-mortem");
    const request = this.#postMortemRequestOf(job, failure, answer.onBody);
    const sending = this.#pool.request(request, signal, ALONE).then((response) => ({ request, response }));
    const uri = uriOfPostMortem(job);
    const end = await this.#ended(sending, { uri, startedMs, signal });
    const isLate = isError(end.error, "JOB_TIMEOUT");
    // The job has died: it can be neither done nor run later.
    if (told !== undefined && told.kind !== "ack" && told.kind !== "release") {
      if (isLate) void this.#failures.endChildOf(job, uri, "timeout");
      return told;
    }
    const outcome = await end.outcomeOf(job);
    // Two post-mortems must not overlap.
    if (answer.hasRecord || isLate) await end.isOver(job);
    if (!answer.hasRecord) return notBegun(outcome);
    return outcome.kind === "release" ? outcome : undefined;
  }

  probe(cause: FervoError, signal: AbortSignal): Promise<FervoError | undefined> {
    return probeFpm(this.#probing, this.#options, cause, signal);
  }

  async close(): Promise<void> {
    await this.#pool.close();
    await this.#failures.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Sends a batch, and once more where it may not have run. */
  async #sendBatch(batch: Batch, answer: BatchAnswer, signal: AbortSignal, run?: Run): Promise<Answered> {
    const [first, ...others] = batch.jobs as [Job, ...Job[]];
    // Records come as jobs end: without one, at most the first has begun.
    const repeat = () => ({ ...batch, jobs: [{ ...first, isRepeat: true }, ...others] });
    if (this.#failures.wasLostWithFpm(first)) {
      const unavailable = await this.#failures.stillAway();
      if (unavailable) return { unavailable };
      batch = repeat();
    }
    const how: Sending = batch.jobs.some((job) => this.#isLastAttempt(job)) ? ALONE : {
      again: async (_, lost) =>
        await this.#failures.mayNotHaveRun(lost, first)
          ? this.#batchRequestOf(repeat(), answer.onBody, run)
          : undefined,
    };
    const request = this.#batchRequestOf(batch, answer.onBody, run);
    return { request, response: await this.#pool.request(request, signal, how) };
  }

  /** The end of a request, with the outcomes of the jobs that ran then. Never rejects. */
  async #ended(
    sending: Promise<Answered>,
    { uri, startedMs, signal }: { uri: string; startedMs: number; signal: AbortSignal },
  ): Promise<Ended> {
    try {
      const answered = await sending;
      if ("unavailable" in answered) {
        const { unavailable } = answered;
        return {
          stderr: "",
          outcomeOf: () => Promise.resolve(unavailable),
          isOver: () => Promise.resolve(true),
        };
      }
      const { request, response } = answered;
      return {
        stderr: response.stderr,
        outcomeOf: async () => {
          const outcome = outcomeOfBatchEnd(response, this.#options.script);
          return await this.#confirmed(outcome, response, request, signal);
        },
        // A script can go on after its answer.
        isOver: (job) => this.#failures.isOver(job, uri),
      };
    } catch (error) {
      const isLost = isError(error, "FASTCGI_CONNECTION_LOST");
      return {
        stderr: "",
        error,
        outcomeOf: (job) => this.#failures.outcomeOf(error, { job, uri: () => uri, startedMs }),
        isOver: (job) => isLost ? Promise.resolve(true) : this.#failures.isOver(job, uri),
      };
    }
  }

  #acked(outcome: Outcome, job: Job, stderr: string): Outcome {
    const judged = this.#ackedStderr.outcomeOf(job, stderr);
    return judged === ACK ? outcome : judged;
  }

  /** The final outcome of a job that is not done, where its answer alone is not enough. */
  #confirmed(
    outcome: Outcome,
    response: FastCgiResponse,
    request: FastCgiRequest,
    signal: AbortSignal,
  ): Outcome | Promise<Outcome> {
    if (outcome.kind === "release" && outcome.reason === "misconfigured") {
      return confirmMisconfigured(this.#probing, this.#options, { outcome, response }, signal);
    }
    if (outcome.kind !== "retry" || outcome.error.code !== "JOB_NO_OUTCOME" || !response.hasWaited) {
      return outcome;
    }
    // A script that begins too late does nothing: docs/protocol.md.
    if (this.#clock.nowMs() < startByOf(request)) return outcome;
    const text =
      "The job could not begin in time: its PHP process still ran the previous job, which went on after its answer";
    return {
      kind: "release",
      reason: "unavailable",
      error: new FervoError("FASTCGI_FIRST_BYTE_TIMEOUT", text),
    };
  }

  /**
   * No other attempt can repair this one, so nothing may be uncertain. A lost kept connection leaves open whether its child had
   * left before, or died of the job; a new connection does not.
   */
  #isLastAttempt({ attempt, maxAttempts, retryUntilMs }: Job): boolean {
    return attempt >= maxAttempts || (retryUntilMs !== undefined && this.#clock.nowMs() > retryUntilMs);
  }

  /** The same request as a repeat, if it should be sent once more. */
  async #repeat(request: FastCgiRequest, lost: ConnectionLostError): Promise<FastCgiRequest | undefined> {
    const facts = Object.fromEntries(request.params);
    const [id, queue, attempt] = [
      facts["FERVO_JOB_ID"]!,
      facts["FERVO_QUEUE"]!,
      Number(facts["FERVO_ATTEMPT"]),
    ];
    if (!await this.#failures.mayNotHaveRun(lost, { id, queue, attempt })) return undefined;
    return REPEAT[0] in facts ? request : { ...request, params: [...request.params, REPEAT] };
  }
}

function isError(error: unknown, code: ErrorCode): boolean {
  return error instanceof FervoError && error.code === code;
}
